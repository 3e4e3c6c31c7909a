"""The arithmetic of training, in torch: the cells over whole sequences, the linear product, the output layer's loss.

The same names, argument order and results as ``ostinato.kernels.reference``, with gradients through autograd; CPU and
CUDA, float32 and float64. For a fixed number of threads the same inputs give the same bits. Gradients of gradients are
not offered.
"""

from ostinato.kernels.autograd.compiled import possible
from ostinato.kernels.autograd.dropout import drop
from ostinato.kernels.autograd.output import linear_cross_entropy, linear_nats
from ostinato.kernels.autograd.products import linear
from ostinato.kernels.autograd.sequence import Input, Lookup, dense, recurrent, recurrent_together

__all__ = [
    "Input",
    "Lookup",
    "dense",
    "drop",
    "linear",
    "linear_cross_entropy",
    "linear_nats",
    "possible",
    "recurrent",
    "recurrent_together",
]

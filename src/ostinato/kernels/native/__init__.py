"""The C core by ctypes: numpy arrays in, numpy arrays filled.

Everything here checks what it passes on: the core itself checks nothing. ``available()`` says whether there is a core;
without one the rest raises ``NativeError``, and the package goes on with numpy and torch.
"""

from ostinato.kernels.native.ctc import PrefixBeam
from ostinato.kernels.native.dropout import drop
from ostinato.kernels.native.engine import LayerWeights, NativeEngine, Written
from ostinato.kernels.native.library import (
    apply,
    available,
    instruction_set,
    instruction_sets,
    threads,
    use_instruction_set,
)
from ostinato.kernels.native.products import multiply
from ostinato.kernels.native.sequences import Layer, has_extra, recurrent_backward, recurrent_forward
from ostinato.kernels.native.training import AdamW, OutputGradients, Trained, cross_entropy, update

__all__ = [
    "AdamW",
    "Layer",
    "LayerWeights",
    "NativeEngine",
    "OutputGradients",
    "PrefixBeam",
    "Trained",
    "Written",
    "apply",
    "available",
    "cross_entropy",
    "drop",
    "has_extra",
    "instruction_set",
    "instruction_sets",
    "multiply",
    "recurrent_backward",
    "recurrent_forward",
    "threads",
    "update",
    "use_instruction_set",
]

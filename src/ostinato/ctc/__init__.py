"""CTC decoding: the output of a recogniser, frames x labels, to texts. docs/ctc.md says how to use it."""

from ostinato.ctc.fusion import Context, Fusion
from ostinato.ctc.greedy import GreedyPath, greedy
from ostinato.ctc.hypothesis import Hypothesis, Span
from ostinato.ctc.labels import Labels
from ostinato.ctc.lexicon import Lexicon
from ostinato.ctc.pieces import LabelModel
from ostinato.ctc.search import Stream, decode
from ostinato.ctc.words import HotWords, WordModel

__all__ = [
    "Context",
    "Fusion",
    "GreedyPath",
    "HotWords",
    "Hypothesis",
    "LabelModel",
    "Labels",
    "Lexicon",
    "Span",
    "Stream",
    "WordModel",
    "decode",
    "greedy",
]

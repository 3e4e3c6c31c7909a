"""The classifier: layers that read a text, pooling of what they give for each token, and scores of the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ostinato.architectures.language import encoder_tensors, stack_tensors
from ostinato.config import ModelConfig, check_choice, check_range, from_mapping
from ostinato.errors import ConfigError

READERS = ("encoder", "language_model")
POOLINGS = ("max", "mean", "last", "attention")
MOST_LABELS = 1 << 20


@dataclass(frozen=True)
class ClassifierConfig:
    """Architecture and sizes of a classifier, its labels, and how much its scores are to be trusted.

    A text stands between two boundary tokens. Every label is scored from the pooled outputs of the last layer::

        logits = W [pooling_1(y) ; pooling_2(y) ; ...] + b        y (T, B, M)
        probabilities = softmax(logits / temperature)
    """

    purpose: ClassVar[str] = "classifies texts"
    task: ClassVar[str] = "classify"
    verb: ClassVar[str] = "classify"
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer.json",)

    layers: ModelConfig
    """What reads the text."""
    labels: tuple[str, ...]
    """In the order of the scores."""
    pooling: tuple[str, ...] = ("max", "mean")
    """Some of POOLINGS, joined in this order."""
    reader: str = "encoder"
    """One of READERS: ``encoder`` reads in both directions, layer by layer; ``language_model`` has the layers of one:
    one stack that reads forward, or with ``bidirectional`` two that do not see each other."""
    temperature: float = 1.0
    """What the scores are divided by before the softmax, so that probabilities are honest (Guo et al. 2017)."""

    def __post_init__(self) -> None:
        for name in ("labels", "pooling"):
            object.__setattr__(self, name, _strings(name, getattr(self, name)))
        check_choice("reader", self.reader, READERS)
        check_poolings(self.pooling)
        check_labels(self.labels)
        check_range("temperature", self.temperature, 1e-3, 1e3)
        if self.layers.tied:
            raise ConfigError("the layers of a classifier have no output layer of their own: tied has no meaning")
        if self.reader == "encoder" and (self.layers.bidirectional or self.layers.skip_output):
            raise ConfigError("the encoder of a classifier takes no bidirectional or skip_output of its own")

    @property
    def directions(self) -> int:
        """The directions that the text is read in: 1, or 2, whose outputs lie side by side in equal halves."""
        return 2 if self.reader == "encoder" or self.layers.bidirectional else 1

    @property
    def memory(self) -> int:
        """Width of what the layers give for each token, M."""
        return 2 * self.layers.readout if self.reader == "encoder" else self.layers.readout

    @property
    def pooled(self) -> int:
        """Width of what the labels are scored from."""
        return self.memory * len(self.pooling)

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of the stacks of a language model; none of an encoder."""
        if self.reader == "encoder":
            return ()
        return ("forward_stack", "backward_stack") if self.layers.bidirectional else ("stack",)

    def describe(self) -> str:
        """``encoder lstm 1 x 128, embedding 64, max + mean, 2 labels``."""
        kind = "encoder" if self.reader == "encoder" else "language model"
        return f"{kind} {self.layers.describe()}, {' + '.join(self.pooling)}, {len(self.labels)} labels"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        lists = {"labels": list(self.labels), "pooling": list(self.pooling)}
        return {**asdict(self), "layers": self.layers.to_json(), **lists}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ClassifierConfig:
        """The reverse of ``to_json``. Raises ConfigError on unknown, missing or mistyped keys."""
        given = dict(values)
        if "layers" in given:
            given["layers"] = from_mapping(ModelConfig, given["layers"], "layers")
        return from_mapping(ClassifierConfig, given, "model")


def check_poolings(poolings: tuple[str, ...]) -> None:
    """Raise ConfigError unless they are some of POOLINGS, each once."""
    for pooling in poolings:
        check_choice("pooling", pooling, POOLINGS)
    if not poolings or len(set(poolings)) != len(poolings):
        raise ConfigError(
            f"pooling is {','.join(poolings)!r}; expected one or more of {', '.join(POOLINGS)}, each once"
        )


def check_labels(labels: tuple[str, ...]) -> None:
    """Raise ConfigError unless there are two or more, all different, none empty, each on a line of a table."""
    if not 2 <= len(labels) <= MOST_LABELS:
        raise ConfigError(f"labels are {len(labels)}; expected 2 to {MOST_LABELS}")
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ConfigError(f"the label {twice!r} is there more than once; expected different labels")
    bad = next((label for label in labels if not label.strip() or set(label) & set("\t\r\n")), None)
    if bad is not None:
        raise ConfigError(f"a label is {bad!r}; expected some letters, without tabs and line ends")


def _strings(name: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name} is {values!r}; expected a list of texts")
    return tuple(values)


def classifier_tensors(model: ClassifierConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a classifier."""
    layers, M = model.layers, model.memory
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (layers.vocab, layers.embed)}
    if model.reader == "encoder":
        shapes |= encoder_tensors(layers, "encoder")
    for stack in model.stacks:
        shapes |= stack_tensors(layers, stack)
    if "attention" in model.pooling:
        shapes |= {"pooling.weight": (M, M), "pooling.bias": (M,), "pooling.query": (M,)}
    C = len(model.labels)
    return {**shapes, "output.weight": (C, model.pooled), "output.bias": (C,)}

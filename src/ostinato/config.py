"""What a model is, as a frozen value that is checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

from ostinato.errors import ConfigError

CELLS = ("rnn", "gru", "gru_reset_after", "lstm", "peephole", "peephole_diagonal")
ACTIVATIONS = ("tanh", "relu", "leaky_relu", "elu")


@dataclass(frozen=True)
class ModelConfig:
    """Architecture and sizes of a language model: all that is needed, with the weights, to run it."""

    purpose: ClassVar[str] = "writes or scores text"
    task: ClassVar[str] = "lm"
    verb: ClassVar[str] = "score"
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer.json",)
    """The tokenizer files of a model folder."""

    vocab: int
    """Number of tokens, V."""
    embed: int
    """Width of the embedding, E."""
    hidden: tuple[int, ...]
    """Width of each layer, first layer first."""
    cell: str = "lstm"
    """One of CELLS."""
    activation: str = "tanh"
    """Of cell ``rnn``: one of ACTIVATIONS."""
    bidirectional: bool = False
    """Two independent stacks, one reading backward, that share the output layer: fills gaps instead of writing on."""
    tied: bool = False
    """The output layer uses the embedding's matrix (Press and Wolf 2017)."""
    skip_output: bool = False
    """Every layer, not only the last, feeds the output layer (Graves 2013)."""
    residual: bool = False
    """A layer of the same width as its input adds it to its output."""
    layer_norm: bool = False
    """Normalise each layer's output (Ba et al. 2016)."""
    zoneout: float = 0.0
    """Probability that a unit keeps its state (Krueger et al. 2017); at run time its expectation is used."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        check_choice("cell", self.cell, CELLS)
        check_choice("activation", self.activation, ACTIVATIONS)
        for name, size in (("vocab", self.vocab), ("embed", self.embed), *(("hidden", width) for width in self.hidden)):
            check_range(name, size, 1, 1 << 24)
        if not 1 <= len(self.hidden) <= 64:
            raise ConfigError(f"layers is {len(self.hidden)}; expected 1 to 64")
        check_range("zoneout", self.zoneout, 0.0, 0.99)
        if self.activation != "tanh" and self.cell != "rnn":
            raise ConfigError(f"activation {self.activation!r} is for --cell rnn; {self.cell} has its own")
        if self.tied and self.skip_output:
            raise ConfigError("tied embeddings need one layer of width embed at the output; drop skip_output or tied")
        if self.tied and self.readout != self.embed:
            source = "2 x the last layer" if self.bidirectional else "the last layer"
            raise ConfigError(
                f"tied embeddings need {source} ({self.readout}) to be as wide as the embedding ({self.embed}); "
                "set one of them, or tied = false"
            )

    @property
    def readout(self) -> int:
        """Width of the vector the output layer reads."""
        width = sum(self.hidden) if self.skip_output else self.hidden[-1]
        return 2 * width if self.bidirectional else width

    def describe(self) -> str:
        """``lstm 2 x 256, embedding 128, tied``."""
        extras = ("bidirectional", "tied", "skip_output", "residual", "layer_norm")
        flags = [name.replace("_", " ") for name in extras if getattr(self, name)]
        return ", ".join([self.describe_layers(), f"embedding {self.embed}", *flags])

    def describe_layers(self) -> str:
        """``lstm 2 x 256``."""
        same = len(set(self.hidden)) == 1
        widths = f"{len(self.hidden)} x {self.hidden[0]}" if same else ", ".join(map(str, self.hidden))
        return f"{self.cell if self.activation == 'tanh' else f'{self.cell} ({self.activation})'} {widths}"

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ModelConfig:
        """The reverse of ``to_json``. Raises ConfigError on unknown, missing or mistyped keys."""
        return from_mapping(ModelConfig, values, "model")


@dataclass(frozen=True)
class Regularisers:
    """What keeps training from learning the text by heart; none of it changes how a trained model runs."""

    dropout_input: float = 0.0
    """On the embedded input (Zaremba et al. 2014)."""
    dropout_hidden: float = 0.0
    """Between layers."""
    dropout_output: float = 0.0
    """On what the output layer reads."""
    locked: bool = False
    """One dropout mask for all steps of a window, not one a step (Gal and Ghahramani 2016, "variational")."""
    dropout_embedding: float = 0.0
    """Whole tokens: every occurrence of a token in a window is dropped or kept as one (Gal and Ghahramani 2016)."""
    weight_drop: float = 0.0
    """On the recurrent matrix U, one mask for a window (Merity et al. 2018, DropConnect of Wan et al. 2013)."""
    activation_penalty: float = 0.0
    """Weight of the mean square of the last layer's dropped-out output (Merity et al. 2017, AR)."""
    temporal_penalty: float = 0.0
    """Weight of the mean square of its change from step to step (Krueger and Memisevic 2016, TAR)."""
    label_smoothing: float = 0.0
    """Of translate and classify: share of each target that is spread over all there are (Szegedy et al. 2016)."""
    weight_decay: float = 0.0
    """On matrices only; with adamw decoupled (Loshchilov and Hutter 2019), else a part of the gradient."""

    def __post_init__(self) -> None:
        for name in (
            "dropout_input",
            "dropout_hidden",
            "dropout_output",
            "dropout_embedding",
            "weight_drop",
            "label_smoothing",
        ):
            check_range(name, getattr(self, name), 0.0, 0.95)
        for name in ("activation_penalty", "temporal_penalty", "weight_decay"):
            check_range(name, getattr(self, name), 0.0, 100.0)


Settings = TypeVar("Settings")


def from_mapping(kind: type[Settings], values: Mapping[str, Any], where: str) -> Settings:
    """Make a frozen dataclass from outside values; unknown keys get a "did you mean"."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key {key!r} in {where}{did_you_mean(key, known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from None


def did_you_mean(word: str, known: Any) -> str:
    """``; did you mean 'x'?`` when a known name is near, else an empty string."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ConfigError unless ``value`` is one of ``choices``."""
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(choices)}{hint}")


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Raise ConfigError unless ``value`` is a number from ``low`` to ``high``; a whole number when ``low`` is one."""
    number = isinstance(value, int) if isinstance(low, int) else isinstance(value, int | float)
    if not number or isinstance(value, bool) or not low <= value <= high:
        kind = "a whole number" if isinstance(low, int) else "a number"
        raise ConfigError(f"{name} is {value!r}; expected {kind} from {low} to {high}")

"""The recogniser: layers that read the spectrum of a sound, and scores of what is said in each step of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ostinato.architectures.language import encoder_tensors, stack_tensors
from ostinato.config import ModelConfig, check_choice, check_range, from_mapping
from ostinato.errors import ConfigError

READERS = ("encoder", "stack")
MELS = (8, 80)
RATES = (4_000, 48_000)
STACKS = (1, 8)


@dataclass(frozen=True)
class RecogniserConfig:
    """Architecture and sizes of a recogniser that spells what it hears, step by step (Graves et al. 2006, CTC).

    A step is ``stack`` frames of 10 ms, each ``mels`` logarithms of energy. In each the model says a character or, by
    the tokenizer's boundary token, nothing: no text holds a line end, so that token is CTC's blank.
    """

    purpose: ClassVar[str] = "transcribes speech"
    task: ClassVar[str] = "transcribe"
    verb: ClassVar[str] = "transcribe"
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer.json",)

    layers: ModelConfig
    """What reads the steps: ``embed`` is the width of a step, ``vocab`` counts the characters and the blank."""
    reader: str = "encoder"
    """One of READERS: ``encoder`` reads in both directions, layer by layer; ``stack`` forward only, so it streams."""
    sample_rate: int = 16_000
    """Samples a second of the sounds that it reads."""
    mels: int = 40
    """Bands of the mel scale."""
    stack: int = 2
    """Frames of 10 ms in a step."""

    def __post_init__(self) -> None:
        check_choice("reader", self.reader, READERS)
        check_range("sample_rate", self.sample_rate, *RATES)
        check_range("mels", self.mels, *MELS)
        check_range("stack", self.stack, *STACKS)
        if self.layers.embed != self.mels * self.stack:
            raise ConfigError(
                f"a step is {self.layers.embed} wide; expected mels times stack, {self.mels * self.stack}: "
                "leave embed out"
            )
        for name in ("bidirectional", "tied", "skip_output"):
            if getattr(self.layers, name):
                raise ConfigError(f"the layers of a recogniser take no {name} of their own; leave it out")

    @property
    def memory(self) -> int:
        """Width of what the layers give for a step, M."""
        return self.layers.readout * (2 if self.reader == "encoder" else 1)

    @property
    def streams(self) -> bool:
        """Whether it can say what it heard before the sound has ended."""
        return self.reader == "stack"

    def describe(self) -> str:
        """``encoder lstm 2 x 128, 40 mel bands, 2 frames a step, 8000 Hz``."""
        read = f"{self.reader} {self.layers.describe_layers()}"
        flags = [name.replace("_", " ") for name in ("residual", "layer_norm") if getattr(self.layers, name)]
        heard = [f"{self.mels} mel bands", f"{self.stack} frames a step", f"{self.sample_rate} Hz"]
        return ", ".join([read, *flags, *heard])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "layers": self.layers.to_json()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> RecogniserConfig:
        """The reverse of ``to_json``. Raises ConfigError on unknown, missing or mistyped keys."""
        given = dict(values)
        if "layers" in given:
            given["layers"] = from_mapping(ModelConfig, given["layers"], "layers")
        return from_mapping(RecogniserConfig, given, "model")


def recogniser_tensors(model: RecogniserConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a recogniser."""
    layers, V = model.layers, model.layers.vocab
    tensors = encoder_tensors if model.reader == "encoder" else stack_tensors
    shapes: dict[str, tuple[int, ...]] = {"input.mean": (model.mels,), "input.scale": (model.mels,)}
    shapes |= tensors(layers, model.reader)
    return {**shapes, "output.weight": (V, model.memory), "output.bias": (V,)}

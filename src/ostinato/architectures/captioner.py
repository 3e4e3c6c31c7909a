"""The captioner: convolutions that see an image, attention, and a decoder that writes its caption."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ostinato.architectures.language import GATES, stack_tensors
from ostinato.architectures.translator import attention_tensors
from ostinato.config import ModelConfig, check_choice, check_range, from_mapping
from ostinato.errors import ConfigError

ATTENTIONS = ("none", "additive")
KERNEL = 3
"""Height and width of every convolution's window."""
PADDING = 1
"""Rows and columns of white around what a convolution reads."""
PLANES = 3
"""What the first convolution reads: red, green and blue."""


def weight_scale(below: int) -> float:
    """What the weights of a convolution over ``below`` maps are multiplied with where they are used.

    They are kept with variance one and used with that of He et al. (2015). A step of Adam, as large for all weights,
    then changes what is used by less: the equalised learning rate of Karras et al. (2018).
    """
    return math.sqrt(2.0 / (below * KERNEL**2))


@dataclass(frozen=True)
class CaptionerConfig:
    """Architecture and sizes of an encoder-decoder from images to text (Vinyals et al. 2015, Xu et al. 2015).

    The last feature map has ``regions`` places. With ``attention = "none"`` every step reads their mean; with
    "additive" it weighs them by what it has written (Xu et al. 2015, soft attention).
    """

    purpose: ClassVar[str] = "captions images"
    task: ClassVar[str] = "caption"
    verb: ClassVar[str] = "caption"
    tokenizers: ClassVar[tuple[str, ...]] = ("tokenizer.json",)
    """The tokenizer files of a model folder."""

    decoder: ModelConfig
    """Writes the caption, from left to right."""
    channels: tuple[int, ...]
    """Feature maps that each convolution makes, the first one first; the last are M, the width of a region."""
    strides: tuple[int, ...]
    """Of each convolution: 1 keeps the size, 2 halves it."""
    size: int = 32
    """Height and width of an image, in pixels."""
    attention: str = "additive"
    """One of ATTENTIONS."""
    tied: bool = False
    """The output layer uses the embedding (Press and Wolf 2017)."""
    blind: bool = False
    """Every image is white to it: the same decoder on captions alone, to compare with."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "strides", tuple(self.strides))
        check_choice("attention", self.attention, ATTENTIONS)
        check_range("size", self.size, 4, 1024)
        if not 1 <= len(self.channels) <= 16 or len(self.strides) != len(self.channels):
            raise ConfigError(
                f"channels has {len(self.channels)} numbers and strides {len(self.strides)}; expected 1 to 16, as many"
            )
        for channels, stride in zip(self.channels, self.strides, strict=True):
            check_range("channels", channels, 1, 1 << 16)
            check_range("strides", stride, 1, 2)
        for name in ("bidirectional", "skip_output", "tied"):
            if getattr(self.decoder, name):
                raise ConfigError(f"the decoder of a captioner takes no {name} of its own; leave it out")

    @property
    def memory(self) -> int:
        """Width of a region, and of a context, M."""
        return self.channels[-1]

    @property
    def side(self) -> int:
        """Height and width of the last feature map."""
        side = self.size
        for stride in self.strides:
            side = (side + 2 * PADDING - KERNEL) // stride + 1
        return side

    @property
    def regions(self) -> int:
        """Places of the last feature map, S, row after row."""
        return self.side**2

    def describe(self) -> str:
        """``convolutions 32, 64, 128 over 32 x 32, 16 regions, attention additive, decoder lstm 1 x 256, ...``."""
        seen = f"convolutions {', '.join(map(str, self.channels))} over {self.size} x {self.size}"
        wrote = f"decoder {self.decoder.describe_layers()}, embedding {self.decoder.embed}"
        flags = [name for name in ("tied", "blind") if getattr(self, name)]
        return ", ".join([seen, f"{self.regions} regions", f"attention {self.attention}", wrote, *flags])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        lists = {"channels": list(self.channels), "strides": list(self.strides)}
        return {**asdict(self), **lists, "decoder": self.decoder.to_json()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> CaptionerConfig:
        """The reverse of ``to_json``. Raises ConfigError on unknown, missing or mistyped keys."""
        given = dict(values)
        if "decoder" in given:
            given["decoder"] = from_mapping(ModelConfig, given["decoder"], "decoder")
        return from_mapping(CaptionerConfig, given, "model")


def captioner_tensors(model: CaptionerConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a captioner."""
    decoder, M = model.decoder, model.memory
    H = decoder.hidden[-1]
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (decoder.vocab, decoder.embed)}
    for k, (below, channels) in enumerate(zip((PLANES, *model.channels), model.channels, strict=False)):
        shapes[f"encoder.layers.{k}.weight"] = (channels, below, KERNEL, KERNEL)
        shapes[f"encoder.layers.{k}.bias"] = (channels,)
        shapes |= {f"encoder.norms.{k}.weight": (channels,), f"encoder.norms.{k}.bias": (channels,)}
    shapes |= stack_tensors(decoder, "decoder")
    states = sum(decoder.hidden) * (2 if GATES[decoder.cell] == 4 else 1)
    shapes |= {"bridge.weight": (states, M), "bridge.bias": (states,)}
    shapes |= attention_tensors(model.attention, H, M)
    shapes |= {"readout.weight": (decoder.embed, H + M), "readout.bias": (decoder.embed,)}
    if not model.tied:
        shapes["output.weight"] = (decoder.vocab, decoder.embed)
    return {**shapes, "output.bias": (decoder.vocab,)}

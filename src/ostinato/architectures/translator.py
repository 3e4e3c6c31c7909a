"""The translator: an encoder that reads a source, attention, and a decoder that writes the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ostinato.architectures.language import encoder_tensors, stack_tensors
from ostinato.config import ModelConfig, check_choice, from_mapping
from ostinato.errors import ConfigError

ATTENTIONS = ("none", "dot", "general", "additive")


@dataclass(frozen=True)
class TranslatorConfig:
    """Architecture and sizes of an encoder-decoder.

    With ``attention = "none"`` the decoder reads the encoder's last states at every step, one fixed vector (Cho et al.
    2014); else its readout is ``tanh(W [h_t ; context_t])`` (Luong et al. 2015).
    """

    purpose: ClassVar[str] = "translates"
    task: ClassVar[str] = "translate"
    verb: ClassVar[str] = "translate"

    encoder: ModelConfig
    """Reads the source in both directions, layer by layer."""
    decoder: ModelConfig
    """Writes the target, from left to right."""
    attention: str = "general"
    """One of ATTENTIONS: dot and general are products (Luong et al. 2015), additive is Bahdanau et al. (2015)."""
    input_feeding: bool = False
    """A step of the decoder also reads the readout of the step before (Luong et al. 2015)."""
    tied: bool = False
    """The output layer uses the target's embedding (Press and Wolf 2017)."""
    shared: bool = False
    """One vocabulary and one embedding for both sides."""

    def __post_init__(self) -> None:
        check_choice("attention", self.attention, ATTENTIONS)
        for side in ("encoder", "decoder"):
            model: ModelConfig = getattr(self, side)
            if model.bidirectional or model.skip_output or model.tied:
                raise ConfigError(f"the {side} of a translator takes no bidirectional, skip_output or tied of its own")
        if self.attention == "none" and self.input_feeding:
            raise ConfigError("input_feeding feeds back what attention made; attention is 'none'")
        if self.attention == "dot" and self.memory != self.decoder.hidden[-1]:
            raise ConfigError(
                f"attention 'dot' needs a decoder as wide as both directions of the encoder, {self.memory}; "
                f"it is {self.decoder.hidden[-1]} wide; or take general"
            )
        if self.shared and (self.encoder.vocab, self.encoder.embed) != (self.decoder.vocab, self.decoder.embed):
            raise ConfigError("a shared embedding needs the same vocab and embed on both sides")

    @property
    def memory(self) -> int:
        """Width of what the encoder gives for each token, and of a context, M."""
        return 2 * self.encoder.hidden[-1]

    @property
    def decoder_input(self) -> int:
        """Width of what the decoder's first layer reads."""
        fed = self.memory if self.attention == "none" else self.decoder.embed if self.input_feeding else 0
        return self.decoder.embed + fed

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """The tokenizer files of a model folder: the target's, and the source's where it has one of its own."""
        return ("tokenizer.json",) if self.shared else ("tokenizer.json", "source_tokenizer.json")

    def describe(self) -> str:
        """``encoder lstm 1 x 256, attention general, decoder lstm 1 x 512, embedding 256, tied``."""
        sides = f"encoder {self.encoder.describe_layers()}, attention {self.attention}"
        sides += f", decoder {self.decoder.describe_layers()}, embedding {self.decoder.embed}"
        flags = [name.replace("_", " ") for name in ("input_feeding", "tied", "shared") if getattr(self, name)]
        return ", ".join([sides, *flags])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        sides = {"encoder": self.encoder.to_json(), "decoder": self.decoder.to_json()}
        return {**asdict(self), **sides}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> TranslatorConfig:
        """The reverse of ``to_json``. Raises ConfigError on unknown, missing or mistyped keys."""
        given = dict(values)
        for side in {"encoder", "decoder"} & given.keys():
            given[side] = from_mapping(ModelConfig, given[side], side)
        return from_mapping(TranslatorConfig, given, "model")


def translator_tensors(model: TranslatorConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a translator."""
    encoder, decoder, M = model.encoder, model.decoder, model.memory
    H, parts = decoder.hidden[-1], 2 if decoder.cell in ("lstm", "peephole", "peephole_diagonal") else 1
    states = parts * sum(decoder.hidden)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (decoder.vocab, decoder.embed)}
    if not model.shared:
        shapes["source_embedding.weight"] = (encoder.vocab, encoder.embed)
    shapes |= encoder_tensors(encoder, "encoder") | stack_tensors(decoder, "decoder", model.decoder_input)
    shapes |= {"bridge.weight": (states, M), "bridge.bias": (states,)}
    shapes |= attention_tensors(model.attention, H, M)
    shapes |= {"readout.weight": (decoder.embed, H + M), "readout.bias": (decoder.embed,)}
    if not model.tied:
        shapes["output.weight"] = (decoder.vocab, decoder.embed)
    return {**shapes, "output.bias": (decoder.vocab,)}


def attention_tensors(attention: str, query: int, memory: int) -> dict[str, tuple[int, ...]]:
    """Of an attention of queries of width Q over a memory of width M."""
    if attention == "general":
        return {"attention.weight": (query, memory)}
    if attention == "additive":
        matrices = {"attention.weight_query": (query, query), "attention.weight_memory": (query, memory)}
        return {**matrices, "attention.bias": (query,), "attention.v": (query,)}
    return {}

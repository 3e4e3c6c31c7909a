"""The composer: recurrent layers over the steps of a piece, and a distribution over the keys that sound at each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ostinato.architectures.language import stack_tensors
from ostinato.config import ModelConfig, check_choice, check_range, from_mapping
from ostinato.errors import ConfigError

KEYS = 88
"""Of a piano, K; the lowest first."""
OUTPUTS = ("chain", "bernoulli")
MELODIES = ("none", "past", "whole")


@dataclass(frozen=True)
class ComposerConfig:
    """Architecture and sizes of a model of polyphonic music, step by step: which keys sound, given all steps before.

    With ``output = "bernoulli"`` the keys of a step do not know of each other; with "chain" each depends on those above
    it that sound (Larochelle and Murray 2011, NADE; over the steps Boulanger-Lewandowski et al. 2012, RNN-NADE).
    """

    purpose: ClassVar[str] = "composes music"
    task: ClassVar[str] = "music"
    verb: ClassVar[str] = "compose"
    tokenizers: ClassVar[tuple[str, ...]] = ()
    """None: keys have numbers already."""

    layers: ModelConfig
    """What reads the steps; its ``vocab`` is KEYS."""
    output: str = "chain"
    """One of OUTPUTS."""
    chain: int = 96
    """Of the chain: units that remember the keys above, Q."""
    melody: str = "none"
    """One of MELODIES: what is known beforehand of the highest key of each step, so that only the keys below it are to
    be found. ``past`` hears it step by step, ``whole`` has read all of it from its end."""
    beats: float = 1.0
    """Length of a step, in quarter notes."""

    def __post_init__(self) -> None:
        check_choice("output", self.output, OUTPUTS)
        check_choice("melody", self.melody, MELODIES)
        check_range("chain", self.chain, 1, 1 << 12)
        check_range("beats", self.beats, 1 / 64, 64.0)
        if self.layers.vocab != KEYS:
            raise ConfigError(f"the layers of a composer read {self.layers.vocab} keys; expected {KEYS}")
        for name in ("bidirectional", "tied"):
            if getattr(self.layers, name):
                raise ConfigError(f"the layers of a composer take no {name} of their own; leave it out")

    @property
    def readout(self) -> int:
        """Width of what the output reads, R."""
        return self.layers.readout * (2 if self.melody == "whole" else 1)

    def describe(self) -> str:
        """``lstm 1 x 200, embedding 64, output chain of 96 units, given the whole melody``."""
        parts = [self.layers.describe(), f"output {self.output}" + f" of {self.chain} units" * (self.output == "chain")]
        given = {"none": [], "past": ["given the melody so far"], "whole": ["given the whole melody"]}
        return ", ".join([*parts, *given[self.melody]])

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "layers": self.layers.to_json()}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> ComposerConfig:
        """The reverse of ``to_json``. Raises ConfigError on unknown, missing or mistyped keys."""
        given = dict(values)
        if "layers" in given:
            given["layers"] = from_mapping(ModelConfig, given["layers"], "layers")
        return from_mapping(ComposerConfig, given, "model")


def composer_tensors(model: ComposerConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a composer."""
    layers, R, Q = model.layers, model.readout, model.chain
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (KEYS, layers.embed)}
    if model.melody != "none":
        shapes["melody_embedding.weight"] = (KEYS, layers.embed)
    shapes |= stack_tensors(layers, "stack")
    if model.melody == "whole":
        shapes |= stack_tensors(layers, "melody_stack")
    if model.output == "chain":
        shapes |= {"chain.weight": (Q, R), "chain.bias": (Q,), "chain.above": (KEYS, Q), "chain.output": (KEYS, Q)}
    return {**shapes, "output.weight": (KEYS, R), "output.bias": (KEYS,)}

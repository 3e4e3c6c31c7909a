"""The settings that only some tasks have: what becomes of their data, and what is in their models beside layers."""

from __future__ import annotations

from dataclasses import dataclass

from ostinato.architectures.classifier import check_poolings
from ostinato.architectures.composer import MELODIES, OUTPUTS
from ostinato.architectures.recogniser import MELS, STACKS
from ostinato.architectures.recogniser import RATES as SAMPLE_RATES
from ostinato.architectures.translator import ATTENTIONS
from ostinato.config import check_choice, check_range
from ostinato.data.sounds import SPEED_STEP
from ostinato.errors import ConfigError

CLASS_WEIGHTS = ("none", "balanced")


@dataclass(frozen=True)
class ClassifySettings:
    """Of ``--task classify``: how a text becomes one vector, what a mistake costs, and where its layers come from."""

    pooling: str | None = None
    """How the outputs for all tokens become one vector: max, mean, last or attention, or several as in max,mean."""
    class_weights: str = "none"
    """What a text counts in the loss, one of CLASS_WEIGHTS: balanced makes every label count the same."""
    start_from: str | None = None
    """The folder of a language model whose tokens, embedding and layers the classifier begins with (Howard and Ruder
    2018, ULMFiT)."""
    tune: float = 0.3
    """With start_from: share of the budget in which the language model first learns the texts to classify; 0 is off."""
    layer_decay: float = 2.6
    """With start_from: each layer further from the labels learns so many times slower; 1 is off."""
    unfreeze: float = 0.1
    """With start_from: share of the rest of the budget over which the layers are let go one by one, the last one first;
    0 is off."""

    def __post_init__(self) -> None:
        if self.pooling is not None:
            check_poolings(self.poolings)
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        check_range("tune", self.tune, 0.0, 0.9)
        check_range("layer_decay", self.layer_decay, 1.0, 100.0)
        check_range("unfreeze", self.unfreeze, 0.0, 1.0)

    @property
    def poolings(self) -> tuple[str, ...]:
        """The names that ``pooling`` holds."""
        return tuple(name.strip() for name in (self.pooling or "").split(","))


@dataclass(frozen=True)
class AttentionSettings:
    """What a translator and a captioner have in common."""

    attention: str | None = None
    """What the decoder looks at the source with, one of ATTENTIONS; a captioner has additive and none. None reads one
    vector for all of it."""

    def __post_init__(self) -> None:
        if self.attention is not None:
            check_choice("attention", self.attention, ATTENTIONS)


@dataclass(frozen=True)
class TranslatorSettings:
    """What only a translator has."""

    input_feeding: bool | None = None
    """A step of the decoder also reads what attention made of the step before (Luong et al. 2015)."""
    shared: bool | None = None
    """One vocabulary for both languages; default: yes, unless tokens are words."""


@dataclass(frozen=True)
class CaptionSettings:
    """Of ``--task caption``: the images, and what looks at them."""

    images: str | None = None
    """Where the images are that the captions name: a folder or a .zip archive; default: the folder of the captions."""
    image_size: int = 32
    """Height and width that images are scaled to, in pixels."""
    channels: int | None = None
    """Feature maps of the last convolution; those before it have fewer."""
    blind: bool = False
    """Show it white images only: the same decoder on captions alone, to compare with."""
    shift: int = 2
    """In training, most pixels that an image is moved by; 0 is off."""
    flip: bool = False
    """In training, mirror every other image: not where captions say left and right."""
    background: float = 0.5
    """In training, share of the images that are laid on a random colour instead of white, where they are clear."""
    words_first: float = 0.6
    """Share of the budget in which what looks at the images first learns which words captions have (Fang et al. 2015);
    0 is off."""

    def __post_init__(self) -> None:
        check_range("words_first", self.words_first, 0.0, 0.9)
        check_range("image_size", self.image_size, 8, 1024)
        check_range("shift", self.shift, 0, self.image_size // 2)
        check_range("background", self.background, 0.0, 1.0)
        if self.channels is not None:
            check_range("channels", self.channels, 4, 1 << 12)


@dataclass(frozen=True)
class SpeechSettings:
    """Of ``--task transcribe``: what is heard of a sound, and what training makes of recordings."""

    sample_rate: int | None = None
    """Samples a second that sounds are brought to; default: those of the first recording."""
    mels: int = 40
    """Bands of the mel scale that are heard."""
    stack: int = 2
    """Frames of 10 ms that are read as one step: more are faster, but a step says one character at most."""
    join: int = 1
    """In training, most recordings that are joined to one string; 1 is off."""
    pause: float = 0.3
    """In training, longest pause before a recording, in seconds."""
    noise: float = 0.0
    """In training, share of the strings that noise is mixed into, 5 to 30 dB below the speech."""
    speed: float = 0.1
    """In training, recordings are played up to so much faster or slower, pitch and all, in steps of 0.05; 0 is off."""
    loudness: float = 24.0
    """In training, recordings are made up to so many dB quieter, or a quarter as many louder; 0 is off."""
    eq: float = 4.0
    """In training, strings are heard through random filters of about so many dB, as of other microphones; 0 is off."""

    def __post_init__(self) -> None:
        if self.sample_rate is not None:
            check_range("sample_rate", self.sample_rate, *SAMPLE_RATES)
        check_range("mels", self.mels, *MELS)
        check_range("stack", self.stack, *STACKS)
        check_range("join", self.join, 1, 64)
        check_range("pause", self.pause, 0.0, 10.0)
        check_range("noise", self.noise, 0.0, 1.0)
        if self.speed != 0.0 and not SPEED_STEP <= self.speed <= 0.5:
            raise ConfigError(f"speed is {self.speed}; expected a number from {SPEED_STEP} to 0.5, or 0 for none")
        check_range("loudness", self.loudness, 0.0, 60.0)
        check_range("eq", self.eq, 0.0, 40.0)


@dataclass(frozen=True)
class MusicSettings:
    """Of ``--task music``: what a step is, what is known of it, and what is asked."""

    output: str | None = None
    """How the keys of a step depend on each other, one of OUTPUTS: chain on those above, bernoulli not at all."""
    chain: int | None = None
    """Units of the chain that remember the keys above."""
    melody: str | None = None
    """What is known of the highest key of each step, one of MELODIES: with past or whole the model harmonises, while it
    hears a melody or after it has read the whole."""
    beats: float | None = None
    """Length of a step in quarter notes, for MIDI: 0.25 is a sixteenth."""
    transpose: int | None = None
    """In training, most semitones that a piece is moved by; 0 is off."""

    def __post_init__(self) -> None:
        if self.output is not None:
            check_choice("output", self.output, OUTPUTS)
        if self.melody is not None:
            check_choice("melody", self.melody, MELODIES)
        if self.chain is not None:
            check_range("chain", self.chain, 1, 1 << 12)
        if self.beats is not None:
            check_range("beats", self.beats, 1 / 64, 64.0)
        if self.transpose is not None:
            check_range("transpose", self.transpose, 0, 48)

"""A trained model in Python, without torch: write, score, fill gaps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ostinato import bundle
from ostinato.bundle import Bundle
from ostinato.config import ModelConfig
from ostinato.decode.fill import Filled, fill
from ostinato.decode.generate import Generated, generate, stream_rng
from ostinato.decode.sampling import check_sampling, make_sampler
from ostinato.engine import BidirectionalEngine, Engine, load_state, make_engine, save_state
from ostinato.errors import ConfigError, TextError
from ostinato.score.logprob import StatePolicy, UnkPolicy, score_lines, score_text
from ostinato.score.report import Scored
from ostinato.text import tokenizer as tokenizers
from ostinato.types import Decoder, Floats, Ids, Sampling, State, Tokenizer


class Drawing(TypedDict, total=False):
    """How a model draws its tokens; everything may be left out."""

    temperature: float
    """0 takes the likeliest token, 1 (the default) follows the model, more flattens its distribution."""
    top_k: int | None
    """Draw from this many of the likeliest tokens only."""
    top_p: float
    """Draw from the likeliest tokens that together have this probability only; 1 is all."""
    min_p: float
    """Draw from tokens at least this many times as likely as the likeliest only; 0 is all."""
    repetition_penalty: float
    """Make what was written lately less likely; 1 (the default) is off, 1.2 is usual."""
    no_repeat_ngram: int
    """Write no sequence of so many tokens twice within the last 128; 0 (the default) is off."""
    seed: int | None
    """The same seed gives the same text; None a different one every time."""
    allow_unknown: bool
    """Read what the model never saw as ``<unk>``."""


class Writing(Drawing, total=False):
    """How a model writes; everything may be left out."""

    stop: Sequence[str]
    """End before any of these strings."""
    index: int
    """Tells samples of one seed apart; 0 by default."""
    state: State | None
    """Go on from a state of this model, instead of beginning a text."""


class LanguageModel:
    """A language model and its tokenizer.

    ``state`` is the value it remembers of the last text it wrote or was started on: keep it, save it, or go on from it
    twice (``stream(state=...)``). Models trained with ``--bidirectional`` score and fill gaps but cannot write on.
    """

    def __init__(
        self,
        model: ModelConfig,
        tensors: Mapping[str, Floats],
        tokenizer: Tokenizer,
        training: Mapping[str, Any] | None = None,
        *,
        int8: bool = False,
    ) -> None:
        """``tensors`` as in a bundle; with ``int8`` a model that reads forward runs in eight bits, where the core is.

        Raises BundleError when the tokenizer does not match the weights.
        """
        bundle.check_vocabulary(tokenizer.vocab_size, model.vocab)
        self.engine: Engine | BidirectionalEngine
        if model.bidirectional:
            self.engine = BidirectionalEngine(model, tensors, tokenizer.boundary_id)
        else:
            self.engine = make_engine(model, tensors, tokenizer.boundary_id, int8=int8)
        self.model, self.tokenizer = model, tokenizer
        self.training: dict[str, Any] = dict(training or {})
        self._state: State | None = None
        self._written: Generated | None = None

    @property
    def state(self) -> State | None:
        """What it remembers of the last text it wrote or was started on; None before the first."""
        if self._written is not None:
            self._state, self._written = self._written.state, None
        return self._state

    @state.setter
    def state(self, state: State | None) -> None:
        self._state, self._written = state, None

    # Writing

    def forward(self) -> Engine:
        """What runs it token by token. Raises ConfigError for a bidirectional model."""
        if isinstance(self.engine, BidirectionalEngine):
            raise ConfigError(
                "this model reads in both directions: it scores and fills gaps (ostinato fill) but cannot write on; "
                "train one without --bidirectional"
            )
        return self.engine

    def start(self, prompt: str = "", *, allow_unknown: bool = False) -> State:
        """The state after ``prompt``, at the beginning of a text; it becomes ``state``. Raises as ``stream`` does."""
        engine = self.forward()
        ids = self.encode(prompt, allow_unknown=allow_unknown)
        self.state = engine.read(ids[:, None], engine.start())
        return self.state

    def generate(self, prompt: str = "", tokens: int = 200, **options: Unpack[Writing]) -> str:
        """What the model writes after ``prompt``: the pieces of ``stream`` as one string, without the prompt."""
        return "".join(self.stream(prompt, tokens, **options))

    def stream(self, prompt: str = "", tokens: int = 200, **options: Unpack[Writing]) -> Iterator[str]:
        """Write after ``prompt``, piece by piece as it is made; ``state`` keeps up with it.

        It ends after ``tokens`` tokens or before a stop string. ``options`` are those of ``Writing``. Raises
        ConfigError on a setting out of range and for a bidirectional model, TextError when the prompt holds characters
        or words that the model never saw, unless they are allowed.
        """
        return (token.text for token in self.stream_tokens(prompt, tokens, **options) if token.text)

    def stream_tokens(
        self,
        prompt: str = "",
        tokens: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        index: int = 0,
        state: State | None = None,
        allow_unknown: bool = False,
    ) -> Iterator[Generated]:
        """As ``stream``, every token with its log-probability and the state after it."""
        engine = self.forward()
        if tokens < 0:
            raise ConfigError(f"tokens is {tokens}; expected 0 or more")
        # A piece of BPE begins with the blank before it, so a blank at the prompt's end is the first piece's to bring.
        healed = self.tokenizer.level in ("bpe", "unigram") and prompt.endswith(" ")
        ids = self.encode(prompt[:-1] if healed else prompt, allow_unknown=allow_unknown)
        unknown = self.tokenizer.unk_id
        made = generate(
            engine,
            self.tokenizer,
            engine.read(ids[:, None], state or engine.start()),
            how=check_sampling(Sampling(temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram)),
            rng=stream_rng(seed, index),
            tokens=tokens,
            stop=stop,
            banned=() if unknown is None else (unknown,),
            banned_first=self._without_blank() if healed else (),
            decoder=self._decoder_after(prompt, ids.tolist(), within_line=state is not None),
        )
        return self._follow(made)

    def _without_blank(self) -> list[int]:
        """The tokens that do not begin with a blank."""
        return [token for token in range(self.model.vocab) if not self.tokenizer.piece(token).startswith(b" ")]

    def _follow(self, made: Iterator[Generated]) -> Iterator[Generated]:
        for token in made:
            self._written = token
            yield token

    def _decoder_after(self, prompt: str, ids: Sequence[int], *, within_line: bool) -> Decoder:
        decoder = self.tokenizer.decoder()
        unknown = [] if self.tokenizer.unk_id is None else [self.tokenizer.unk_id]
        for token in [*(unknown if within_line else []), *ids]:  # some word or other came before
            decoder.push(token)
        # Above the level of characters the first piece brings a blank, which the prompt may have brought along.
        brings = self.tokenizer.level in ("word", "bpe", "unigram")
        return _WithoutBlank(decoder) if brings and prompt.endswith(" ") else decoder

    def encode(self, text: str, *, allow_unknown: bool = False) -> Ids:
        """The ids ``(T,)`` of ``text``. Raises TextError, naming them, on characters or words the model never saw,
        unless they are allowed."""
        unknown = [] if allow_unknown else self.unknown(text)
        if unknown:
            kind = ("word" if self.tokenizer.level == "word" else "character") + "s" * (len(unknown) > 1)
            named = ", ".join(map(repr, unknown[:8])) + (", ..." if len(unknown) > 8 else "")
            raise TextError(
                f"the text holds {len(unknown)} {kind} that the model never saw: {named}; "
                "leave them out, or allow unknown ones (--allow-unknown)"
            )
        return self.tokenizer.encode(text)

    def unknown(self, text: str) -> list[str]:
        """The characters or words of ``text`` that the model reads as ``<unk>``, each once, in their order."""
        ids, spans = self.tokenizer.encode_with_spans(text)
        # The id of no token where there is no <unk>: bytes and pieces of them spell everything.
        unk = -1 if self.tokenizer.unk_id is None else self.tokenizer.unk_id
        return list(dict.fromkeys(text[begin:end] for begin, end in spans[ids == unk].tolist()))

    # Scoring and filling

    def score(
        self,
        text: str | Iterable[str],
        *,
        state: StatePolicy = "carry",
        unk: UnkPolicy = "count",
        line_end: bool = True,
        tokens: bool = True,
    ) -> Scored:
        """The score of a text, whole or in chunks, with each token's; in flat memory when ``tokens`` is False.

        ``state`` "reset" begins every line anew; ``unk`` "skip" leaves unknown tokens out; ``line_end`` False leaves
        line ends out. A bidirectional model gives a pseudo-score.
        """
        return score_text(self.engine, self.tokenizer, text, state=state, unk=unk, line_end=line_end, tokens=tokens)

    def score_lines(
        self,
        text: str | Iterable[str],
        *,
        state: StatePolicy = "carry",
        unk: UnkPolicy = "count",
        line_end: bool = True,
        tokens: bool = False,
    ) -> Iterator[Scored]:
        """As ``score``, line by line."""
        return score_lines(self.engine, self.tokenizer, text, state=state, unk=unk, line_end=line_end, tokens=tokens)

    def fill(
        self,
        text: str,
        *,
        gap_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int | None = None,
        alternatives: int = 5,
    ) -> Filled:
        """Fill the gaps of ``text``, each marked ``___`` or, for exactly five tokens, ``___5`` (see ``decode.fill``).

        ``temperature`` 0 gives the best filling, more draws one. Raises ConfigError for a model that reads forward
        only, and when there is no gap.
        """
        if isinstance(self.engine, Engine):
            raise ConfigError("this model reads forward only and cannot fill gaps; train one with --bidirectional")
        sampler = make_sampler(Sampling(temperature))
        return fill(
            self.engine,
            self.tokenizer,
            text,
            gap_tokens=gap_tokens,
            sampler=sampler if temperature > 0 else None,
            rng=stream_rng(seed),
            alternatives=alternatives,
        )

    # States as files

    def save_state(self, path: str | Path) -> None:
        """Write ``state`` to a file. Raises ConfigError when there is none yet."""
        engine = self.forward()
        if self.state is None:
            raise ConfigError("there is no state to save yet; call start or write something first")
        save_state(path, self.state, engine)

    def load_state(self, path: str | Path) -> State:
        """Read a state that this model saved; it becomes ``state``. Raises BundleError when it is not one."""
        self.state = load_state(path, self.forward())
        return self.state


class _WithoutBlank:
    """A decoder whose first text loses the blank it begins with."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder, self._first = decoder, True

    def push(self, token: int) -> str:
        text = self._decoder.push(token)
        if self._first and text:
            self._first = False
            return text.removeprefix(" ")
        return text

    def finish(self) -> str:
        return self._decoder.finish()


def load(folder: str | Path) -> LanguageModel:
    """The language model in a folder that ``train`` or ``export`` made.

    Raises BundleError when it is missing, damaged or foreign, or a model for another task.
    """
    return language_model(bundle.load_kind(folder, ModelConfig))


def language_model(found: Bundle[ModelConfig]) -> LanguageModel:
    """The model of a folder as read."""
    tokenizer = tokenizers.load(found.tokenizer_paths[0])
    return LanguageModel(found.model, found.tensors, tokenizer, found.training, int8=found.weights == "int8")

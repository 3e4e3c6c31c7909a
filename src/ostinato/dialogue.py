"""A conversation with a language model, without torch: turns of two speakers, one recurrent state."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np

from ostinato.decode.generate import Generated, generate, stream_rng
from ostinato.decode.sampling import RECENT, check_sampling
from ostinato.engine import Engine, load_noted_state, save_state
from ostinato.errors import BundleError, ConfigError, TextError
from ostinato.language_model import Drawing, LanguageModel
from ostinato.score.logprob import SCORES, measure
from ostinato.score.report import Policy, Scored
from ostinato.text.conversations import normalise
from ostinato.text.decoding import LINE_END
from ostinato.types import Ids, Sampling, State

HISTORY = 100
"""Exchanges that can be taken back; each keeps one state."""
TOKENS = 200
"""A reply is ended after so many tokens where the model has not ended it."""
_FORMAT = 1

Speaker = Literal["user", "model"]


@dataclass(frozen=True)
class Turn:
    """What one speaker said."""

    speaker: Speaker
    text: str
    """One line without blanks at its ends; never empty."""
    scored: Scored
    """What it cost under the model's own distribution, given all turns before; a line end that the model did not write
    is left out."""


class Conversation:
    """The user and a language model in turn; the recurrent state holds all that was said, in constant memory.

    The model is any that reads forward and was trained on the text of ``text.conversations``: a line end closes a turn,
    an empty line a conversation. ``Conversation`` begins after an empty line, as all but the first did in training.
    """

    def __init__(self, model: LanguageModel) -> None:
        """Raises ConfigError for a bidirectional model."""
        self._model, self._engine = model, model.forward()
        tokens = model.tokenizer
        self._banned = [] if tokens.unk_id is None else [tokens.unk_id]
        # A turn has something on its line: it begins with neither line end nor blank, which no turn in training does.
        self._never_first = [token for token in range(tokens.vocab_size) if _begins_blank(tokens.piece(token))]
        closed = np.array([tokens.boundary_id], np.int64)
        self._states = deque([self._engine.step(closed, self._engine.start())[1]], HISTORY + 1)
        self._turns: list[Turn] = []

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All that was said, user and model in turn."""
        return tuple(self._turns)

    @property
    def state(self) -> State:
        """Of the model, all turns read."""
        return self._states[-1]

    # Talking

    def reply(self, text: str, tokens: int = TOKENS, **options: Unpack[Drawing]) -> str:
        """Say ``text`` and give what the model answers: what ``stream`` gives, as one string, never empty."""
        for _ in self.stream(text, tokens, **options):
            pass
        return self._turns[-1].text

    def stream(
        self,
        text: str,
        tokens: int = TOKENS,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
        seed: int | None = None,
        allow_unknown: bool = False,
    ) -> Iterator[str]:
        """Say ``text``, one turn, and give what the model answers, piece by piece as it is made.

        It ends at the line end that the model writes or after ``tokens`` tokens. Both turns count when it has ended, or
        when the iterator is closed before: then what was made so far is the reply. A seed gives each exchange of the
        conversation numbers of its own. The controls of repetition look back on what the model said, in earlier turns
        too, and not on the user's words, which it may well take up. Options as in ``Drawing``.

        Raises ConfigError on a setting out of range, and TextError, nothing being changed, when ``text`` is blank or
        holds what the model never saw, unless that is allowed.
        """
        how = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram)
        if tokens < 1:
            raise ConfigError(f"tokens is {tokens}; expected 1 or more, for a reply is never empty")
        rng = stream_rng(seed, len(self._turns) // 2)
        check_sampling(how)
        said, state = self._listen(text, allow_unknown)
        made = generate(
            self._engine,
            self._model.tokenizer,
            state,
            how=how,
            rng=rng,
            tokens=tokens,
            stop=[LINE_END],
            banned=self._banned,
            banned_first=self._never_first,
            recent=self._own_tokens() if how.looks_back else (),
        )
        return self._answer(said, made)

    def _listen(self, text: str, allow_unknown: bool) -> tuple[Turn, State]:
        text = normalise(text)
        if not text:
            raise TextError("the turn is blank; expected a line with something on it")
        ids = self._model.encode(text + LINE_END, allow_unknown=allow_unknown)
        nats, state = _read(self._engine, ids, self.state)
        unknown = int(np.isin(ids, self._banned).sum())
        return Turn("user", text, _scored(text, nats, len(ids), closed=True, unknown=unknown)), state

    def _answer(self, said: Turn, made: Iterator[Generated]) -> Iterator[str]:
        text, nats, count, last = "", 0.0, 0, None
        try:
            for last in made:
                text, nats, count = text + last.text, nats - last.logprob, count + 1
                if last.text:
                    yield last.text
        finally:
            if last is not None and text:
                closed = last.id == self._model.tokenizer.boundary_id
                ids = np.array([self._model.tokenizer.boundary_id], np.int64)
                self._states.append(last.state if closed else self._engine.step(ids, last.state)[1])
                self._turns += [said, Turn("model", text.strip() or text, _scored(text, nats, count, closed=closed))]

    def _own_tokens(self) -> list[int]:
        """The last ones that the model said; as many as the controls of repetition look back on, or a few more."""
        ids: list[int] = []
        for turn in reversed(self._turns[1::2]):
            ids = self._model.tokenizer.encode(turn.text + LINE_END).tolist() + ids
            if len(ids) >= RECENT:
                break
        return ids

    # Looking back

    def undo(self) -> tuple[Turn, Turn]:
        """Take back the last exchange; gives its two turns. Raises ConfigError when there is none to take back."""
        if not self._turns:
            raise ConfigError("nothing has been said yet that could be taken back")
        if len(self._states) == 1:
            raise ConfigError(f"only the last {HISTORY} exchanges can be taken back")
        self._states.pop()
        said, answered = self._turns[-2:]
        del self._turns[-2:]
        return said, answered

    def score(self) -> dict[Speaker, Scored]:
        """What each speaker said, under the model's own distribution, given all before it: ``word_perplexity``,
        ``bits_per_char`` and the rest."""
        return {
            speaker: Scored.total((turn.scored for turn in self._turns if turn.speaker == speaker), Policy())
            for speaker in get_args(Speaker)
        }

    # Conversations as files

    def save(self, path: str | Path) -> None:
        """Write turns and states to a file, in one move. Raises BundleError when it cannot be written."""
        turns = [{"speaker": turn.speaker, "text": turn.text, **_counts(turn.scored)} for turn in self._turns]
        note = json.dumps({"conversation": _FORMAT, "turns": turns}, ensure_ascii=False)
        save_state(path, State.stack(list(self._states)), self._engine, note)

    def load(self, path: str | Path) -> None:
        """Go on from a conversation that ``save`` wrote, in place of this one.

        Raises BundleError, nothing being changed, when it is missing, damaged, of another model, or none.
        """
        states, note = load_noted_state(path, self._engine)
        turns = _turns(note, path)
        if not 1 <= states.batch <= min(HISTORY, len(turns) // 2) + 1:
            raise BundleError(f"{path} is damaged: {states.batch} states of {len(turns)} turns")
        self._states = deque((states.rows([k]) for k in range(states.batch)), HISTORY + 1)
        self._turns = turns


def _begins_blank(piece: bytes) -> bool:
    return piece.decode("utf-8", "replace")[:1].isspace()


def _read(engine: Engine, ids: Ids, state: State) -> tuple[float, State]:
    """What ``ids (T,)`` cost, in nats, and the state after them; a long turn in bounded memory."""
    nats, logits = 0.0, engine.logits(state)
    steps = max(1, SCORES // engine.vocab_size)
    for t in range(0, len(ids), steps):
        part = ids[t : t + steps, None]
        after, state = engine.run(part, state)
        nats += float(measure(np.concatenate([logits[None], after[:-1]]), part, detail=False).nats.sum())
        logits = after[-1]
    return nats, state


def _scored(text: str, nats: float, tokens: int, *, closed: bool, unknown: int = 0) -> Scored:
    """The score of a turn; ``closed``: with its line end."""
    return Scored(
        nats=nats,
        tokens=tokens,
        chars=len(text) + closed,
        bytes=len(text.encode()) + closed,
        words=len(text.split()) + closed,
        oov=unknown,
    )


def _counts(scored: Scored) -> dict[str, float]:
    return {name: getattr(scored, name) for name in _KINDS}


_KINDS = {"nats": float, "tokens": int, "chars": int, "bytes": int, "words": int, "oov": int}


def _turns(note: str, path: str | Path) -> list[Turn]:
    """The turns that ``save`` noted. Raises BundleError where it did not."""
    try:
        content = json.loads(note or "null")
        if content["conversation"] != _FORMAT:
            raise BundleError(f"{path} is a conversation of another version of Ostinato; expected version {_FORMAT}")
        turns = [_turn(record, get_args(Speaker)[k % 2]) for k, record in enumerate(content["turns"])]
        if len(turns) % 2:
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise BundleError(
            f"{path} is no saved conversation; expected a file that a conversation was saved to"
        ) from None
    return turns


def _turn(record: Any, speaker: Speaker) -> Turn:
    counts = {name: record[name] for name in _KINDS}
    kinds = all(type(counts[name]) is kind for name, kind in _KINDS.items())
    if not kinds or record["speaker"] != speaker or not isinstance(record["text"], str):
        raise TypeError
    return Turn(speaker, record["text"], Scored(**counts))

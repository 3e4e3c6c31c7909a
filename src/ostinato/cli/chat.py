"""``ostinato chat``: talk with a model."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any, Protocol, cast

from rich.console import Console
from rich.text import Text

from ostinato.cli.arguments import Flag, for_terminal
from ostinato.config import did_you_mean
from ostinato.decode.generate import stream_rng
from ostinato.decode.sampling import check_sampling
from ostinato.dialogue import TOKENS, Conversation
from ostinato.errors import ConfigError, OstinatoError, TextError
from ostinato.language_model import Drawing, load
from ostinato.types import Sampling

LINE = 1 << 16
"""Bytes of the longest line that is taken; more is no turn of a conversation, and would be held in memory whole."""
COMMANDS = {
    "/save FILE": "Write the conversation to a file.",
    "/load FILE": "Go on from a saved conversation, in place of this one.",
    "/undo": "Take back your last turn and the reply to it.",
    "/score": "Perplexity per word and bits per character of what you said, and of what the model said.",
    "/help": "This list.",
    "/quit": "End; so do /exit, Ctrl-D and the end of the input.",
}
_NAMES = [usage.split()[0] for usage in COMMANDS] + ["/exit"]


def chat(
    model: Path,
    *,
    tokens: int = TOKENS,
    temperature: float = 0.7,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    no_repeat_ngram: int = 0,
    seed: int | None = None,
    allow_unknown: Flag = False,
    json: Flag = False,
) -> None:
    """Talk with a model: a line is a turn, and it remembers all of the conversation in its state.

    Any model that reads forward will do; one trained on conversations, a turn a line, answers. In a terminal a reply
    is shown as it is made, and Ctrl-C stops it. From a pipe, each line gets a reply on a line, and nothing else is on
    stdout. Blank lines are passed over. /help lists the commands, such as /save and /undo.

    Parameters
    ----------
    model
        The model folder.
    tokens
        A reply is ended after so many tokens where the model has not ended it.
    temperature
        0 always takes the likeliest token, 1 follows the model, more is more surprising.
    top_k
        Draw from this many of the likeliest tokens only.
    top_p
        Draw from the likeliest tokens that together have this probability only; 1 is off.
    min_p
        Draw from tokens at least this many times as likely as the likeliest only; 0 is off.
    repetition_penalty
        Make the last 128 tokens that the model said less likely; 1 is off, 1.2 is usual.
    no_repeat_ngram
        The model says no sequence of so many tokens twice within its last 128; 0 is off.
    seed
        The same seed gives the same replies to the same turns.
    allow_unknown
        Read characters that the model never saw as unknown ones, instead of refusing the line. Unknown words always
        are: people say what they like.
    json
        One JSON object a turn: turn, user, reply, tokens, logprob (nats, under the model itself); one for each command;
        error where a line was refused.
    """
    options: Drawing = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": no_repeat_ngram,
        "seed": seed,
    }
    # Before anything is said: a setting out of range would refuse every line.
    check_sampling(Sampling(temperature, top_k, top_p, min_p, repetition_penalty, no_repeat_ngram))
    stream_rng(seed)
    if tokens < 1:
        raise ConfigError(f"tokens is {tokens}; expected 1 or more")
    lm = load(model)
    options["allow_unknown"] = allow_unknown or lm.tokenizer.level == "word"
    session = _Session(Conversation(lm), tokens, options, _face(json))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not know every character
    if session.run() and not isinstance(session.face, _Terminal):
        sys.exit(1)


@dataclass(frozen=True)
class _Session:
    """Takes lines until there are no more."""

    conversation: Conversation
    tokens: int
    options: Drawing
    face: _Face

    def run(self) -> bool:
        """Whether any line was refused."""
        refused = False
        while True:
            try:
                line = self.face.read()
                if line is None or not self._take(line):
                    return refused
            except OstinatoError as error:
                self.face.refuse(" ".join(str(error).split()))
                refused = True

    def _take(self, line: str) -> bool:
        """Whether to go on after this line. What it raises has changed nothing."""
        if line.startswith("/"):
            return self._command(*line.split(maxsplit=1))
        if line.strip():
            stream = cast(Generator[str], self.conversation.stream(line, self.tokens, **self.options))
            with closing(stream):
                self.face.answer(stream, self.conversation)
        return True

    def _command(self, name: str, argument: str = "") -> bool:
        if name not in _NAMES:
            raise ConfigError(
                f"no command {name!r}; expected one of {', '.join(_NAMES)}{did_you_mean(name, _NAMES)}; "
                "a turn that begins with a slash needs a blank before it"
            )
        with_file = {"/save": self._save, "/load": self._load}
        alone = {"/undo": self._undo, "/score": self._score, "/help": self._help}
        argument = argument.strip()
        if name in with_file:
            if not argument:
                raise ConfigError(f"{name} needs a file: {name} FILE")
            with_file[name](argument)
        else:
            if argument:
                raise ConfigError(f"{name} takes nothing after it, and there is {argument!r}")
            alone.get(name, _nothing)()
        return name not in ("/quit", "/exit")

    def _save(self, name: str) -> None:
        self.conversation.save(Path(name).expanduser())
        self.face.tell("/save", f"saved to {name}", {"file": name})

    def _load(self, name: str) -> None:
        self.conversation.load(Path(name).expanduser())
        turns = len(self.conversation.turns)
        self.face.tell("/load", f"{turns} turns from {name}", {"file": name, "turns": turns})

    def _undo(self) -> None:
        said, answered = self.conversation.undo()
        self.face.tell("/undo", f"taken back: {said.text}", {"user": said.text, "reply": answered.text})

    def _score(self) -> None:
        score = self.conversation.score()
        lines = "\n".join(
            f"{speaker:5}  {scored.words:>7,} words, perplexity per word {scored.word_perplexity:.2f}, "
            f"{scored.bits_per_char:.3f} bits per character"
            for speaker, scored in score.items()
        )
        self.face.tell("/score", lines, {speaker: scored.to_json() for speaker, scored in score.items()})

    def _help(self) -> None:
        width = max(map(len, COMMANDS))
        lines = "\n".join(f"{usage:{width}}  {about}" for usage, about in COMMANDS.items())
        self.face.tell("/help", lines, {"commands": COMMANDS})


def _nothing() -> None:
    """What there is to do at the end."""


# Three ways to show it


class _Face(Protocol):
    def read(self) -> str | None:
        """The next line; None at the end. Raises TextError on one that is no text, or too long."""
        ...

    def answer(self, stream: Generator[str], conversation: Conversation) -> None:
        """Show a reply."""
        ...

    def tell(self, command: str, text: str, record: dict[str, Any]) -> None:
        """Show what a command did."""
        ...

    def refuse(self, message: str) -> None:
        """Show why a line was refused."""
        ...


def _face(json: bool) -> _Face:
    if json:
        return _Json()
    return _Terminal() if sys.stdin.isatty() and sys.stdout.isatty() else _Lines()


class _Lines:
    """For a pipe: replies on stdout, all else on stderr."""

    def __init__(self) -> None:
        self._number = 0

    def read(self) -> str | None:
        data = sys.stdin.buffer.readline(LINE + 1)
        self._number += 1
        if len(data) > LINE and not data.endswith(b"\n"):
            while data and not data.endswith(b"\n"):
                data = sys.stdin.buffer.readline(LINE)
            raise TextError(f"line {self._number} has more than {LINE:,} bytes; expected one turn a line")
        try:
            return data.decode("utf-8-sig" if self._number == 1 else "utf-8") if data else None
        except UnicodeDecodeError as error:
            raise TextError(
                f"line {self._number}, byte offset {error.start}: byte 0x{data[error.start]:02x} is not UTF-8; "
                "expected UTF-8 text"
            ) from None

    def answer(self, stream: Generator[str], conversation: Conversation) -> None:
        for _ in stream:
            pass
        print(conversation.turns[-1].text, flush=True)

    def tell(self, command: str, text: str, record: dict[str, Any]) -> None:  # noqa: ARG002 - the signature of a face
        print(text, file=sys.stderr, flush=True)

    def refuse(self, message: str) -> None:
        print(f"ostinato: {message}", file=sys.stderr, flush=True)


class _Json(_Lines):
    """Everything on stdout, an object a line."""

    def answer(self, stream: Generator[str], conversation: Conversation) -> None:
        for _ in stream:
            pass
        said, answered = conversation.turns[-2:]
        self._print(
            {
                "turn": len(conversation.turns) // 2,
                "user": said.text,
                "reply": answered.text,
                "tokens": answered.scored.tokens,
                "logprob": -answered.scored.nats,
            }
        )

    def tell(self, command: str, text: str, record: dict[str, Any]) -> None:  # noqa: ARG002 - the signature of a face
        self._print({"command": command.removeprefix("/"), **record})

    def refuse(self, message: str) -> None:
        self._print({"error": message})

    def _print(self, record: dict[str, Any]) -> None:
        print(dumps(record, ensure_ascii=False), flush=True)


class _Terminal:
    """For somebody who types: a prompt, replies as they are made."""

    def __init__(self) -> None:
        with suppress(ImportError):  # not everywhere; with it the line can be edited, and earlier ones come back
            import readline  # noqa: F401
        self._console = Console(highlight=False, soft_wrap=True)
        self._note("/help lists the commands, Ctrl-C stops a reply, Ctrl-D ends")

    def read(self) -> str | None:
        try:
            return input("> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            raise
        except UnicodeDecodeError:
            raise TextError("the line is not UTF-8; expected UTF-8 text") from None

    def answer(self, stream: Generator[str], conversation: Conversation) -> None:  # noqa: ARG002
        with suppress(KeyboardInterrupt):
            for piece in stream:
                # What a model makes up must not steer a terminal.
                print(for_terminal(piece), end="", flush=True)
        print()

    def tell(self, command: str, text: str, record: dict[str, Any]) -> None:  # noqa: ARG002 - the signature of a face
        self._note(text)

    def refuse(self, message: str) -> None:
        self._note(message)

    def _note(self, text: str) -> None:
        self._console.print(Text(for_terminal(text), style="dim"))

"""chat as a user meets it: from a pipe, as JSON, in a terminal; commands; one line for everything that is refused."""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import sys

import pytest
from runs import NAMES, command
from small_models import write_folder

import ostinato
from ostinato.cli import chat as verb
from ostinato.dialogue import Conversation

CODE = "import sys; from ostinato.cli.main import run; run(sys.argv[1:])"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for level in ("char", "byte", "word", "bpe"):
        write_folder(folder / level, level)
    write_folder(folder / "both", "char", bidirectional=True)
    return folder


@pytest.fixture
def chat(capsys, monkeypatch):
    def chat(model, text, *options):
        """Say lines from a pipe; give what was written and the exit status."""
        data = text if isinstance(text, bytes) else text.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return command(capsys, ["chat", model, *options])

    return chat


def records(outcome):
    """A JSON object a line; a reply may hold other line ends than ours, as U+0085."""
    return [json.loads(line) for line in outcome.out.split("\n") if line]


def test_a_line_in_a_reply_out(chat, talker):
    for name in NAMES:
        outcome = chat(talker, f"my name is {name}\nwhat is my name\n", "--temperature", "0")
        assert outcome.out.splitlines()[1:] == [name]
        assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_it_is_the_conversation_of_the_python_face(chat, models, level):
    conversation = Conversation(ostinato.load(models / level))
    options = {"temperature": 0.9, "top_k": 9, "repetition_penalty": 1.3, "no_repeat_ngram": 3, "seed": 4}
    replies = [conversation.reply(text, 25, **options) for text in ("to be", "or not", "that is")]
    flags = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), value)]
    outcome = chat(models / level, "to be\n\n  or  not \r\n \nthat is", "--tokens", 25, *flags)
    assert outcome.out == "".join(reply + "\n" for reply in replies)
    assert (outcome.status, outcome.err) == (0, "")  # blank lines are passed over


def test_json_is_an_object_a_turn(chat, models):
    outcome = chat(models / "char", "to  be\n/undo\nor not\n", "--json", "--seed", 1)
    first, undone, second = records(outcome)
    conversation = Conversation(ostinato.load(models / "char"))
    for record, text in ((first, "to be"), (second, "or not")):
        reply = conversation.reply(text, seed=1, temperature=0.7)
        scored = conversation.turns[-1].scored
        expected = {"turn": 1, "user": text, "reply": reply, "tokens": scored.tokens}
        assert record == {**expected, "logprob": pytest.approx(-scored.nats)}
        conversation.undo()
    assert undone == {"command": "undo", "user": "to be", "reply": first["reply"]}
    assert outcome.err == ""


def test_commands_leave_stdout_to_the_replies(chat, talker, tmp_path):
    file = tmp_path / "a talk"
    lines = ["my name is bert", f"/save {file}", "my name is anna", "/undo", "/score", "/help", f"/load  {file} "]
    outcome = chat(talker, "\n".join([*lines, "what is my name", "/quit", "hello"]), "--temperature", "0")
    assert outcome.out.splitlines()[-1] == "bert"
    assert len(outcome.out.splitlines()) == 3
    assert f"saved to {file}\ntaken back: my name is anna\n" in outcome.err
    assert re.search(
        r"^user  +5 words, perplexity per word \d+\.\d\d, \d\.\d{3} bits per character$", outcome.err, re.M
    )
    for usage in verb.COMMANDS:
        assert usage in outcome.err
    assert f"2 turns from {file}" in outcome.err
    assert outcome.status == 0


def test_a_saved_conversation_goes_on_another_day(chat, talker, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in NAMES:
        chat(talker, f"my name is {name}\n/save {tmp_path / name}\n/exit\n", "--temperature", "0")
    for name in NAMES:
        outcome = chat(talker, f"/load ~/{name}\nwhat is my name\n", "--temperature", "0", "--json")
        assert [record.get("reply") for record in records(outcome)] == [None, name]


def test_the_score_is_that_of_the_conversation(chat, models):
    *_, record = records(chat(models / "word", "to be\nor not\n/score\n", "--json", "--seed", 1))
    conversation = Conversation(ostinato.load(models / "word"))
    for text in ("to be", "or not"):
        conversation.reply(text, seed=1, temperature=0.7)
    expected = {speaker: scored.to_json() for speaker, scored in conversation.score().items()}
    assert record == {"command": "score", **expected}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("Zorn 中Z", "2 characters that the model never saw: 'Z', '中'; "),
        ("/undoo", "no command '/undoo'; expected one of /save, /load, .*; did you mean '/undo'?"),
        ("/", "no command '/'"),
        ("/save", "/save needs a file: /save FILE"),
        ("/undo 3", "/undo takes nothing after it, and there is '3'"),
        ("/load nowhere", "nowhere does not exist"),
        ("/load .", ". is not a saved state"),
        ("/save /nowhere/talk", "cannot be written to /nowhere/talk"),
        (b"a\xffb", "line 2, byte offset 1: byte 0xff is not UTF-8"),
        ("x" * (verb.LINE + 1), "line 2 has more than 65,536 bytes"),
        ("x" * (5 * verb.LINE), "line 2 has more than 65,536 bytes"),
    ],
)
def test_a_line_that_is_refused_changes_nothing(chat, models, line, complaint):
    line = line if isinstance(line, bytes) else line.encode()
    text = b"to be\n" + line + b"\nor not\n"
    outcome = chat(models / "char", text, "--seed", 1)
    assert outcome.out == chat(models / "char", "to be\nor not\n", "--seed", 1).out
    assert re.search(complaint, outcome.message)
    assert outcome.status == 1
    found = records(chat(models / "char", text, "--seed", 1, "--json"))
    assert [record.get("reply") for record in found][::2] == outcome.out.splitlines()
    assert re.search(complaint, found[1]["error"])


def test_a_line_of_the_greatest_length_is_a_turn(chat, models):
    text = "to be or " * (verb.LINE // 9) + "to be"
    (record,) = records(chat(models / "char", text[: verb.LINE] + "\n", "--tokens", 2, "--json"))
    assert record["user"] == text[: verb.LINE].strip()


def test_a_slash_after_a_blank_and_a_mark_at_the_beginning_are_no_commands(chat, models):
    found = records(chat(models / "byte", b"\xef\xbb\xbf /undo\n", "--json", "--seed", 1))
    assert [record["user"] for record in found] == ["/undo"]


def test_a_damaged_conversation_is_refused(chat, models, tmp_path):
    file = tmp_path / "talk"
    chat(models / "char", f"to be\n/save {file}\n", "--seed", 1)
    file.write_bytes(file.read_bytes()[:-3])
    outcome = chat(models / "char", f"to be\n/load {file}\nor not\n", "--seed", 1)
    assert f"{file} is not a saved state or is damaged" in outcome.message
    assert len(outcome.out.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint", "status"),
    [
        (["both"], "reads in both directions", 1),
        (["nothing"], "does not exist", 1),
        (["char", "--tokens", "0"], "tokens is 0; expected 1 or more", 1),
        (["char", "--temperature", "-1"], "temperature is -1.0", 1),
        (["char", "--repetition-penalty", "0.5"], "repetition_penalty is 0.5", 1),
        (["char", "--seed", "-1"], "seed is -1", 1),
    ],
)
def test_what_cannot_begin(chat, models, arguments, complaint, status):
    outcome = chat(models / arguments[0], "", *arguments[1:])
    assert complaint in outcome.message
    assert (outcome.status, outcome.out) == (status, "")


def test_nothing_said(chat, models):
    assert chat(models / "char", "").status == 0


def test_unknown_may_be_allowed(chat, models):
    assert chat(models / "char", "Zorn\n", "--allow-unknown").out.strip()


class Terminal:
    """A chat on a pseudo-terminal."""

    def __init__(self, *arguments):
        pty = pytest.importorskip("pty")
        self._ours, theirs = pty.openpty()
        words = [sys.executable, "-c", CODE, "chat", *map(str, arguments)]
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
        # What a shell starts in the background ignores Ctrl-C, and hands that on: here it has to be heard.
        self.process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        os.close(theirs)

    def until(self, pattern):
        """What is shown up to the first match."""
        shown = ""
        while not re.search(pattern, shown):
            ready, _, _ = select.select([self._ours], [], [], 30)
            assert ready, shown
            try:
                part = os.read(self._ours, 1 << 16)
            except OSError:
                part = b""
            assert part, shown
            shown += part.decode()
        return shown

    def say(self, text):
        os.write(self._ours, text.encode())

    def interrupt(self):
        """Ctrl-C, until something comes of it: Python's readline can miss one between the prompt and its waiting."""
        ready = []
        while not ready:
            os.killpg(self.process.pid, signal.SIGINT)
            ready, _, _ = select.select([self._ours], [], [], 2)

    def end(self):
        status = self.process.wait(timeout=30)
        os.close(self._ours)
        return status


def test_in_a_terminal(talker):
    terminal = Terminal(talker, "--temperature", "0")
    assert "/help lists the commands" in terminal.until("> ")
    terminal.say("my name is dora\n")
    terminal.until("(hello|nice to meet you)\r\n.*> ")
    terminal.say("/sore\n")
    assert "did you mean '/score'?" in terminal.until("\r\n.*\r\n.*> ")
    terminal.say("what is my name\n")
    terminal.until("\ndora\r\n.*> ")
    terminal.say("\x04")  # Ctrl-D
    assert terminal.end() == 0


def test_ctrl_c_stops_a_reply_and_then_ends(models):
    """The byte model shows control characters as U+FFFD, and never ends a line within so many tokens."""
    terminal = Terminal(models / "byte", "--tokens", "100000000", "--temperature", "0")
    terminal.until("> ")
    terminal.say("to be\n")
    terminal.until("to be\r\n(.|\n){2000}")
    terminal.interrupt()
    shown = terminal.until("> $")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f]", shown)
    terminal.say("/undo\n")
    terminal.until("taken back: to be(.|\n)*> ")
    terminal.interrupt()
    terminal.until("\r\n")  # whatever asks for the next command begins on a line of its own
    assert terminal.end() == 130

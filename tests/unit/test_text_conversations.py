"""Conversations: the text they become, which of them are held out, and one line for every file that holds none."""

from __future__ import annotations

import gzip
import io
import sys
from types import SimpleNamespace

import pytest

from ostinato.errors import ConfigError, TextError
from ostinato.text.conversations import Conversations, Transcript, normalise
from ostinato.text.corpus import Corpus

FILE = """# films
Did you see \t it?
  I did.\r
Oh.

# # music
a
b


c
d
"""
TEXT = "Did you see it?\nI did.\nOh.\n\na\nb\n\nc\nd\n\n"


@pytest.fixture
def file(tmp_path):
    def write(content, name="talk.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def many(sizes):
    """As many conversations of each topic as ``sizes`` says, no two alike."""
    return "\n".join(f"# {topic}\nask {topic} {i}\nsay {i}\n" for topic, size in sizes.items() for i in range(size))


def test_turns_topics_and_text(file):
    found = Conversations([file(FILE)])
    assert list(found) == [
        Transcript(("Did you see it?", "I did.", "Oh."), "films"),
        Transcript(("a", "b"), "# music"),
        Transcript(("c", "d"), "# music"),
    ]
    assert "".join(found.chunks()) == TEXT
    assert found.chars == len(TEXT)


def test_the_text_gives_itself_again(file):
    once = Conversations([file(FILE + "\n #  indented \n #hash\ne\n")])
    again = Conversations([file("".join(once.chunks()), "again")])
    assert "".join(again.chunks()) == TEXT + "#hash\ne\n\n"
    assert again.fingerprint() == once.fingerprint()


@pytest.mark.parametrize(
    ("line", "turn"), [(" a  b ", "a b"), ("a\u00a0\u2028b\r", "a b"), ("\t \x1f", ""), ("it's  #1", "it's #1")]
)
def test_blanks_are_normalised(line, turn):
    assert normalise(line) == turn


def test_packed_files_and_several_and_a_file_ends_a_conversation(file):
    first, second = file("a\nb", "1"), file(gzip.compress(b"c\nd\n"), "2")
    assert "".join(Conversations([first, second]).chunks()) == "a\nb\n\nc\nd\n\n"
    # as one corpus the second would go on with the first conversation
    assert "".join(Corpus([first, second]).chunks()) == "a\nb\nc\nd\n"


def test_a_line_across_the_border_of_two_blocks_is_one_turn(file):
    long = "x" * ((1 << 20) - 3) + " yes"
    assert [t.turns for t in Conversations([file(f"{long}\nb\n")])] == [(long, "b")]


def test_standard_input_can_be_read_more_than_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(FILE.encode())))
    train, valid = Conversations(["-"]).split(0.4)
    assert "".join(train.chunks()) + "".join(valid.chunks()) == TEXT


class TestSplit:
    @pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.9, 0.999])
    def test_each_is_whole_and_in_one_part(self, file, share):
        whole = Conversations([file(many({"a": 7, "b": 1, "c": 12}))])
        train, valid = whole.split(share)
        assert len(list(valid)) == min(max(round(20 * share), 1), 19)
        assert sorted([*train.chunks(), *valid.chunks()]) == sorted(whole.chunks())
        assert train.chars + valid.chars == whole.chars

    def test_without_headings_it_is_the_end(self, file):
        whole = Conversations([file("\n\n".join(f"ask {i}\nsay {i}" for i in range(10)))])
        train, valid = whole.split(0.3)
        assert "".join(train.chunks()) + "".join(valid.chunks()) == "".join(whole.chunks())
        assert [t.turns[0] for t in valid] == ["ask 7", "ask 8", "ask 9"]

    def test_every_topic_gives_its_part_from_its_end(self, file):
        train, valid = Conversations([file(many({"a": 40, "b": 10, "c": 50}))]).split(0.1)
        assert [t.turns[0] for t in valid] == [
            *(f"ask a {i}" for i in range(36, 40)),
            "ask b 9",
            *(f"ask c {i}" for i in range(45, 50)),
        ]
        assert {t.topic for t in train} == {"a", "b", "c"}

    def test_topics_of_one_conversation_are_no_topics(self, file):
        _, valid = Conversations([file(many(dict.fromkeys("abcdefghij", 1)))]).split(0.2)
        assert len(list(valid)) == 2

    def test_a_part_is_split_again(self, file):
        whole = Conversations([file(many({"a": 10, "b": 10}))])
        rest, test = whole.split(0.2)
        assert whole.chars == rest.chars + test.chars  # known before the second split
        train, valid = rest.split(0.25)
        assert [t.turns[0] for t in test] == ["ask a 8", "ask a 9", "ask b 8", "ask b 9"]
        assert [t.turns[0] for t in valid] == ["ask a 6", "ask a 7", "ask b 6", "ask b 7"]
        assert [t.turns[0] for t in train] == [f"ask {topic} {i}" for topic in "ab" for i in range(6)]
        assert len({part.fingerprint() for part in (whole, rest, test, train, valid)}) == 5

    @pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
    def test_a_share_out_of_range_is_refused(self, file, share):
        with pytest.raises(ConfigError, match=r"share is .*; expected more than 0 and less than 1"):
            Conversations([file(FILE)]).split(share)

    def test_one_conversation_cannot_be_split(self, file):
        with pytest.raises(TextError, match="one conversation, so none can be held out"):
            Conversations([file("a\nb\nc\nd\n")]).split(0.5)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a\n\nb\n\n# c\nd\n", r"talk.txt: no conversation has two turns"),
        ("\n \n\t\n", "no conversation has two turns"),
        ("# films\n", "talk.txt, line 1: a heading with nothing under it"),
        ("# films\n\n\n", "line 1: a heading with nothing under it"),
        ("# films\na\nb\n\n# music\n# pop\nc\nd\n", "line 5: a heading with nothing under it"),
        ("# films\na\n# music\nb\n", "line 3: a heading among turns; put an empty line before it"),
        (b"a\nb\xff\n", "line 2.*is not UTF-8"),
        ("", "is empty"),
    ],
)
def test_what_holds_no_conversations_is_refused(file, content, complaint):
    with pytest.raises(TextError, match=complaint) as caught:
        list(Conversations([file(content)]))
    assert "\n" not in str(caught.value)


def test_nothing_named_and_nothing_there(tmp_path):
    with pytest.raises(TextError, match="no text was named"):
        Conversations([])
    with pytest.raises(TextError, match="no such file"):
        Conversations([tmp_path / "missing"])

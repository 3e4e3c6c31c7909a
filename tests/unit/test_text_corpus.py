"""Reading: what comes out is what is in the files, and every unreadable file gets one line that says why."""

from __future__ import annotations

import gzip
import io
import os
import sys
import tracemalloc
from types import SimpleNamespace

import pytest

from ostinato.errors import TextError
from ostinato.text.corpus import Corpus, read_chunks
from ostinato.text.statistics import measure

TEXT = "Où est-ce?\r\nHere — 漢字 😀.\n\tlast line without an end"


@pytest.fixture
def file(tmp_path):
    def write(content, name="a.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def text_of(*paths):
    return "".join(read_chunks(paths))


def refusal(*paths):
    with pytest.raises(TextError) as caught:
        text_of(*paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_comes_as_it_is(file):
    assert text_of(file(TEXT)) == TEXT


def test_a_packed_file_is_known_by_its_content_not_its_name(file):
    assert text_of(file(gzip.compress(TEXT.encode()), "a.txt")) == TEXT
    assert text_of(file(TEXT, "b.gz")) == TEXT


def test_files_keep_their_order_and_a_line_ends_between_them(file):
    first, second, third = file("one", "1"), file("two\n", "2"), file("three", "3")
    assert text_of(third, first, second, first) == "three\none\ntwo\none"


def test_a_byte_order_mark_is_dropped_at_the_beginning_of_each_file_only(file):
    marked = file(b"\xef\xbb\xbfa\xef\xbb\xbfb", "1")
    assert text_of(marked, marked) == "a\ufeffb\na\ufeffb"


@pytest.mark.parametrize("offset", range(5))
def test_characters_across_the_border_of_two_blocks_stay_whole(file, offset):
    text = "x" * ((1 << 20) - offset) + "😀é漢" * 3
    assert text_of(file(text)) == text


def test_standard_input_can_be_read_more_than_once(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    corpus = Corpus(["-"])
    first, second = corpus.chunks(), corpus.chunks()
    assert next(first) == next(second) == TEXT
    assert corpus.chars == len(TEXT)


def test_a_pipe_can_be_read_more_than_once(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"from a pipe")
    os.close(writing)
    corpus = Corpus([f"/dev/fd/{reading}"])
    os.close(reading)
    assert ["".join(corpus.chunks()) for _ in range(2)] == ["from a pipe"] * 2


def test_totals_and_fingerprint_are_of_the_text_not_of_its_packing(file):
    plain, packed = Corpus([file(TEXT, "1")]), Corpus([file(gzip.compress(TEXT.encode()), "2")])
    assert plain.chars == len(TEXT)
    assert plain.fingerprint() == packed.fingerprint()
    assert plain.fingerprint() != Corpus([file(TEXT + " ", "3")]).fingerprint()


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (5, 10), (9, 999), (0, 0), (20, 30), (10**7, 10**8)])
def test_a_slice_is_cut_at_exact_characters_of_all_files_together(file, start, stop):
    corpus = Corpus([file(TEXT, "1"), file("é" * 3_000_000, "2")])
    whole = TEXT + "\n" + "é" * 3_000_000
    assert "".join(corpus.slice_chars(start, stop)) == whole[start:stop]


def test_reading_takes_the_memory_of_a_few_blocks(tmp_path):
    path = tmp_path / "long.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        for _ in range(60):
            out.write(b"a line of some length, again and again\n" * 25_000)
    tracemalloc.start()
    total = sum(map(len, read_chunks([path])))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 50 << 20
    assert peak < 12 << 20


class TestRefused:
    def test_no_such_file_names_one_like_it(self, file, tmp_path):
        file("x", "shakespeare.txt")
        message = refusal(tmp_path / "shakespear.txt")
        assert "no such file" in message
        assert "did you mean 'shakespeare.txt'" in message

    def test_no_such_folder(self, tmp_path):
        assert f"no folder {tmp_path / 'nowhere'}" in refusal(tmp_path / "nowhere" / "a.txt")

    def test_a_folder(self, tmp_path):
        assert f"{tmp_path} is a folder" in refusal(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
    def test_an_empty_file_even_among_others(self, file, content):
        assert "is empty" in refusal(file("x", "full"), file(content, "empty"))

    def test_nothing_named(self):
        assert "no text was named" in refusal()

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, file):
        path = file("x")
        path.chmod(0)
        assert "Permission denied" in refusal(path)

    @pytest.mark.parametrize("content", [b"\x7fELF\x02\x00\x01", bytes(range(1, 32)) * 9, "hi".encode("utf-16")])
    def test_what_is_not_text(self, file, content):
        message = refusal(file(content))
        assert "looks binary" in message or "is UTF-16" in message

    @pytest.mark.parametrize("place", [0, 7, (1 << 20) - 1, (1 << 20), (1 << 20) + 5])
    @pytest.mark.parametrize("bad", [b"\xff", b"\xe9t\xe9", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf0\x9f\x98 "])
    def test_a_bad_byte_is_found_by_file_line_and_offset(self, file, place, bad):
        content = (b"line\n" * (place // 5 + 1))[:place] + bad + b"\nrest\n"
        path = file(content)
        message = refusal(path)
        assert f"{path}, line {content[:place].count(10) + 1}, byte offset {place}: byte 0x{bad[0]:02x}" in message

    def test_the_offset_counts_the_byte_order_mark(self, file):
        assert "line 2, byte offset 5: byte 0xff" in refusal(file(b"\xef\xbb\xbfa\n\xff"))

    def test_a_character_cut_off_by_the_end(self, file):
        assert "byte offset 2: byte 0xe2" in refusal(file(b"ab\xe2\x82"))

    @pytest.mark.parametrize("keep", [12, -9, -1])
    def test_a_packed_file_that_is_cut(self, file, keep):
        assert "damaged .gz" in refusal(file(gzip.compress(os.urandom(3000).hex().encode())[:keep]))

    def test_a_packed_file_with_a_flipped_byte(self, file):
        packed = bytearray(gzip.compress(TEXT.encode() * 50))
        packed[len(packed) // 2] ^= 0xFF
        assert "damaged .gz" in refusal(file(bytes(packed))) or "not UTF-8" in refusal(file(bytes(packed)))


class TestStatistics:
    @pytest.fixture(autouse=True)
    def _files(self, file):
        self.of = lambda text, **options: measure(Corpus([file(text)]), **options)

    def test_the_length_is_of_the_whole_and_details_of_the_sample(self):
        found = self.of("aé b\n" * 10, sample=5)
        assert (found.chars, found.distinct_words, found.distinct_chars) == (50, 2, 5)

    def test_words_seen_once(self):
        found = self.of("one two two three three three.\n")
        assert found.distinct_words == 4
        assert found.seen_once == 0.5

    @pytest.mark.parametrize(
        ("text", "tokenized"),
        [
            ("the <unk> sat .\n", True),
            ("he said , yes .\n" * 30, True),
            ("he said, yes.\n" * 30, False),
            ("he said , yes.\n" * 30, False),
            ("x = f ( a , b ) ;\n" * 2, False),
        ],
    )
    def test_text_that_is_already_tokenized(self, text, tokenized):
        assert self.of(text).tokenized is tokenized

    def test_share_of_chinese(self):
        assert self.of("漢字ab").cjk == 0.5
        assert self.of("абвг").cjk == 0

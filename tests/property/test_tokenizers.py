"""Every level against the ``tokenizers`` library, and against itself, on texts that no one writes."""

from __future__ import annotations

import builtins
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.text.tokenizer import TokenizerOptions, build, encode_chunks, load, to_json

ENGLISH = "\n".join(str(getattr(builtins, name).__doc__) for name in sorted(dir(builtins)))
TRAINED_ON = ENGLISH + "漢字かな ÉTÉ été don't 3.14 👩\u200d👧 e\u0301 \u0130I\u0131 \r\n" * 3
OPTIONS = {
    "char": TokenizerOptions("char"),
    "char of few": TokenizerOptions("char", vocab=30),
    "byte": TokenizerOptions("byte"),
    "word": TokenizerOptions("word"),
    "word of few": TokenizerOptions("word", vocab=60),
    "word lower": TokenizerOptions("word", lower=True),
    "pretokenized": TokenizerOptions("word", pretokenized=True),
    "pretokenized lower": TokenizerOptions("word", pretokenized=True, lower=True),
    "bpe": TokenizerOptions("bpe", vocab=500),
    "unigram": TokenizerOptions("unigram", vocab=400),
}
LOSSLESS = ["char all", "byte", "bpe", "unigram"]

AWKWARD = [
    *"abcZ 019.,'-\"()[]_<>$",
    *("\n", "\r", "\r\n", "\t", "\0", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000", "  ", "\ufeff"),
    *("\u0301", "\u0e34", "\u093f", "\ufe0f", "\u3099", "\U000e0100", "\u200c", "\u200d"),
    *("漢", "か", "カ", "\uff76", "ー", "한", "ไ", "न", "ß", "\u0130", "Σ", "ς", "ª", "Ⅷ", "²", "٣", "\u2019"),
    *("👩\u200d👧\u200d👦", "🇫🇷", "❤\ufe0f", "👍🏽", "😀", "\U0001d54f", "\U00020000", "\U0010ffff", "\ufffd"),
    *("<eos>", "<unk>", "don't", "it\u2019s", "3.14", "1,000", "a''b", "'tis", " the", "ing "),
]
TEXTS = st.lists(
    st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=["Cs"]), st.integers(1, 80).map("x".__mul__)),
    max_size=60,
).map("".join)


@cache
def made(name):
    if name == "char all":  # as if every character had been seen
        return build(OPTIONS["char"], lambda: iter([TRAINED_ON, *map(chr, range(0xD800)), *EVERY_PLANE]))
    return build(OPTIONS[name], lambda: iter([TRAINED_ON[:1000], TRAINED_ON[1000:]]))


EVERY_PLANE = [chr(code) for code in range(0xE000, 0x110000)]


@cache
def library(name):
    return tokenizers.Tokenizer.from_str(to_json(made(name)))


@pytest.mark.parametrize("name", OPTIONS)
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_ids_equal_those_of_the_library(name, text):
    assert made(name).encode(text).tolist() == library(name).encode(text).ids


@pytest.mark.parametrize("name", ["word", "word lower", "pretokenized", "bpe"])
def test_every_code_point_splits_as_in_the_library(name):
    """Between letters, between digits, after a blank and at the end: all that a class of characters decides."""
    codes = [*range(0x3100), *range(0x3100, 0xD800, 11), *range(0xE000, 0x110000, 31), *range(0xE0100, 0xE01F0)]
    for begin in range(0, len(codes), 1 << 14):
        characters = map(chr, codes[begin : begin + (1 << 14)])
        text = "".join(f"a{character}a1{character}1 {character}" for character in characters)
        ids, spans = made(name).encode_with_spans(text)
        encoding = library(name).encode(text)
        assert ids.tolist() == encoding.ids
        if name.startswith(("word", "pre")):
            assert spans.tolist() == [list(span) for span in encoding.offsets]


@pytest.mark.parametrize("name", LOSSLESS)
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_decoding_gives_back_the_text(name, text):
    tokenizer = made(name)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", OPTIONS)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 400), max_size=8))
@settings(max_examples=60, deadline=None)
def test_pieces_of_a_text_give_the_ids_of_the_whole(name, text, cuts):
    tokenizer = made(name)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in pairwise(places)]
    ids = [token for part in encode_chunks(tokenizer, iter(pieces)) for token in part.tolist()]
    assert ids == tokenizer.encode(text).tolist()


@pytest.mark.parametrize("name", OPTIONS)
@given(text=TEXTS)
@settings(max_examples=40, deadline=None)
def test_spans_are_in_order_and_hold_what_the_ids_say(name, text):
    tokenizer = made(name)
    ids, spans = tokenizer.encode_with_spans(text)
    assert ids.tolist() == tokenizer.encode(text).tolist()
    assert spans.shape == (len(ids), 2)
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (np.diff(spans[:, 0]) >= 0).all()
    for token, (begin, end) in zip(ids.tolist(), spans.tolist(), strict=True):
        touched, piece = text[begin:end], tokenizer.piece(token)
        if token == tokenizer.unk_id:
            continue
        if tokenizer.level in ("char", "word"):
            assert touched.lower().casefold() == piece.decode().lower().casefold() or "\u0130" in touched
        else:
            assert piece in touched.encode()


@pytest.mark.parametrize("name", OPTIONS)
@given(ids=st.lists(st.integers(0, 10**6), max_size=40))
@settings(max_examples=40, deadline=None)
def test_decoding_token_by_token_gives_the_text_of_all(name, ids):
    """Also of ids that no text has: half characters, a clitic after a bracket."""
    tokenizer = made(name)
    ids = [token % tokenizer.vocab_size for token in ids]
    decoder = tokenizer.decoder()
    shown = [decoder.push(token) for token in ids] + [decoder.finish()]
    assert "".join(shown) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_saved_tokenizer_is_the_same_tokenizer(name, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(to_json(made(name)), encoding="utf-8")
    loaded = load(path)
    assert to_json(loaded) == path.read_text(encoding="utf-8")
    assert (loaded.level, loaded.vocab_size, loaded.unk_id, loaded.boundary_id) == (
        made(name).level,
        made(name).vocab_size,
        made(name).unk_id,
        made(name).boundary_id,
    )
    assert loaded.encode(TRAINED_ON).tolist() == made(name).encode(TRAINED_ON).tolist()
    from_file = tokenizers.Tokenizer.from_file(str(path))
    assert from_file.encode(TRAINED_ON[-5_000:]).ids == loaded.encode(TRAINED_ON[-5_000:]).tolist()

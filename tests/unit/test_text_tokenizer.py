"""What each level does with a text: vocabulary, special entries, decoding, and what is refused."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from ostinato.errors import BundleError, ConfigError, TextError
from ostinato.text.tokenizer import TokenizerOptions, build, encode_chunks, load, to_json
from ostinato.text.words import MAX_WORD, WordIndex

STORY = "The cat sat.\nThe dog, too, sat!\n" * 4


def made(text=STORY, **options):
    return build(TokenizerOptions(**options), lambda: iter([text]))


def words(tokenizer, text):
    return [tokenizer.label(token) for token in tokenizer.encode(text).tolist()]


def test_char_ids_follow_the_order_of_code_points_after_the_special_ones():
    tokenizer = made("cab")
    assert [tokenizer.label(token) for token in range(tokenizer.vocab_size)] == ["\\n", "<unk>", "a", "b", "c"]
    assert tokenizer.encode("abc\n").tolist() == [2, 3, 4, 0]


def test_a_character_not_seen_is_unknown_and_decodes_to_a_replacement():
    tokenizer = made("cab")
    assert tokenizer.encode("aé\U0010ffff").tolist() == [2, tokenizer.unk_id, tokenizer.unk_id]
    assert tokenizer.decode([2, tokenizer.unk_id]) == "a\ufffd"


@pytest.mark.parametrize("level", ["char", "byte", "bpe", "unigram"])
def test_every_level_has_the_line_end_though_the_text_has_none(level):
    tokenizer = build(TokenizerOptions(level), lambda: iter(["no line ends here, none at all, here and here"]))
    assert tokenizer.encode("\n").tolist() == [tokenizer.boundary_id]
    assert tokenizer.encode("a\n\n\nb").tolist().count(tokenizer.boundary_id) == 3


def test_word_level_follows_the_penn_treebank_convention():
    tokenizer = made(" the <unk> sat \n a N 's \n", level="word", pretokenized=True)
    assert words(tokenizer, " the <unk> sat \n the dog \n") == ["the", "<unk>", "sat", "<eos>", "the", "<unk>", "<eos>"]
    assert tokenizer.encode("<unk>").tolist() == tokenizer.encode("unseen").tolist() == [tokenizer.unk_id]
    assert tokenizer.encode("\n").tolist() == [tokenizer.boundary_id]


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe", "unigram"])
def test_the_name_of_a_special_token_in_a_text_is_only_text(level):
    tokenizer = build(TokenizerOptions(level), lambda: iter([STORY + "<eos> <unk>" * 20]))
    assert tokenizer.boundary_id not in tokenizer.encode("<eos>").tolist()
    assert tokenizer.unk_id is None or tokenizer.unk_id not in tokenizer.encode("<unk>").tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't say 3.14, it\u2019s 1,000!", ["Don't", "say", "3.14", ",", "it\u2019s", "1,000", "!"]),
        ("well-known (x2)", ["well", "-", "known", "(", "x2", ")"]),
        ("'tis dogs' 5. .5 a''b", ["'", "tis", "dogs", "'", "5", ".", ".", "5", "a", "'", "'", "b"]),
        ("漢字とカナ。", ["漢", "字", "と", "カ", "ナ", "。"]),
        ("e\u0301te\u0301 ❤\ufe0f!", ["e\u0301te\u0301", "❤\ufe0f", "!"]),
        ("हिन्दी ไทย", ["हिन्दी", "ไทย"]),
        ("a\r\n\tb\u00a0c", ["a", "\n", "b", "c"]),
    ],
)
def test_words(text, expected):
    tokenizer = made(text, level="word")
    ids, spans = tokenizer.encode_with_spans(text)
    assert [text[begin:end] for begin, end in spans.tolist()] == expected
    assert [tokenizer.piece(token).decode() for token in ids.tolist()] == expected


def test_lower_case_is_that_of_each_letter_and_spans_are_those_of_the_original():
    text = "ODOS \u0130X \u039f\u0394\u039f\u03a3 x"
    tokenizer = made(text, level="word", lower=True)
    ids, spans = tokenizer.encode_with_spans(text)
    assert [tokenizer.piece(token).decode() for token in ids.tolist()] == ["odos", "i\u0307x", "οδοσ", "x"]
    assert [text[begin:end] for begin, end in spans.tolist()] == text.split()


def test_spans_of_bytes_cover_the_character_they_are_part_of():
    _, spans = made(level="byte").encode_with_spans("a€b")
    assert spans.tolist() == [[0, 1], [1, 2], [1, 2], [1, 2], [2, 3]]


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_an_empty_text_has_no_ids(level):
    tokenizer = made(STORY * 5, level=level)
    ids, spans = tokenizer.encode_with_spans("")
    assert ids.shape == (0,)
    assert spans.shape == (0, 2)
    assert tokenizer.encode("").dtype == np.int64


@pytest.mark.parametrize(
    "sentence",
    [
        'He said, "Don\'t go (yet)!" and left; it\u2019s 5:30.',
        "A well-known author/editor paid $3.14 for 10% of it: why?",
        'First "one" and then "two".',
        "The dogs' bowls, the cat's [old] bed... and 'this' too.",
        "\u201cCurly,\u201d she said, \u2018quotes\u2019 here.",
        "First line,\nsecond line.\n\nAfter a gap",
        "漢字とカナ、かな。",
    ],
)
def test_the_detokenizer_restores_ordinary_spacing(sentence):
    tokenizer = made(sentence, level="word")
    assert tokenizer.decode(tokenizer.encode(sentence)) == sentence


def test_the_detokenizer_joins_split_clitics():
    tokenizer = made("do n't it 's we 'll ca n't \u2019re", level="word", pretokenized=True)
    plain = made("x", level="word")
    plain.words = tokenizer.words
    assert plain.decode(tokenizer.encode("do n't it 's we 'll")) == "don't it's we'll"
    assert tokenizer.decode(tokenizer.encode("do n't\nit 's\n")) == "do n't\nit 's\n"


def test_a_decoder_shows_whole_characters_only():
    decoder = made(level="byte").decoder()
    assert [decoder.push(byte) for byte in "é€".encode()] == ["", "é", "", "", "€"]
    assert decoder.push(0xE2) == ""
    assert decoder.finish() == "\ufffd"
    assert made(level="byte").decode([0xE2, 0x41]) == "\ufffdA"


def test_the_most_frequent_words_are_kept_and_rare_ones_unknown():
    tokenizer = made("c c c b b a", level="word", vocab=4)
    assert words(tokenizer, "c b a") == ["c", "b", "<unk>"]
    assert words(made("a a a b b c", level="word", min_count=3), "a b") == ["a", "<unk>"]
    assert made("aaabbc", vocab=4).encode("abc").tolist() == [2, 3, 1]


@pytest.mark.parametrize("level", ["char", "word", "bpe", "unigram"])
def test_a_vocabulary_larger_than_the_text_gives_is_refused_with_the_number_it_gives(level):
    with pytest.raises(TextError, match=r"vocab is 5000, but the text gives \d+") as caught:
        made(STORY * 3, level=level, vocab=5000)
    given = int(str(caught.value).split("--vocab ")[1].split()[0])
    if level != "unigram":  # which prunes in steps, so that asking for less gives less
        assert made(STORY * 3, level=level, vocab=given).vocab_size == given


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "chars"}, "did you mean 'char'"),
        ({"level": "byte", "vocab": 300}, "256"),
        ({"level": "bpe", "vocab": 100}, "256"),
        ({"level": "char", "lower": True}, "lower"),
        ({"level": "bpe", "pretokenized": True}, "pretokenized"),
        ({"level": "bpe", "min_count": 2}, "min_count"),
        ({"level": "word", "min_count": 0}, "min_count"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TokenizerOptions(**options)


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe", "unigram"])
def test_a_lone_surrogate_is_refused(level):
    with pytest.raises(TextError, match=r"U\+D83D at character 1"):
        made(STORY * 5, level=level).encode("a\ud83d!")


def test_words_of_equal_hash_are_told_apart():
    index = WordIndex(["ab", "abc", "é"], multiplier=1)  # with it a word hashes as any other order of its letters
    codes = np.frombuffer("ab ba cab abc é cd".encode("utf-32-le"), dtype="<u4")
    starts, ends = np.array([0, 3, 6, 10, 14, 16]), np.array([2, 5, 9, 13, 15, 18])
    assert index.find(codes, starts, ends).tolist() == [0, -1, -1, 1, 2, -1]


def test_words_that_differ_only_in_the_number_of_nul_characters():
    tokenizer = made("\0 \0\0 \0\0\0", level="word", pretokenized=True)
    assert tokenizer.encode("\0\0 \0 \0\0\0\0").tolist() == [3, 2, tokenizer.unk_id]


def test_words_of_every_width_of_characters_are_found_in_one_text():
    known = [
        "abc",
        "abcdefghi",
        "\u00e9t\u00e9",
        "\uff76\uff76\uff76\uff76\uff76",
        "\U0001d54f\U0001d550",
        "\U0001d54fabcdefgh",
    ]
    tokenizer = made(" ".join(known), level="word", pretokenized=True)
    for text in (" ".join(known), *known, known[2] + " " + known[0]):
        assert words(tokenizer, text) == text.split()
        assert set(words(tokenizer, text.replace(" ", "x ") + "x")) == {"<unk>"}


def test_a_word_longer_than_any_vocabulary_holds():
    endless = "a" * 300_000
    tokenizer = made(f"a b {endless}", level="word")
    assert max(map(len, tokenizer.words)) <= MAX_WORD
    assert words(tokenizer, f"a {endless} b") == ["a", "<unk>", "b"]


@pytest.mark.parametrize(
    "line",
    ["a", "'", "3.", "\u0301", "漢", "!\u0301", "a\t", "\t", "a'", "\x1c", "x1,"],
    ids=repr,
)
@pytest.mark.parametrize("options", [{"level": "word"}, {"level": "word", "pretokenized": True}, {"level": "bpe"}])
def test_one_endless_line_is_encoded_in_bounded_memory(options, line):
    tokenizer = made(STORY * 9, **options)
    pieces = ["b " + line * 3000, *[line * 700] * 12]
    whole = tokenizer.encode("".join(pieces)).tolist()
    assert [token for part in encode_chunks(tokenizer, iter(pieces)) for token in part.tolist()] == whole
    rest, longest = "", 0
    for piece in pieces:
        _, rest = tokenizer.settle(rest + piece)
        longest = max(longest, len(rest))
    assert longest < 3100 * len(line)  # of eleven thousand
    assert len(rest) < 1000


def test_building_from_a_long_text_takes_no_more_memory_than_from_a_short_one():
    def peak(times):
        tracemalloc.start()
        build(TokenizerOptions("word"), lambda: (f"some words {number % 100}\n" * 200 for number in range(times)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(600) < 2 * peak(60)


def test_learning_pieces_twice_gives_the_same():
    assert to_json(made(STORY * 30, level="bpe")) == to_json(made(STORY * 30, level="bpe"))


def equal_hashes():
    """Two words whose hashes are equal under every odd multiplier: the sequence of Thue and Morse, and its opposite."""
    parities = [number.bit_count() % 2 for number in range(1024)]
    return "".join("ab"[parity] for parity in parities), "".join("ba"[parity] for parity in parities)


class TestDamagedFiles:
    def saved(self, tmp_path, change=lambda document: document, **options):
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(change(json.loads(to_json(made(STORY * 5, **options))))), encoding="utf-8")
        return path

    def refused(self, path, match):
        with pytest.raises(BundleError, match=match) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)

    def test_missing(self, tmp_path):
        self.refused(tmp_path / "tokenizer.json", "No such file")

    def test_truncated(self, tmp_path):
        path = self.saved(tmp_path)
        path.write_bytes(path.read_bytes()[:-20])
        self.refused(path, "damaged")

    def test_not_utf8(self, tmp_path):
        path = self.saved(tmp_path)
        path.write_bytes(b"\xff" + path.read_bytes())
        self.refused(path, "not UTF-8")

    @pytest.mark.parametrize("content", ["[]", "{}", "3", '{"model": {"type": "BPE"}}', '{"model": null}'])
    def test_other_json(self, tmp_path, content):
        path = tmp_path / "tokenizer.json"
        path.write_text(content, encoding="utf-8")
        self.refused(path, "not a tokenizer that ostinato made")

    @pytest.mark.parametrize(
        ("options", "change"),
        [
            ({"level": "char"}, lambda d: d["model"]["vocab"].update(q=3)),
            ({"level": "char"}, lambda d: d["model"]["vocab"].update(zz=len(d["model"]["vocab"]))),
            ({"level": "char"}, lambda d: d["model"]["vocab"].pop("\n")),
            ({"level": "char"}, lambda d: d.update(normalizer={"type": "NFC"})),
            ({"level": "word"}, lambda d: d["pre_tokenizer"]["pattern"].update(Regex=r"\w+")),
            ({"level": "word"}, lambda d: d.update(normalizer={"type": "NFKC"})),
            ({"level": "word"}, lambda d: d["model"]["vocab"].update({"\n": 1, "<unk>": 0})),
            ({"level": "word"}, lambda d: d.update(added_tokens=[{"id": 0, "content": "<eos>"}])),
            ({"level": "word"}, lambda d: d["model"]["vocab"].update(dict(zip(equal_hashes(), (10, 11), strict=True)))),
            ({"level": "bpe"}, lambda d: d["pre_tokenizer"]["pretokenizers"].pop(0)),
            ({"level": "bpe"}, lambda d: d["model"]["merges"].append(["nothing", "here"])),
            ({"level": "bpe"}, lambda d: d["model"]["vocab"].pop("Ċ")),
            ({"level": "unigram"}, lambda d: d["model"].update(type="WordPiece")),
        ],
    )
    def test_changed(self, tmp_path, options, change):
        def changed(document):
            change(document)
            return document

        self.refused(self.saved(tmp_path, changed, **options), "not a tokenizer that ostinato made")

"""ARPA files: read as they are, scored with back-off, refused where they are wrong; and written."""

import gzip
import math
import os
import threading

import numpy as np
import pytest

from ostinato.errors import ConfigError, TextError
from ostinato.score.arpa import read_arpa
from ostinato.score.kneser_ney import learn_arpa
from ostinato.score.ngram import NgramModel
from ostinato.score.sentences import score_words

FILE = """a comment

\\data\\
ngram 1=6
ngram 2=5
ngram 3=2

\\1-grams:
-1.5\t<unk>\t-0.25
-99\t<s>\t-0.5
-0.9\t</s>
-0.7\ta\t-0.3
-1.1\tb\t-0.2
-1.3\tc

\\2-grams:
-0.4\t<s> a\t-0.6
-0.8\ta b\t-0.1
-0.2\tb </s>
-0.35\ta a
-1.2\t<s> <unk>\t-0.15

\\3-grams:
-0.05\t<s> a b
-0.15\t<s> <unk> a

\\end\\
"""


@pytest.fixture
def arpa(tmp_path):
    path = tmp_path / "small.arpa"
    path.write_text(FILE)
    return path


def log10s(path, sentence):
    return score_words(read_arpa(path), [sentence.split()])[0] / math.log(10)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("a b", [-0.4, -0.05, -0.2]),  # a b </s> is no trigram and a b has a back-off; see the next line
        ("b", [-0.5 - 1.1, -0.2]),
        ("a c", [-0.4, -0.6 - 0.3 - 1.3, -0.9]),
        ("zebra a", [-1.2, -0.15, -0.3 - 0.9]),
        ("zebra b", [-1.2, -0.15 - 0.25 - 1.1, -0.2]),
        ("a a", [-0.4, -0.6 - 0.35, -0.3 - 0.9]),
        ("", [-0.5 - 0.9]),
    ],
)
def test_back_off_by_hand(arpa, sentence, expected):
    if sentence == "a b":
        expected = [-0.4, -0.05, -0.1 - 0.2]
    np.testing.assert_allclose(log10s(arpa, sentence), expected, atol=1e-6)


def test_a_gram_without_a_shorter_one_is_refused_where_there_are_none(tmp_path):
    path = tmp_path / "x.arpa"
    grams = "\\1-grams:\n-1\t<s>\n-0.3\t</s>\n-0.3\ta\n\\2-grams:\n\\3-grams:\n-0.5\ta a a\n\\end\\\n"
    path.write_text(f"\\data\\\nngram 1=3\nngram 2=0\nngram 3=1\n\n{grams}")
    with pytest.raises(TextError, match="line 12: found a gram that begins with 'a a'"):
        read_arpa(path)


def test_a_state_is_as_short_as_the_model_allows(arpa):
    model = read_arpa(arpa)
    after = model.after
    begin = model.begin()
    assert len(begin) == 1
    assert after(begin, "c") == after(after(begin, "b"), "c") == ()  # c is no context
    assert len(after(begin, "a")) == 2
    assert len(after(after(begin, "a"), "a")) == 1  # a a has no back-off and nothing longer
    assert after(after(begin, "a"), "a") == after((), "a")
    assert after(begin, "zebra") == after(begin, "yak") != after(begin, "a")


def test_packed_files_and_what_is_known(arpa, tmp_path):
    packed = tmp_path / "small.arpa.gz"
    packed.write_bytes(gzip.compress(FILE.encode()))
    np.testing.assert_array_equal(log10s(packed, "a b zebra"), log10s(arpa, "a b zebra"))
    model = read_arpa(packed)
    assert "a" in model
    assert "zebra" not in model
    assert "<unk>" not in model
    assert model.order == 3


def test_a_file_without_unk_gives_unknown_words_next_to_nothing(tmp_path):
    path = tmp_path / "x.arpa"
    path.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n-0.3\t</s>\n-0.3\ta\n\\end\\\n")
    np.testing.assert_allclose(log10s(path, "zebra"), [-100, -0.3], rtol=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("ngram 2=5", "ngram 2=6", r"line 23: found the end of 5 grams of 2; expected 6, as the header says"),
        ("ngram 2=5", "ngram 2=4", r"line 21: found one more gram of 2; expected 4"),
        ("ngram 2=5", "ngram 3=5", r"line 5: found 'ngram 3=5'; expected ngram 2="),
        ("-0.8\ta b\t-0.1", "0.8\ta b\t-0.1", "line 18: found log10 p of 0.8; expected 0 or less"),
        ("-0.8\ta b\t-0.1", "nan\ta b\t-0.1", "line 18: found log10 p of nan"),
        ("-0.8\ta b\t-0.1", "-0.8\ta b\tinf", "line 18: found a back-off of inf"),
        ("-0.8\ta b\t-0.1", "x\ta b\t-0.1", "line 18: found .*expected a number"),
        ("-0.8\ta b\t-0.1", "-0.8\ta", "line 18: found .*expected log10 p, 2 words"),
        ("-0.8\ta b\t-0.1", "-0.8\ta zebra\t-0.1", "line 18: found 'zebra'; expected a word of the unigrams"),
        ("-0.35\ta a", "-0.35\ta b", "line 20: found 'a b' again; expected each gram once"),
        ("-1.3\tc", "-1.3\tb", "line 14: found 'b' again; expected each unigram once"),
        ("-0.15\t<s> <unk> a", "-0.15\tc a b", "line 25: found a gram that begins with 'c a'"),
        ("\\end\\", "", "expected more of it: it is cut off"),
        ("\\3-grams:", "\\4-grams:", r"line 23: found .*expected \\3-grams:"),
        ("\\data\\", "data", "expected"),
        ("-0.9\t</s>", "-0.9\td", "expected a word of the unigrams"),
        ("ngram 1=6", "ngram 1=600000000000000", "GB are free"),
        ("ngram 2=", "ngram 2=9000000000000", "GB are free"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(arpa, before, after, says):
    assert before in FILE
    arpa.write_text(FILE.replace(before, after, 1))
    with pytest.raises(TextError, match=says) as caught:
        read_arpa(arpa)
    assert "\n" not in str(caught.value)


def test_kenlms_binaries_are_named(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0\0\0")
    with pytest.raises(TextError, match=r"x\.bin is in KenLM's binary format, which only KenLM reads; give the ARPA"):
        read_arpa(path)


def test_a_pipe_is_read_from_its_beginning(arpa, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(FILE,))
    writer.start()
    np.testing.assert_array_equal(log10s(pipe, "a b zebra"), log10s(arpa, "a b zebra"))
    writer.join()


def test_sentence_marks_are_asked_for(tmp_path):
    path = tmp_path / "x.arpa"
    path.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-0.3\ta\n\\end\\\n")
    with pytest.raises(TextError, match="no unigram <s>"):
        read_arpa(path)


# Writing

TEXT = [
    "the cat sat",
    "the dog sat on the cat",
    "a cat",
    "dog on a dog",
    "sat",
    "the cat sat on a dog",
    "rare bird",
] * 2


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["x.arpa", "x.arpa.gz"])
def test_what_is_written_is_the_kneser_ney_model(tmp_path, order, name):
    """Word by word the model of the whole text, each sentence after a line end as if nothing stood before it."""
    text, path = tmp_path / "text", tmp_path / name
    text.write_text("\n".join(TEXT) + "\n\n")
    learn_arpa([text], path, order=order, min_count=2)
    words = sorted({word for line in TEXT for word in line.split()})
    place = {word: n for n, word in enumerate(["\n", *words, "<unk>"])}
    ids = [0, *(place[word] for line in TEXT for word in [*line.split(), "\n"])]
    model = NgramModel.fit(np.array(ids), order, len(place), boundary=0)
    arpa = read_arpa(path)
    for line in [*TEXT, "on on cat", "bird the zebra", ""]:
        known = [place.get(word, place["<unk>"]) for word in line.split()]
        expected = -model.token_nats(np.array([0, *known, 0]))[1:]
        np.testing.assert_allclose(score_words(arpa, [line.split()])[0], expected, rtol=2e-5)


def test_what_is_written_sums_to_one(tmp_path):
    text, path = tmp_path / "text", tmp_path / "x.arpa"
    text.write_text("\n".join(TEXT))
    learn_arpa([text], path, order=3)
    model = read_arpa(path)
    everything = [word for word in model.words if word not in ("<s>", "</s>")]
    for context in ([], ["the"], ["the", "cat"], ["on", "zebra"], ["a", "cat"]):
        state = model.begin()
        for word in context:
            state = model.after(state, word)
        probs = np.exp(model.extend([state] * len(everything), everything)[0])
        assert probs.sum() + np.exp(model.end([state])[0]) == pytest.approx(1, abs=1e-5)


def test_learning_from_nothing_or_from_marks_is_refused(tmp_path):
    text = tmp_path / "text"
    text.write_text("\n\n")
    with pytest.raises(TextError, match="no line has a word"):
        learn_arpa([text], tmp_path / "x.arpa")
    text.write_text("a b\na </s> b\n")
    with pytest.raises(TextError, match="text: line 2 has the word </s>: 'a </s> b'; leave it out"):
        learn_arpa([text], tmp_path / "x.arpa")
    text.write_text("a b\n")
    with pytest.raises(ConfigError, match="order is 9"):
        learn_arpa([text], tmp_path / "x.arpa", order=9)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none to write it to"):
        learn_arpa(text, tmp_path / "none" / "x.arpa")
    with pytest.raises(IsADirectoryError, match="this is a folder; expected the name of a file"):
        learn_arpa(text, tmp_path)
    assert list(tmp_path.iterdir()) == [text]
    learn_arpa(text, tmp_path / "x.arpa", order=1)
    assert "a" in read_arpa(tmp_path / "x.arpa")


def test_a_context_whose_back_off_is_one_is_kept_where_longer_grams_begin_with_it(tmp_path):
    """``a`` and ``a b`` have no back-off in the file, and ``a b c`` needs both."""
    (tmp_path / "x.arpa").write_text(
        "\\data\\\nngram 1=5\nngram 2=1\nngram 3=1\n\n"
        "\\1-grams:\n-1\t<s>\n-1\t</s>\n-0.8\ta\n-0.9\tb\n-1.1\tc\n\n"
        "\\2-grams:\n-0.5\ta b\n\n\\3-grams:\n-0.25\ta b c\n\n\\end\\\n"
    )
    model = read_arpa(tmp_path / "x.arpa")
    state, found = model.begin(), []
    for word in ("a", "b", "c"):
        (logprob,), (state,) = model.extend([state], [word])
        found.append(logprob / math.log(10))
    assert found == pytest.approx([-0.8, -0.5, -0.25], abs=1e-6)
    assert state == ()  # nothing begins with ``b c`` or ``c``

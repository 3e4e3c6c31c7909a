"""CTC decoding as it is used: labels, greedy search, words and their frames, and all that can be wrong."""

from __future__ import annotations

import math
import re
import resource
from pathlib import Path

import numpy as np
import pytest
from hearing import LABELS, WordBigram, meanings, random_frames
from small_models import TEXT, tokenizer, weights, write_folder
from table_models import Bigram, random_bigram

import ostinato
from ostinato import ctc
from ostinato.config import ModelConfig
from ostinato.errors import ConfigError, NativeError
from ostinato.kernels import native
from ostinato.language_model import LanguageModel
from ostinato.score.arpa import read_arpa

CORE = pytest.mark.skipif(not native.available(), reason="no core")


def frames_of(alignment: str, names: str = "-ab ", sure: float = 0.9) -> np.ndarray:
    """Log-probabilities that follow an alignment, with a little for every other label."""
    rest = (1.0 - sure) / (len(names) - 1)
    return np.log([[sure if name == said else rest for name in names] for said in alignment])


# Labels


def test_blanks_between_words_are_written_in_three_ways():
    frames = frames_of("ab- -bb")
    for gap in " |▁":
        labels = ctc.Labels(["-", "a", "b", gap], gap=gap)
        assert ctc.greedy(frames, labels).text == ctc.decode(frames, labels)[0].text == "ab b"


def test_pieces_of_words_are_joined():
    labels = ctc.Labels(["▁to", "▁be", "ing", "<b>"], blank=3, gap="▁")
    found = ctc.decode(frames_of("t-bb-i-t", "tbi-", 0.97), labels)[0]
    assert found.text == "to being to"
    assert found.words == (ctc.Span("to", 0, 1), ctc.Span("being", 2, 6), ctc.Span("to", 7, 8))
    assert [span.text for span in found.labels] == [" to", " be", "ing", " to"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": "a"}, "there are 1 labels; expected 2"),
        ({"names": [1, 2, 3]}, "expected 2 to"),
        ({"names": "abc", "blank": 3}, "blank is 3; expected a column, 0 to 2"),
        ({"names": "abc", "blank": -1}, "blank is -1"),
        ({"names": "abc", "blank": True}, "blank is True"),
        ({"names": ["", "a", ""]}, "label 2 is empty"),
        ({"names": ["", "a b"]}, "label 1 is 'a b', with a blank inside"),
        ({"names": ["", "a "]}, "at its beginning"),
        ({"names": ["", "a", "a"]}, "labels 1 and 2 are both 'a'"),
        ({"names": "ab", "gap": ""}, "gap is ''"),
        ({"names": ["", "a", "|", " "], "gap": "|"}, "labels 2 and 3"),
    ],
)
def test_labels_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        ctc.Labels(**arguments)


def test_the_name_of_the_blank_does_not_matter():
    assert ctc.Labels("abca").texts == ("", "b", "c", "a")


# Greedy


@pytest.mark.parametrize("seed", range(10))
def test_greedy_is_the_likeliest_alignment(seed):
    frames = random_frames(5, 4, seed)
    best = max(meanings(frames, 0).values(), key=lambda meaning: meaning.best)
    found = ctc.greedy(frames, LABELS)
    assert found.acoustic == pytest.approx(best.best)
    assert found.labels == tuple(ctc.Span(LABELS.texts[v], start, end) for v, start, end in best.spans)


def test_a_beam_finds_the_text_that_greedy_misses():
    """All of a's alignments together are likelier than the one of nothing."""
    frames = np.log([[0.6, 0.4], [0.6, 0.4]])
    labels = ctc.Labels(["", "a"])
    assert ctc.greedy(frames, labels).text == ""
    found = ctc.decode(frames, labels)[0]
    assert (found.text, found.acoustic) == ("a", pytest.approx(math.log(0.64)))


def test_words_know_when_they_were_said():
    for found in (ctc.greedy(frames_of("-aab  --b-a "), LABELS), ctc.decode(frames_of("-aab  --b-a "), LABELS)[0]):
        assert found.text == "aab ba".replace("aab", "ab")
        assert found.words == (ctc.Span("ab", 1, 4), ctc.Span("ba", 8, 11))
        assert found.labels[0] == ctc.Span("a", 1, 3)


# What comes in


def test_scores_before_the_softmax_are_taken_as_well():
    frames = random_frames(8, 4, 1)
    shifted = frames + np.arange(8)[:, None]
    assert ctc.decode(shifted, LABELS)[0].acoustic == pytest.approx(ctc.decode(frames, LABELS)[0].acoustic)
    whole = np.round(frames * 3).astype(np.int16)
    assert ctc.decode(whole.tolist(), LABELS) == ctc.decode(whole, LABELS)
    assert ctc.decode(frames.astype(np.float32), LABELS)[0].text == ctc.decode(frames, LABELS)[0].text


def test_frames_are_left_as_they_were():
    frames = random_frames(8, 4, 1)
    before = frames.copy()
    ctc.decode(frames, LABELS, cutoff=1.0)
    np.testing.assert_array_equal(frames, before)


def test_no_frames_are_no_words():
    found = ctc.decode(np.zeros((0, 4)), LABELS, n_best=5, fusions=[ctc.HotWords({"ab": 1.0}, LABELS)])
    assert [(one.text, one.score, one.words) for one in found] == [("", 0.0, ())]
    assert ctc.greedy(np.zeros((0, 4)), LABELS).text == ""


def hole(row: int, value: float, whole: bool = False) -> np.ndarray:
    frames = random_frames(5, 4, 0)
    frames[row, slice(None) if whole else 2] = value
    return frames


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((5, 3)), r"of shape \(5, 3\); expected numbers \(frames, 4\)"),
        (np.zeros((2, 5, 4)), r"of shape \(2, 5, 4\)"),
        (np.zeros(4), r"of shape \(4,\)"),
        ([[0.0, 1.0, 2.0, 3.0], [0.0]], "ragged"),
        ([["a", "b", "c", "d"]], "not of numbers"),
        ([[None] * 4], "not of numbers"),
        (hole(3, math.nan), "frame 3 holds NaN"),
        (hole(1, math.inf), "frame 1 holds NaN or infinity"),
        (hole(2, -math.inf, whole=True), "frame 2 .* no possible label"),
        (np.full((3, 4), 0.25), "seem to be probabilities"),
    ],
)
def test_what_is_no_output_of_a_recogniser_is_refused(frames, message):
    stream = ctc.Stream(LABELS)
    stream.push(random_frames(3, 4, 0))
    before = stream.hypotheses(5)
    for use in (lambda: ctc.greedy(frames, LABELS), lambda: stream.push(frames)):
        with pytest.raises(ConfigError, match=message) as refused:
            use()
        assert "\n" not in str(refused.value)
    assert stream.hypotheses(5) == before


@pytest.mark.parametrize(
    "options", [{"width": 0}, {"width": 1.5}, {"width": 1 << 20}, {"cutoff": -1.0}, {"margin": math.nan}, {"n_best": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is "):
        ctc.decode(random_frames(3, 4, 0), LABELS, **options)


# Language models and hot words


def test_a_hot_word_is_found_where_it_sounds_like_another():
    frames = frames_of("ab")
    frames[1] = np.log([0.02, 0.5, 0.46, 0.02])
    assert ctc.decode(frames, LABELS)[0].text == "a"
    assert ctc.decode(frames, LABELS, fusions=[ctc.HotWords({"ab": 2.0}, LABELS)])[0].text == "ab"


def test_a_narrow_beam_holds_on_to_a_word_that_the_lexicon_knows():
    """After the first frame no letter of the word is among the two likeliest."""
    labels = ctc.Labels("-xyzwho ", blank=0)
    frames = np.log(np.full((3, 8), 0.01))
    for t, letter in enumerate("who"):
        frames[t, labels.names.index(letter)] = math.log(0.2)
        frames[t, 1:4] = np.log([0.25, 0.24, 0.23])
    lm = WordBigram(["who"])
    lexicon = ctc.Lexicon({"who": -1.0, "xenon": -9.0})
    found = ctc.decode(frames, labels, width=2, fusions=[ctc.WordModel(lm, labels, lexicon=lexicon)])
    assert found[0].text == "who"
    assert ctc.decode(frames, labels, width=2, fusions=[ctc.WordModel(lm, labels)])[0].text != "who"


@pytest.mark.parametrize("level", ["char", "bpe"])
def test_a_trained_models_folder_joins_in(tmp_path, level):
    """Its log p is what it says of the text itself."""
    lm = ostinato.load(write_folder(tmp_path / "model", level))
    tok = lm.tokenizer
    pieces = [tok.piece(token).decode("utf-8", "replace") for token in range(tok.vocab_size)]
    names = [
        text for text in dict.fromkeys(pieces) if "\ufffd" not in text and "\n" not in text and " " not in text[1:]
    ]
    labels = ctc.Labels(["<blank>", *names])
    rng = np.random.default_rng(0)
    said = "to be or not"
    ids = [labels.names.index(pieces[token]) for token in tok.encode(said)]
    frames = rng.normal(0, 0.5, (2 * len(ids), len(labels.names)))
    for t, label in enumerate(ids):
        frames[2 * t, label] = frames[2 * t + 1, 0] = 30.0
    found = ctc.decode(frames, labels, width=8, fusions=[ctc.LabelModel(lm.engine, tok, labels, weight=0.1)])[0]
    assert found.text == said
    assert found.language == pytest.approx(-lm.score(said + "\n").nats, rel=1e-4)


def test_a_model_without_a_label_is_refused():
    tok = tokenizer("char", "a\n")
    with pytest.raises(ConfigError, match=r"no token 'b', ' ' \(char level\), which the recogniser"):
        ctc.LabelModel(random_bigram(tok.vocab_size), tok, LABELS)


class Mute(WordBigram):
    """Gives NaN, or probabilities where logarithms belong."""

    def __init__(self, value: float) -> None:
        super().__init__(["a"])
        self.table[:] = value


@pytest.mark.parametrize("value", [math.nan, 0.5])
def test_a_model_that_gives_no_logarithms_is_refused(value):
    with pytest.raises(ConfigError, match="gave NaN or a log-probability above 0"):
        ctc.decode(frames_of("ab a"), LABELS, fusions=[ctc.WordModel(Mute(value), LABELS)])


class Wild:
    """A fusion whose numbers are none."""

    def __init__(self, extra: float, gain: float) -> None:
        self._context = ctc.Context(extra, np.full(4, gain))

    def start(self):
        return ctc.Context(0.0, np.zeros(4))

    def follow(self, contexts, labels):
        return [self._context for _ in labels]

    def finish(self, contexts):
        return list(contexts)


@pytest.mark.parametrize(("extra", "gain"), [(math.nan, 0.0), (0.0, math.nan), (math.inf, 0.0), (0.0, math.inf)])
def test_a_fusion_that_adds_no_numbers_is_refused(extra, gain):
    with pytest.raises(ConfigError, match="a fusion added NaN or infinity to a score"):
        ctc.decode(frames_of("ab a"), LABELS, fusions=[Wild(extra, gain)])
    assert ctc.decode(frames_of("ab a"), LABELS, fusions=[Wild(0.5, -math.inf)])


def test_frames_may_lie_as_they_like():
    frames = random_frames(7, 4, 3)
    expected = ctc.decode(frames, LABELS, n_best=5)
    for same in (np.asfortranarray(frames), np.repeat(frames, 2, axis=1)[:, ::2], frames.tolist()):
        assert ctc.decode(same, LABELS, n_best=5) == expected
        assert ctc.greedy(same, LABELS) == ctc.greedy(frames, LABELS)


def test_what_a_model_holds_to_be_impossible_is_only_very_unlikely():
    tok = tokenizer("char", TEXT)
    labels = ctc.Labels(["-", "t", "o", " "])
    never = Bigram(np.eye(tok.vocab_size), tok.boundary_id)
    found = ctc.decode(frames_of("t-o", "-to "), labels, fusions=[ctc.LabelModel(never, tok, labels, weight=0.01)])
    assert all(math.isfinite(one.score) for one in found)
    found = ctc.decode(
        frames_of("t-o", "-to "), labels, fusions=[ctc.WordModel(Mute(-math.inf), labels, weight=0.001, unknown=0.0)]
    )
    assert found[0].text == "to"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ctc.HotWords({"new york": 1.0}, LABELS), "'new york' is not one word"),
        (lambda: ctc.HotWords({"": 1.0}, LABELS), "not one word"),
        (lambda: ctc.HotWords({"AB": 1.0}, LABELS), "no label has the 'A' of the hot word 'AB'"),
        (lambda: ctc.HotWords(["ab"], LABELS), "boosts is of type list; expected a mapping of words to nats"),
        (lambda: ctc.WordModel(object(), LABELS), "scorer is of type object; expected a scorer of words"),
        (lambda: ctc.LabelModel(object(), None, LABELS), "model is of type object; expected what reads tokens"),
        (
            lambda: ctc.Stream(LABELS, fusions=ctc.HotWords({"a": 1.0}, LABELS)),
            "fusions is of type HotWords; expected a list",
        ),
        (lambda: ctc.Stream(LABELS, fusions=[3]), "a fusion is of type int; expected a LabelModel"),
        (lambda: ctc.Lexicon.unigrams(3), "the model is of type int; expected an n-gram model"),
        (lambda: ctc.HotWords({"a": math.inf}, LABELS), "boost of 'a' is inf"),
        (lambda: ctc.HotWords({"a": 1.0}, ctc.Labels("-ab")), "no label begins a word"),
        (lambda: ctc.WordModel(WordBigram(["a"]), ctc.Labels("-ab")), "no label begins a word"),
        (lambda: ctc.WordModel(WordBigram(["a"]), LABELS, weight=-1.0), "weight is -1.0"),
        (lambda: ctc.WordModel(WordBigram(["a"]), LABELS, unknown=1.0), "unknown is 1.0"),
        (
            lambda: ctc.WordModel(WordBigram(["A", "b"]), LABELS, lexicon=ctc.Lexicon({"AB": -2.0, "B": -1.0})),
            "can spell 0 of the 2 words of the lexicon; 'AB', for one, has 'A', which no label has",
        ),
        (lambda: ctc.Lexicon({}), "there is no word"),
        (lambda: ctc.Lexicon({"a b": -1.0}), "'a b' is not a word"),
        (lambda: ctc.Lexicon({"a": 0.5}), "of 'a' is 0.5; expected a finite one"),
        (lambda: ctc.Lexicon({"a": -math.inf}), "of 'a' is -inf"),
        (lambda: ctc.Lexicon({"a": math.nan}), "of 'a' is nan"),
        (lambda: ctc.Lexicon.count([]), "there is no word"),
    ],
)
def test_models_and_words_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_lexicon_knows_what_stands_below_a_beginning():
    words = ["to", "be", "or", "not", "to", "be", "that", "is", "the", "question", "to", "tobacco"]
    lexicon = ctc.Lexicon.count(words)
    assert len(lexicon) == len(set(words))
    for part in {word[:n] for word in words for n in range(1, len(word) + 1)} | {"x", "tob!", "toba", "\U0010ffff"}:
        below = [words.count(word) for word in words if word.startswith(part)]
        best = math.log(max(below) / len(words)) if below else None
        own = math.log(words.count(part) / len(words)) if part in words else None
        assert lexicon.below(part) == (pytest.approx(best), pytest.approx(own))
    assert lexicon.least == pytest.approx(math.log(1 / len(words)))


def test_an_n_gram_models_words_make_a_lexicon(tmp_path):
    path = tmp_path / "words.arpa"
    unigrams = "-1.0 <unk>\n-99 <s>\n-0.5 </s>\n-0.7 a\n-1.2 ab\n".replace(" ", "\t")
    path.write_text(f"\\data\\\nngram 1=5\n\n\\1-grams:\n{unigrams}\n\\end\\\n")
    arpa = read_arpa(path)
    lexicon = ctc.Lexicon.unigrams(arpa)
    assert len(lexicon) == 2
    assert lexicon.below("a") == (pytest.approx(-0.7 * math.log(10)), pytest.approx(-0.7 * math.log(10)))
    found = ctc.decode(frames_of("a ab"), LABELS, fusions=[ctc.WordModel(arpa, LABELS, lexicon=lexicon)])[0]
    assert (found.text, found.language) == ("a ab", pytest.approx(-2.4 * math.log(10)))


# The core checks what it passes on


@CORE
@pytest.mark.parametrize(
    "wrong",
    [
        lambda beam: beam.advance(np.zeros((3, 5))),
        lambda beam: beam.advance(np.zeros((3, 4), np.float32)),
        lambda beam: beam.advance(np.zeros((3, 8))[:, ::2]),
        lambda beam: beam.advance(np.full((3, 4), math.nan)),
        lambda beam: beam.fuse([1], np.zeros(1), np.zeros((1, 4))),
        lambda beam: beam.fuse([-1], np.zeros(1), np.zeros((1, 4))),
        lambda beam: beam.fuse([0], np.zeros(2), np.zeros((1, 4))),
        lambda beam: beam.fuse([0], np.zeros(1), np.zeros((1, 3))),
        lambda beam: beam.fuse([0], np.full(1, math.nan), np.zeros((1, 4))),
        lambda beam: beam.fuse([0], np.zeros(1), np.full((1, 4), math.inf)),
        lambda beam: beam.read(1),
        lambda beam: beam.read(-1),
        lambda beam: type(beam)(4, 4, 10, 1.0),
        lambda beam: type(beam)(4, 0, 0, 1.0),
        lambda beam: type(beam)(4, 0, 10, -1.0),
    ],
)
def test_the_core_is_not_handed_what_it_does_not_take(wrong):
    with pytest.raises(NativeError, match="expected"):
        wrong(native.PrefixBeam(4, 0, 10, np.inf))


@CORE
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_a_long_stream_forgets_what_left_the_beam():
    """Prefixes and alignments come and go; what stays in memory is a text of few words."""
    beam = native.PrefixBeam(6, 0, 50, np.inf)
    rng = np.random.default_rng(0)

    def go(frames: int) -> int:
        """Bytes of memory that this process holds after them."""
        for _ in range(frames // 1000):
            scores = rng.normal(0, 1, (1000, 6))
            scores[:, 0] += 6.0
            beam.advance(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = go(3_000)
    assert go(27_000) - before < 8e6  # of the 60 MB that 50 new prefixes a frame would take
    longest = max(len(beam.read(place)) for place in range(len(beam.totals())))
    assert 10 < longest < 3_000


def test_the_python_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "ctc.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    tok = tokenizer("char", "the quick brown fox's jumps over a lazy dog\n")
    model = ModelConfig(tok.vocab_size, 5, (7,))
    monkeypatch.setattr(ostinato, "load", lambda _: LanguageModel(model, weights(model), tok))
    monkeypatch.chdir(tmp_path)
    np.save("frames.npy", frames_of("--o-oo-f-f--  is-", "- abcdefghijklmnopqrstuvwxyz'", 0.98))
    exec(compile(code, "docs/ctc.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[-1] == "ooff is"
    assert "('is', 14, 16)" in lines[1]

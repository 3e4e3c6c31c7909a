"""Beams that lose nothing find what going through all alignments finds; narrow ones err in what they lose alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hearing import END, LABELS, UNKNOWN, Echo, WordBigram, meanings, random_frames
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import tokenizer

from ostinato.ctc import Fusion, HotWords, LabelModel, Labels, Lexicon, Stream, WordModel, decode, reference
from ostinato.kernels import native

WIDE = 400
"""More prefixes than five frames of four labels can mean."""
WORDS = ("a", "b", "ab", "ba", "aab", "bb")
LEXICON = Lexicon({"a": -1.0, "b": -2.5, "ab": -0.7, "ba": -3.0, "aab": -1.5, "abb": -4.0})
BOOSTS = {"bab": 3.0, "ab": 2.0, "bb": 0.7}
CORE = pytest.mark.skipif(not native.available(), reason="no core")
BEAMS = [reference.PrefixBeam, pytest.param(native.PrefixBeam, marks=CORE)]
SIZES = [(1, 4, 0), (4, 3, 1), (5, 4, 0), (5, 4, 3), (6, 3, 2)]
"""Frames, labels, the column of CTC's blank."""


@pytest.fixture(params=["reference", "core"])
def either(request, monkeypatch):
    """Searches run by the definition, and in the core."""
    if request.param == "reference":
        monkeypatch.setattr(native, "available", lambda: False)
    elif not native.available():
        pytest.skip("no core")


# The beam


def read(beam: Any) -> list[tuple[list[tuple[int, int, int]], float]]:
    """All prefixes: their labels and frames, and nats of all alignments."""
    return [(beam.read(place), logprob) for place, logprob in enumerate(beam.totals().tolist())]


def hold_sums(beam: Callable[..., Any], seed: int = 0) -> None:
    """Of every label sequence all alignments, and when the likeliest says each label."""
    for T, V, blank in SIZES:
        frames = random_frames(T, V, seed)
        found = beam(V, blank, WIDE, np.inf)
        found.advance(frames)
        known = meanings(frames, blank)
        readings = {tuple(label for label, _, _ in spans): (spans, logprob) for spans, logprob in read(found)}
        assert readings.keys() == known.keys()
        for labels, (spans, logprob) in readings.items():
            assert logprob == pytest.approx(known[labels].logprob, rel=1e-12)
            assert tuple(spans) == known[labels].spans


def hold_gains(beam: Callable[..., Any]) -> None:
    """What is kept is decided by the probability, what fusion adds and what it will add."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        frame = random_frames(1, 5, seed)
        gains = rng.normal(0, 2, (1, 5))
        gains[0, 2] = 0.0
        narrow = beam(5, 2, 2, np.inf)
        narrow.fuse([0], np.array([0.3]), gains)
        narrow.advance(frame)
        best = np.argsort(-(frame + gains)[0])[:2].tolist()
        origins, labels = narrow.came()
        assert origins.tolist() == [0, 0]
        assert labels.tolist() == [-1 if label == 2 else label for label in best]
        # The prefix that is fused with more is the one that stays.
        narrow = beam(5, 2, 2, np.inf)
        narrow.advance(frame)
        narrow.fuse([0, 1], np.array([0.0, 50.0]), np.zeros((2, 5)))
        narrow.advance(frame)
        assert set(narrow.came()[0].tolist()) == {1}


def hold_margin(beam: Callable[..., Any]) -> None:
    frame = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]))
    for margin, count in ((0.0, 1), (0.6, 2), (1.3, 3), (5.0, 4)):
        some = beam(4, 0, 10, margin)
        some.advance(frame)
        assert len(read(some)) == count


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_loses_nothing_adds_up_all_alignments(beam, seed):
    hold_sums(beam, seed)


@pytest.mark.parametrize("beam", BEAMS)
def test_fusion_decides_what_is_kept(beam):
    hold_gains(beam)


@pytest.mark.parametrize("beam", BEAMS)
def test_a_margin_drops_what_is_far_below_the_best(beam):
    hold_margin(beam)


def hold_to_reference(beam: Callable[..., Any], seed: int, width: int, margin: float, fused: bool, whole: bool) -> None:
    """The same prefixes in the same order, the same frames and the same bits; with ``whole`` numbers many are equal."""
    T, V = 25, 3 + seed % 4
    blank = seed // 4 % V
    frames = random_frames(T, V, seed, 2.0)
    if whole:
        frames = np.round(frames)
        frames[frames < -4] = -np.inf
    rng = np.random.default_rng(seed)
    sides = [reference.PrefixBeam(V, blank, width, margin), beam(V, blank, width, margin)]
    for t in range(T):
        for side in sides:
            side.advance(frames[t : t + 1])
        came = [[each.tolist() for each in side.came()] for side in sides]
        assert came[0] == came[1]
        new = [place for place, label in enumerate(came[0][1]) if label >= 0]
        if fused and new:
            extras, gains = rng.normal(0, 1, len(new)), rng.normal(0, 1, (len(new), V))
            for side in sides:
                side.fuse(new, extras, gains)
    assert read(sides[0]) == read(sides[1])


@CORE
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from([np.inf, 3.0]), st.booleans(), st.booleans())
def test_the_core_is_the_reference_to_the_bit(seed, width, margin, fused, whole):
    hold_to_reference(native.PrefixBeam, seed, width, margin, fused, whole)


# Fusion


def spoken(labels: Sequence[int]) -> list[str]:
    return "".join(LABELS.texts[label] for label in labels).split()


def of_words(lm: WordBigram, labels: Sequence[int]) -> tuple[float, float]:
    """What WordModel with the settings of ``word_model`` adds to a whole sentence, and log p."""
    words = spoken(labels)
    logprob = lm.logprob(words)
    unknown = sum(word not in WORDS for word in words)
    return 0.8 * logprob + 0.4 * len(words) - 3.0 * unknown, logprob


def word_model(lm: WordBigram, kind: Any = WordModel, lexicon: Lexicon | None = LEXICON) -> Fusion:
    return kind(lm, LABELS, lexicon=lexicon, weight=0.8, bonus=0.4, unknown=-3.0)


def of_hot(labels: Sequence[int]) -> float:
    return sum(BOOSTS.get(word, 0.0) for word in spoken(labels))


TOKENIZER = tokenizer("char", "ab ab\n")
CHARACTERS = Echo(TOKENIZER.vocab_size, TOKENIZER.boundary_id)


def label_model(kind: Any = LabelModel) -> Fusion:
    return kind(CHARACTERS, TOKENIZER, LABELS, weight=0.6, bonus=0.2)


def of_labels(labels: Sequence[int]) -> tuple[float, float]:
    """What that model adds to a whole sentence, and log p."""
    ids = TOKENIZER.encode("".join(LABELS.texts[label] for label in labels)).tolist()
    logprob = CHARACTERS.logprob(ids)
    return 0.6 * logprob + 0.2 * len(labels), logprob


def hold_best(fusions: Sequence[Fusion], of: Callable[[Sequence[int]], tuple[float, float]], seed: int) -> None:
    """A wide beam ranks all texts as going through everything does, and says why."""
    frames = random_frames(5, 4, seed)
    best: dict[str, tuple[float, float, float]] = {}
    for labels, meaning in meanings(frames, 0).items():
        extra, language = of(labels)
        text = " ".join(spoken(labels))
        best[text] = max(best.get(text, (-np.inf,)), (meaning.logprob + extra, meaning.logprob, language))
    found = decode(frames, LABELS, width=WIDE, n_best=WIDE, fusions=fusions)
    assert [one.text for one in found] == sorted(best, key=lambda text: -best[text][0])
    for one in found:
        assert (one.score, one.acoustic, one.language) == pytest.approx(best[one.text], rel=1e-6)


def together(lm: WordBigram, labels: Sequence[int]) -> tuple[float, float]:
    (words, logprob), (characters, other) = of_words(lm, labels), of_labels(labels)
    return words + characters + of_hot(labels), logprob + other


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("seed", range(3))
def test_a_wide_beam_ranks_texts_as_they_should_be(seed):
    lm = WordBigram(WORDS, seed)
    for lexicon in (LEXICON, None):
        hold_best([word_model(lm, lexicon=lexicon)], lambda labels: of_words(lm, labels), seed)
    hold_best([HotWords(BOOSTS, LABELS)], lambda labels: (of_hot(labels), 0.0), seed)
    hold_best([label_model()], of_labels, seed)
    everything = [label_model(), word_model(lm), HotWords(BOOSTS, LABELS)]
    hold_best(everything, lambda labels: together(lm, labels), seed)
    hold_best([], lambda labels: (0.0, 0.0), seed)


@pytest.mark.usefixtures("either")
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([np.inf, 4.0]))
def test_a_narrow_beam_loses_alignments_and_nothing_else(seed, width, margin):
    frames, lm = random_frames(5, 4, seed), WordBigram(WORDS, seed)
    fusions = [label_model(), word_model(lm), HotWords(BOOSTS, LABELS)]
    known = meanings(frames, 0)
    for one in decode(frames, LABELS, width=width, n_best=width, fusions=fusions, margin=margin):
        labels = tuple(LABELS.texts.index(span.text) for span in one.labels)
        extra, language = together(lm, labels)
        assert one.acoustic <= known[labels].logprob + 1e-9
        assert (one.score - one.acoustic, one.language) == pytest.approx((extra, language), rel=1e-6)


def hold_hopes(fusion: Fusion) -> None:
    """What a fusion expects of a label is what the label brings, after every prefix of up to four labels."""
    level = [fusion.start()]
    for _ in range(5):
        following = []
        for label in (1, 2, 3):
            longer = fusion.follow(level, [label] * len(level))
            for before, after in zip(level, longer, strict=True):
                assert after.extra - before.extra == pytest.approx(float(before.gains[label]), abs=1e-9)
            following += longer
        level = following


def unigram() -> tuple[WordBigram, Lexicon]:
    """A model that knows frequencies alone, and a lexicon of the same."""
    lm = WordBigram(WORDS)
    lm.table[:] = np.log(np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.07, 0.05, 0.05]))
    return lm, Lexicon(dict(zip([*WORDS, "abba"], [*lm.table[0, :6].tolist(), lm.table[0, 6]], strict=True)))


def hold_word_hopes(kind: Any = WordModel) -> None:
    lm, lexicon = unigram()
    hopes = kind(lm, LABELS, lexicon=lexicon, weight=0.8, bonus=0.4, unknown=-3.0)
    lm.words[lm.words.index(UNKNOWN)] = "abba"  # the rarest word, as probable as an unknown one
    lm.words.append(UNKNOWN)
    lm.table = np.pad(lm.table, ((0, 1), (0, 1)), mode="edge")
    lm.table[:, -1] = lexicon.least
    hold_hopes(hopes)


def test_hopes_come_true_where_a_model_is_what_they_rest_on():
    hold_hopes(HotWords(BOOSTS, LABELS))
    hold_hopes(label_model())
    hold_word_hopes()


def hold_heat(kind: Any = HotWords) -> None:
    """Of a hot word that has begun the share that is said counts, the largest where it can become several."""
    hot, label = kind(BOOSTS, LABELS), LABELS.names.index
    for text, extra in (
        ("a", 1.0),
        ("ab", 2.0),
        ("aba", 0.0),
        ("b", 1.0),
        ("bb", 0.7),
        ("bb ab a", 3.7),
        ("aa b", 1.0),
    ):
        contexts = [hot.start()]
        for letter in text:
            contexts = hot.follow(contexts, [label(letter)])
        assert contexts[0].extra == pytest.approx(extra)


def test_hot_words_warm_up():
    hold_heat()


def hold_unfinished(kind: Any, seed: int) -> None:
    """A word that has only begun counts as the likeliest that it can become."""
    lm = WordBigram(WORDS, seed)
    stream = Stream(LABELS, width=WIDE, fusions=[word_model(lm, kind)])
    stream.push(random_frames(5, 4, seed))
    known = dict(zip(LEXICON._words, LEXICON._logprobs.tolist(), strict=True))
    for one in stream.hypotheses(WIDE):
        *over, part = "".join(span.text for span in one.labels).split(" ")
        words = [word for word in over if word]
        chain = [lm.number(word) for word in (END, *words)]
        logprob = sum(lm.table[pair] for pair in itertools.pairwise(chain))
        extra = 0.8 * logprob + 0.4 * len(words) - 3.0 * sum(word not in WORDS for word in words)
        longer = [known[word] for word in known if word.startswith(part)]
        if part:
            extra += 0.8 * max(longer, default=-4.0) + 0.4 - (0.0 if longer else 3.0)
        assert one.score - one.acoustic == pytest.approx(extra, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_an_unfinished_word_counts_as_the_likeliest_that_it_can_become(seed):
    hold_unfinished(WordModel, seed)


# Streams


@pytest.mark.usefixtures("either")
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_chunks_are_the_whole_to_the_bit(seed, cuts, fused):
    frames = random_frames(40, 4, seed)
    options: dict[str, Any] = {"width": 7, "cutoff": 6.0, "margin": 9.0}
    if fused:
        options["fusions"] = [label_model(), word_model(WordBigram(WORDS, seed)), HotWords(BOOSTS, LABELS)]
    stream = Stream(LABELS, **options)
    for begin, end in itertools.pairwise([0, *sorted(cuts), 40]):
        stream.push(frames[begin:end])
        stream.hypotheses(3, ended=True)  # looking does not disturb
    whole = Stream(LABELS, **options)
    whole.push(frames)
    assert stream.hypotheses(7) == whole.hypotheses(7)
    assert stream.hypotheses(7, ended=True) == decode(frames, LABELS, n_best=7, **options)


@pytest.mark.usefixtures("either")
def test_a_model_is_asked_once_a_frame_at_most():
    lm = WordBigram(WORDS)
    decode(random_frames(30, 4, 0), LABELS, width=20, fusions=[word_model(lm)])
    assert 5 < len(lm.calls) <= 31
    assert max(lm.calls) > 5


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("cutoff", [0.5, 2.0])
def test_a_cutoff_is_a_frame_without_what_is_less_probable(cutoff):
    frames = random_frames(12, 4, 3)
    masked = np.where(frames < frames.max(axis=1, keepdims=True) - cutoff, -np.inf, frames)
    beam = reference.PrefixBeam(4, 0, 50, np.inf)
    beam.advance(masked)
    best = beam.totals().max()
    (found,) = decode(frames, LABELS, width=50, cutoff=cutoff)
    assert found.acoustic == pytest.approx(best, rel=1e-9)
    assert decode(frames, LABELS, width=50)[0].acoustic > best


def test_phonemes_have_no_words_and_need_none():
    labels = Labels(["aa", "t", "_"], blank=2)
    found = decode(np.log([[0.7, 0.1, 0.2], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]]), labels)[0]
    assert (found.text, [(span.text, span.start, span.end) for span in found.words]) == ("aat", [("aat", 0, 3)])

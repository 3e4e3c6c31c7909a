"""Gaps: how they are marked, what may fill them, and that the filling is the likeliest there is."""

from itertools import product

import numpy as np
import pytest
from small_models import tokenizer
from table_models import Neighbours

from ostinato.decode import fill as module
from ostinato.decode.fill import fill
from ostinato.decode.sampling import make_sampler
from ostinato.errors import ConfigError
from ostinato.types import Sampling

WORDS = tokenizer("word", "the cat sat on a mat\n")
CHARS = tokenizer("char", "the cat sat on a mat,.;!?\n")
BPE = tokenizer("bpe", "the cat sat on a mat\n" * 20)


def neighbours(tok, seed=0, **pairs):
    """A random table in which some pairs of tokens are much likelier."""
    V = tok.vocab_size
    table = np.random.default_rng(seed).dirichlet(np.full(V, 0.5), V) + 1e-3
    for pair, weight in pairs.items():
        table[tuple(tok.encode(pair.replace("_", " ")))] = weight
    return Neighbours(table, tok.boundary_id)


def pseudo_nats(model, ids):
    logits = model.gap_logits(np.array(ids))
    return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(ids)), ids]).sum())


def test_one_word():
    model = neighbours(WORDS, cat_sat=50, on_a=50)
    filled = fill(model, WORDS, "the cat ___ on a mat")
    before, after = WORDS.encode("cat on")
    p = model.table[before] * model.table[:, after]
    allowed = [token for token in range(WORDS.vocab_size) if token not in (WORDS.boundary_id, WORDS.unk_id)]
    best = max(allowed, key=lambda token: p[token])
    (gap,) = filled.gaps
    assert filled.text == f"the cat {WORDS.decode([best])} on a mat"
    assert filled.text[gap.start : gap.end] == gap.text == WORDS.decode([best])
    assert gap.probability == pytest.approx(p[best] / p.sum(), rel=1e-5)
    ranked = sorted(allowed, key=lambda token: -p[token])[:5]
    assert [text for text, _ in gap.alternatives] == [WORDS.decode([token]) for token in ranked]
    assert [q for _, q in gap.alternatives] == pytest.approx([p[token] / p.sum() for token in ranked], rel=1e-5)
    assert gap.tokens[0].probability == pytest.approx(gap.probability)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("gaps", "lengths", "places"),
    [("the ___2 on ___ mat", [2, 1], [1, 2, 4]), ("the ___ ___2 ___ mat", [1, 2, 1], [1, 2, 3, 4])],
)
def test_several_words_are_a_consistent_filling(seed, gaps, lengths, places):
    """No single replacement gains, in any gap."""
    model = neighbours(WORDS, seed)
    filled = fill(model, WORDS, gaps)
    ids = WORDS.encode(filled.text).tolist()
    assert len(ids) == 6
    for place in places:
        logits = model.gap_logits(np.array(ids))[place]
        logits[[WORDS.boundary_id, WORDS.unk_id]] = -np.inf
        assert ids[place] == logits.argmax()
    assert [len(gap.tokens) for gap in filled.gaps] == lengths
    assert all(filled.text[gap.start : gap.end] == gap.text for gap in filled.gaps)


def test_the_best_of_several_beginnings_is_kept():
    """Over 20 tables, the filling is at least as likely as greedy insertion's nearly always, and often the optimum."""
    optimal = 0
    for seed in range(20):
        model = neighbours(WORDS, seed)
        ids = WORDS.encode(fill(model, WORDS, "the ___2 mat").text).tolist()
        found = {
            pair: pseudo_nats(model, [ids[0], *pair, ids[3]]) for pair in product(range(2, WORDS.vocab_size), repeat=2)
        }
        optimal += found[tuple(ids[1:3])] == min(found.values())
    assert optimal >= 14


def test_the_length_of_a_gap():
    chars = neighbours(CHARS)
    assert len(fill(chars, CHARS, "the ___4 sat").gaps[0].tokens) == 4
    assert len(fill(chars, CHARS, "the ___ sat", gap_tokens=3).gaps[0].tokens) == 3
    assert len(fill(chars, CHARS, "the ___2 ___", gap_tokens=3).gaps[0].tokens) == 2
    for text in ("the ___ sat", "the _____ sat", "c___t", "___", "the ___"):
        gap = fill(chars, CHARS, text).gaps[0]
        assert 1 <= len(gap.tokens) <= 12
        assert gap.text.isalpha()
        assert len({text for text, _ in gap.alternatives}) == len(gap.alternatives) > 1


def test_a_word_is_found_whatever_its_length():
    """A table that spells: only ``cat`` leads from blank to blank without a rare pair."""
    V = CHARS.vocab_size
    table = np.full((V, V), 1e-4)
    for pair in (" c", "ca", "at", "t "):
        table[tuple(CHARS.encode(pair))] = 1
    filled = fill(Neighbours(table, CHARS.boundary_id), CHARS, "oho ___ oho")
    assert filled.text == "oho cat oho"
    assert filled.gaps[0].alternatives[0][0] == "cat"


def test_a_word_is_no_punctuation_unless_a_token_of_any_kind_is_asked_for():
    tok = tokenizer("word", "the cat , the u.s. dog . ' -\n", pretokenized=True)
    table = np.full((tok.vocab_size,) * 2, 1e-3)
    table[:, tok.encode(", . ' -")] = [1, 0.9, 0.9, 0.9]
    table[:, tok.encode("u.s.")] = 0.1
    model = Neighbours(table, tok.boundary_id)
    assert fill(model, tok, "the ___ dog").text == "the u.s. dog"
    assert fill(model, tok, "the ___1 dog").text == "the , dog"


def test_pieces_bring_their_own_blank():
    model = neighbours(BPE)
    for text in ("the ___ sat", "the ___2 sat"):
        filled = fill(model, BPE, text)
        assert filled.text.startswith("the ")
        assert filled.gaps[0].text.startswith(" ")
        assert filled.text.endswith(" sat")
    assert not fill(model, BPE, "the___ sat").gaps[0].text.startswith(" ")


def test_line_ends_and_unknown_never_fill():
    table = np.full((WORDS.vocab_size,) * 2, 1e-3)
    table[:, [WORDS.boundary_id, WORDS.unk_id]] = 1
    filled = fill(Neighbours(table, WORDS.boundary_id), WORDS, "___5")
    assert not {WORDS.boundary_id, WORDS.unk_id} & {*WORDS.encode(filled.text).tolist()}


def test_sampled_fillings_follow_the_conditional():
    """Chi-square of 1000 fillings of one gap; a right sampler fails with probability 1e-4 at a new seed."""
    model = neighbours(WORDS, seed=3)
    counts = np.zeros(WORDS.vocab_size)
    for seed in range(1000):
        filled = fill(model, WORDS, "the ___ sat", sampler=make_sampler(Sampling()), rng=np.random.default_rng(seed))
        counts[WORDS.encode(filled.gaps[0].text)] += 1
    before, after = WORDS.encode("the sat")
    p = model.table[before] * model.table[:, after]
    p[[WORDS.boundary_id, WORDS.unk_id]] = 0
    expected = p / p.sum() * 1000
    rare = expected < 5  # too few for the statistic: pooled
    got, wanted = (np.append(x[~rare], x[rare].sum()) for x in (counts, expected))
    critical = {2: 15.14, 3: 18.42, 4: 21.11, 5: 23.51, 6: 25.74}[len(got)]
    assert ((got - wanted) ** 2 / np.maximum(wanted, 1)).sum() < critical


def test_only_the_neighbourhood_of_a_gap_is_read(monkeypatch):
    monkeypatch.setattr(module, "CONTEXT", 20)
    model, lengths = neighbours(WORDS), []
    original = model.gap_logits
    monkeypatch.setattr(model, "gap_logits", lambda ids, places: lengths.append(len(ids)) or original(ids, places))
    text = "the cat sat on a mat " * 50
    filled = fill(model, WORDS, text + "___2 " + text + "___ " + text)
    assert len(filled.gaps) == 2
    assert filled.text.startswith(text)
    assert 20 < max(lengths) <= 42


def test_the_same_seed_draws_the_same():
    model = neighbours(CHARS)

    def drawn(seed):
        return fill(model, CHARS, "t___5 s", sampler=make_sampler(Sampling()), rng=np.random.default_rng(seed)).text

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("no gap, only __", {}, "has no gap; mark one with ___"),
        ("a ___0", {}, "a gap has 0 tokens; expected 1 to 256"),
        ("a ___257", {}, "257 tokens"),
        ("a ___", {"gap_tokens": 0}, "0 tokens"),
        ("a ___", {"alternatives": -1}, "alternatives is -1"),
    ],
)
def test_bad_gaps(text, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        fill(neighbours(CHARS), CHARS, text, **options)


def test_the_search_ends(monkeypatch):
    """Conditionals of no joint distribution may chase each other; the search is bounded."""
    calls = []
    V = WORDS.vocab_size

    class Chasing(Neighbours):
        def gap_logits(self, ids, positions=None):
            calls.append(1)
            rng = np.random.default_rng(len(calls))
            count = len(ids) if positions is None else len(positions)
            return rng.normal(0, 5, (count, V)).astype(np.float32)

    fill(Chasing(np.ones((V, V)), WORDS.boundary_id), WORDS, "___3 ___3")
    assert len(calls) < module.SWEEPS * 2 * module.STARTS * (3 + 12 + 1) + 20

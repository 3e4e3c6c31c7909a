"""Scores against closed forms; every policy; the same figures however the text is cut."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import config, tokenizer, weights
from table_models import Neighbours, random_bigram, uniform

from ostinato.engine import BidirectionalEngine, Engine
from ostinato.errors import ConfigError
from ostinato.score import logprob
from ostinato.score.logprob import score_lines, score_text
from ostinato.score.report import Policy, Scored

TEXT = "the cat sat on the mat\nthe dog sat\n\nthe naïve cat ran\n"
PTB = " no it was n't black monday \n but while the <unk> stock \n"
WORDS = tokenizer("word", PTB + TEXT, pretokenized=True)
CHARS = tokenizer("char", TEXT)


def bigram_nats(table, ids, boundary=0):
    return -np.log(table[np.array([boundary, *ids[:-1]]), ids])


def test_a_uniform_model_scores_log_v():
    for tok in (CHARS, WORDS, tokenizer("byte"), tokenizer("bpe", TEXT)):
        V = tok.vocab_size
        scored = score_text(uniform(V, tok.boundary_id), tok, TEXT, tokens=True)
        assert scored.tokens == len(tok.encode(TEXT))
        assert scored.nats == pytest.approx(scored.tokens * math.log(V), rel=1e-6)
        assert scored.perplexity == pytest.approx(V, rel=1e-5)
        assert scored.bits_per_byte == pytest.approx(scored.tokens * math.log2(V) / len(TEXT.encode()), rel=1e-6)
        assert scored.bits_per_char == pytest.approx(scored.tokens * math.log2(V) / len(TEXT), rel=1e-6)
        for token in scored.token_scores:
            assert token.surprisal_bits == pytest.approx(math.log2(V), rel=1e-6)
            assert token.entropy_bits == pytest.approx(math.log2(V), rel=1e-6)
            assert token.rank == 1


def test_a_bigram_model_scores_its_table():
    model = random_bigram(CHARS.vocab_size, CHARS.boundary_id)
    ids = CHARS.encode(TEXT)
    scored = score_text(model, CHARS, TEXT, tokens=True)
    nats = bigram_nats(model.table, ids, CHARS.boundary_id)
    assert scored.nats == pytest.approx(nats.sum(), rel=1e-5)
    rows = model.table[[CHARS.boundary_id, *ids[:-1]]]
    for token, surprisal, row in zip(scored.token_scores, nats, rows, strict=True):
        assert token.surprisal_bits == pytest.approx(surprisal / math.log(2), rel=1e-4)
        assert token.rank == 1 + (row > row[token.id]).sum()
        assert token.entropy_bits == pytest.approx(-(row * np.log2(row)).sum(), rel=1e-4)
        assert TEXT[token.start : token.end] == token.text
        assert CHARS.encode(token.text).tolist() == [token.id]


def test_the_penn_treebank_convention():
    """Blank-separated words, a scored end for each line: perplexity and word perplexity are the field's."""
    model = random_bigram(WORDS.vocab_size)
    scored = score_text(model, WORDS, PTB)
    assert (scored.tokens, scored.words, scored.oov) == (13, 13, 1)
    assert scored.perplexity == scored.word_perplexity
    ids = WORDS.encode(PTB)
    assert scored.perplexity == pytest.approx(math.exp(bigram_nats(model.table, ids).mean()), rel=1e-5)
    assert (scored.chars, scored.bytes) == (len(PTB), len(PTB.encode()))


def test_line_ends_may_be_left_out():
    model = random_bigram(WORDS.vocab_size)
    scored = score_text(model, WORDS, PTB, line_end=False)
    ids = WORDS.encode(PTB)
    nats = bigram_nats(model.table, ids)
    assert (scored.tokens, scored.words) == (11, 11)
    assert scored.nats == pytest.approx(nats[ids != WORDS.boundary_id].sum(), rel=1e-5)
    assert scored.chars == len(PTB) - 2
    assert not scored.policy.line_end


def test_unknown_tokens_are_counted_or_skipped():
    text = "the zebra sat\nthe Ünknown cat-zebra\n"
    model = random_bigram(WORDS.vocab_size)
    ids = WORDS.encode(text)
    nats = bigram_nats(model.table, ids)
    counted, skipped = score_text(model, WORDS, text), score_text(model, WORDS, text, unk="skip", tokens=True)
    assert counted.oov == skipped.oov == 3
    assert (counted.tokens, skipped.tokens) == (8, 5)
    assert (counted.words, skipped.words) == (8, 5)
    assert counted.nats == pytest.approx(nats.sum(), rel=1e-5)
    assert skipped.nats == pytest.approx(nats[ids != WORDS.unk_id].sum(), rel=1e-5)
    assert counted.bytes == len(text.encode())
    assert skipped.bytes == len(text.encode()) - len("zebraÜnknowncat-zebra".encode())
    assert [token.text for token in skipped.token_scores] == ["the", "sat", "\n", "the", "\n"]
    characters = score_text(random_bigram(CHARS.vocab_size), CHARS, "the zoo\n", unk="skip")
    assert (characters.oov, characters.tokens, characters.words) == (1, 7, 3)


def engine(tok, **changes):
    model = config(vocab=tok.vocab_size, **changes)
    kind = BidirectionalEngine if model.bidirectional else Engine
    return kind(model, weights(model), tok.boundary_id)


def close(got, expected):
    """All counts alike, nats within float32 rounding."""
    assert {**vars(got), "nats": 0, "token_scores": ()} == {**vars(expected), "nats": 0, "token_scores": ()}
    assert got.nats == pytest.approx(expected.nats, rel=1e-5)
    assert [t.start for t in got.token_scores] == [t.start for t in expected.token_scores]
    for one, other in zip(got.token_scores, expected.token_scores, strict=True):
        assert one.surprisal_bits == pytest.approx(other.surprisal_bits, rel=1e-3, abs=1e-4)
        assert one.rank == other.rank
        assert one.entropy_bits == pytest.approx(other.entropy_bits, rel=1e-3)


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
def test_reset_scores_every_line_as_if_alone(level):
    tok = tokenizer(level, TEXT)
    model = engine(tok)
    lines = (TEXT * 30 + "the end").splitlines(keepends=True)
    alone = [score_text(model, tok, line, tokens=True) for line in lines]
    got = list(score_lines(model, tok, "".join(lines), state="reset", tokens=True))
    assert len(got) == len(lines)
    for one, other in zip(got, alone, strict=True):
        assert one.nats == pytest.approx(other.nats, rel=1e-5)
        assert [t.text for t in one.token_scores] == [t.text for t in other.token_scores]
        assert [t.surprisal_bits for t in one.token_scores] == pytest.approx(
            [t.surprisal_bits for t in other.token_scores], rel=1e-3, abs=1e-4
        )
    total = score_text(model, tok, "".join(lines), state="reset")
    assert total.nats == pytest.approx(sum(line.nats for line in alone), rel=1e-5)
    carried = score_text(model, tok, "".join(lines))
    assert carried.nats != pytest.approx(total.nats, rel=1e-4)


@pytest.mark.parametrize("state", ["carry", "reset"])
@pytest.mark.parametrize("text", ["", "  ", "\n  "])
def test_blanks_are_no_words_and_no_mistake(state, text):
    scored = score_text(engine(WORDS), WORDS, text, state=state)
    assert (scored.tokens, scored.chars) == (text.count("\n"), len(text))


@pytest.mark.parametrize("state", ["carry", "reset"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_lines_add_up_to_the_text(level, bidirectional, state):
    tok = tokenizer(level, TEXT)
    model = engine(tok, bidirectional=bidirectional)
    for text in (TEXT, TEXT + "the end", "\n\n", "no line end", "  \n the   cat \n  "):
        whole = score_text(model, tok, text, state=state, tokens=True)
        lines = list(score_lines(model, tok, text, state=state, tokens=True))
        assert len(lines) == len(text.splitlines())
        assert sum(line.chars for line in lines) == whole.chars == len(text)
        assert whole.bytes == len(text.encode())
        assert whole.policy.pseudo is bidirectional
        close(Scored.total(lines, whole.policy), whole)
        for line, own in zip(lines, text.splitlines(keepends=True), strict=True):
            assert line.chars == len(own)
            assert line.words == len(own.split()) + own.endswith("\n")


@pytest.mark.parametrize("state", ["carry", "reset"])
@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_a_stream_of_chunks_is_the_whole_text(monkeypatch, level, state):
    """In pieces as small as a word, and with lines longer than a piece."""
    tok = tokenizer(level, TEXT)
    model = engine(tok)
    text = TEXT * 5 + "the cat sat on " * 9 + "\n" + TEXT
    whole = score_text(model, tok, text, state=state, tokens=True)
    monkeypatch.setattr(logprob, "PIECE", 25)
    monkeypatch.setattr(logprob, "SCORES", 40)
    monkeypatch.setattr(logprob, "LANES", 3)
    for size in (1, 7, 1000):
        chunks = [text[k : k + size] for k in range(0, len(text), size)]
        close(score_text(model, tok, iter(chunks), state=state, tokens=True), whole)
        lines = list(score_lines(model, tok, iter(chunks), state=state))
        assert len(lines) == len(text.splitlines())
        assert sum(line.nats for line in lines) == pytest.approx(whole.nats, rel=1e-5)


def test_memory_is_flat():
    """Never more than a bounded number of steps are asked of the model at once."""
    model = uniform(CHARS.vocab_size)
    score_text(model, CHARS, iter([TEXT] * 4000))
    assert model.longest_run <= logprob.PIECE


@settings(max_examples=40, deadline=None)
@given(st.text(st.sampled_from("ab \n\u00e9\u4e2d\U0001f600\r\u2028"), max_size=80), st.data())
def test_counts_on_any_text(text, data):
    level = data.draw(st.sampled_from(["char", "byte", "word", "bpe"]))
    tok = tokenizer(level, TEXT)
    scored = score_text(uniform(tok.vocab_size, tok.boundary_id), tok, text)
    assert scored.tokens == len(tok.encode(text))
    assert (scored.chars, scored.bytes) == (len(text), len(text.encode()))
    assert scored.words == len(text.split()) + text.count("\n")
    assert scored.nats == pytest.approx(scored.tokens * math.log(tok.vocab_size), rel=1e-6)


def test_a_pseudo_score_uses_both_sides():
    table = np.random.default_rng(0).dirichlet(np.full(CHARS.vocab_size, 0.5), CHARS.vocab_size) + 1e-3
    model, ids = Neighbours(table, CHARS.boundary_id), CHARS.encode(TEXT)
    scored = score_text(model, CHARS, TEXT)
    framed = [CHARS.boundary_id, *ids, CHARS.boundary_id]
    nats = 0.0
    for before, token, after in zip(framed, framed[1:], framed[2:], strict=False):
        p = table[before] * table[:, after]
        nats -= math.log(p[token] / p.sum())
    assert scored.nats == pytest.approx(nats, rel=1e-5)
    assert scored.name == "pseudo-perplexity"
    assert "pseudo_perplexity" in scored.to_json()
    assert "perplexity" not in scored.to_json()


def test_nothing_to_score():
    scored = score_text(uniform(CHARS.vocab_size), CHARS, "")
    assert (scored.nats, scored.tokens, scored.chars) == (0, 0, 0)
    assert math.isnan(scored.perplexity)
    assert scored.to_json()["perplexity"] is None
    assert list(score_lines(uniform(CHARS.vocab_size), CHARS, "")) == []


def test_units():
    scored = Scored(nats=math.log(2) * 12, tokens=4, chars=6, bytes=8, words=2, oov=0)
    assert scored.bits == pytest.approx(12)
    assert scored.perplexity == pytest.approx(8)
    assert scored.word_perplexity == pytest.approx(64)
    assert (scored.bits_per_char, scored.bits_per_byte) == pytest.approx((2, 1.5))
    assert scored.name == "perplexity"
    assert Scored(nats=1e9, tokens=1, chars=1, bytes=1, words=1, oov=0).to_json()["perplexity"] is None
    both = scored + scored
    assert (both.nats, both.tokens, both.bytes) == (2 * scored.nats, 8, 16)
    assert both.perplexity == pytest.approx(scored.perplexity)


def test_scores_taken_in_different_ways_do_not_add_up():
    scored = Scored(nats=1, tokens=1, chars=1, bytes=1, words=1, oov=0)
    with pytest.raises(ConfigError, match="do not add up"):
        scored + Scored(**{**vars(scored), "policy": Policy("reset")})
    with pytest.raises(ConfigError, match="state is 'rest'; expected carry or reset"):
        score_text(uniform(CHARS.vocab_size), CHARS, "a", state="rest")
    with pytest.raises(ConfigError, match="unk is"):
        score_text(uniform(CHARS.vocab_size), CHARS, "a", unk="drop")

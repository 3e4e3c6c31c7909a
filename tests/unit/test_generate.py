"""Generation: what is drawn, what is shown, and when it ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import tokenizer
from table_models import Bigram, random_bigram

from ostinato.decode.generate import StopFilter, generate, stream_rng
from ostinato.decode.sampling import RECENT
from ostinato.errors import ConfigError
from ostinato.types import Sampling

CHARS = tokenizer("char", "abcdefg")


def write(model, tokens=50, *, seed=0, index=0, temperature=1.0, tok=CHARS, **options):
    controls = {name: options.pop(name) for name in ("repetition_penalty", "no_repeat_ngram") if name in options}
    how, rng = Sampling(temperature, **controls), stream_rng(seed, index)
    return list(generate(model, tok, model.start(), how=how, rng=rng, tokens=tokens, **options))


def text_of(made):
    return "".join(token.text for token in made)


def spell(text):
    """A model that writes ``text`` and nothing else; no letter of it comes twice."""
    table = np.full((CHARS.vocab_size,) * 2, 1e-12)
    ids = [CHARS.boundary_id, *CHARS.encode(text).tolist(), CHARS.boundary_id]
    table[ids[:-1], ids[1:]] = 1
    return Bigram(table, CHARS.boundary_id)


def test_tokens_follow_the_model():
    """Chi-square of 20,000 bigrams against the table; a right generator fails with probability 1e-4 at a new seed."""
    model = random_bigram(3)
    made = write(model, 20_000, tok=tokenizer("char", "a"))
    ids = [0, *(token.id for token in made)]
    counts = np.zeros((3, 3))
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    expected = model.table * counts.sum(axis=1, keepdims=True)
    assert ((counts - expected) ** 2 / expected).sum() < 27.86  # 6 degrees of freedom


def test_the_state_has_read_what_was_written():
    model = random_bigram(CHARS.vocab_size)
    for count, token in enumerate(write(model, 10), start=1):
        assert token.state.arrays["last"][0, 0] == token.id
        assert token.state.arrays["count"][0, 0] == count


def test_log_probabilities_are_the_models_own():
    model = random_bigram(CHARS.vocab_size)
    for options in ({}, {"temperature": 0.3}, {"banned": [3, 4]}):
        last = 0
        for token in write(model, 30, **options):
            assert token.logprob == pytest.approx(np.log(model.table[last, token.id]), rel=1e-5)
            last = token.id


def test_banned_tokens_never_come():
    model = random_bigram(CHARS.vocab_size)
    assert not {3, 4} & {token.id for token in write(model, 300, banned=[3, 4])}
    first = {write(model, 1, seed=seed, banned_first=[0, 1, 2, 3])[0].id for seed in range(100)}
    assert first == set(range(4, CHARS.vocab_size))
    assert {0, 1, 2, 3} <= {token.id for token in write(model, 300, banned_first=[0, 1, 2, 3])}


def test_a_seed_and_an_index_make_a_sample():
    model = random_bigram(CHARS.vocab_size)
    ids = {
        key: tuple(t.id for t in write(model, seed=key[0], index=key[1])) for key in [(0, 0), (0, 1), (1, 0), (1, 1)]
    }
    assert len({*ids.values()}) == 4
    assert ids[0, 1] == tuple(token.id for token in write(model, seed=0, index=1))
    assert ids[0, 1][:20] == tuple(token.id for token in write(model, 20, seed=0, index=1))
    with pytest.raises(ConfigError, match="seed is -1"):
        stream_rng(-1)


def test_greedy_takes_the_likeliest():
    assert text_of(write(spell("gfa"), 4, temperature=0)) == "gfa\n"


class TestRepetition:
    LETTERS = tokenizer("char", "".join(map(chr, range(0x4E00, 0x4E00 + 200))))

    @pytest.mark.parametrize("n", [2, 3])
    def test_no_sequence_comes_twice_within_the_window(self, n):
        """A model of a few letters, which by itself repeats all the time; a line end may come again."""
        model, V = random_bigram(12), 12
        for options, holds in (({"no_repeat_ngram": n}, True), ({}, False)):
            ids = [token.id for token in write(model, 300, tok=self.LETTERS, banned=range(V, V), **options)]
            last: dict[tuple[int, ...], int] = {}
            gaps = []
            for at in range(n, len(ids) + 1):
                gram = tuple(ids[at - n : at])
                if gram in last and gram[-1] != self.LETTERS.boundary_id:
                    gaps.append(at - last[gram])
                last[gram] = at
            assert (min(gaps, default=RECENT) > RECENT - n) is holds

    def test_a_letter_may_come_again_after_the_window(self):
        V = self.LETTERS.vocab_size
        model = Bigram(np.tile(np.linspace(1, 5, V), (V, 1)), self.LETTERS.boundary_id)
        made = write(model, 400, tok=self.LETTERS, no_repeat_ngram=1, banned=[self.LETTERS.boundary_id])
        ids = np.array([token.id for token in made])
        gaps = np.concatenate([np.diff(np.flatnonzero(ids == token)) for token in np.unique(ids)])
        assert gaps.min() == RECENT + 1

    def test_the_line_end_is_spared(self):
        """Of equal scores the line end is first, so it is what is left when the letters are used up."""
        assert text_of(write(spell("ab"), 6, temperature=0)) == "ab\nab\n"
        assert text_of(write(spell("ab"), 6, temperature=0, no_repeat_ngram=1)) == "ab\n\n\n\n"

    def test_a_loop_is_left(self):
        """A letter that follows itself with probability 0.6, and another is next: greedy, a penalty lets that come."""
        V = CHARS.vocab_size
        table = 0.6 * np.eye(V) + 0.3 * np.eye(V)[[*range(1, V), 0]] + 0.1 / V
        model = Bigram(table, CHARS.boundary_id)
        assert [token.id for token in write(model, 4, temperature=0)] == [0] * 4
        assert [token.id for token in write(model, 4, temperature=0, repetition_penalty=3)] == [0, 0, 0, 0]
        first = {"banned_first": [0], "temperature": 0}
        assert [token.id for token in write(model, 4, **first)] == [1] * 4
        assert [token.id for token in write(model, 4, **first, repetition_penalty=3)] == [1, 2, 3, 4]

    def test_what_was_written_before_counts(self):
        model, end = spell("abc"), CHARS.boundary_id
        a, b, _ = CHARS.encode("abc").tolist()
        for recent, same in (([], True), ([b, a, end], True), ([a, b, end], False), ([a, b, *[end] * RECENT], True)):
            assert (text_of(write(model, 2, temperature=0, no_repeat_ngram=2, recent=recent)) == "ab") is same

    def test_log_probabilities_stay_the_models_own(self):
        model, last = random_bigram(CHARS.vocab_size), 0
        for token in write(model, 30, repetition_penalty=3, no_repeat_ngram=2):
            assert token.logprob == pytest.approx(np.log(model.table[last, token.id]), rel=1e-5)
            last = token.id


@pytest.mark.parametrize(
    ("stop", "shown", "tokens"),
    [
        (["d"], "abc", 4),
        (["cd"], "ab", 4),
        (["ce", "de"], "abc", 5),
        (["abcdefg\n"], "", 8),
        (["fgx"], "abcdefg\n", 8),
        (["bcx", "bcd"], "a", 4),
        (["cd", "bcde"], "ab", 4),
        (["e", "cde"], "ab", 5),
        ([], "abcdefg\n", 8),
    ],
)
def test_stop_strings(stop, shown, tokens):
    made = write(spell("abcdefg"), 8, stop=stop)
    assert text_of(made) == shown
    assert len(made) == tokens
    so_far = ""
    for token in made:
        so_far += token.text
        assert not any(so_far.endswith(s) for s in stop)
        assert shown.startswith(so_far)


def test_what_was_held_back_comes_when_the_tokens_end():
    made = write(spell("abcdefg"), 3, stop=["bcdx"])
    assert [token.text for token in made] == ["a", "", "bc"]


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ConfigError, match="stop string is empty"):
        write(spell("abc"), stop=["x", ""])


@given(
    st.lists(st.text("ab", max_size=4), max_size=12),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_the_filter_shows_everything_before_the_first_stop(pieces, stops):
    whole, stop_filter, shown = "".join(pieces), StopFilter(stops), ""
    places = [(whole.find(stop), stop) for stop in stops if stop in whole]
    for piece in pieces:
        shown += stop_filter.push(piece)
        if stop_filter.stopped:
            break
    if not places:
        assert not stop_filter.stopped
        assert shown + stop_filter.finish() == whole
    else:
        assert stop_filter.stopped
        assert not any(stop in shown for stop in stops)
        assert whole.startswith(shown)
        assert any(whole[len(shown) :].startswith(stop) for stop in stops)


def test_bytes_are_shown_as_whole_characters():
    tok = tokenizer("byte")
    data = "é😀b".encode()
    table = np.full((256, 256), 1e-12)
    ids = [10, *data, 10]
    table[ids[:-1], ids[1:]] = 1
    model = Bigram(table, 10)
    assert [token.text for token in write(model, 8, tok=tok)] == ["", "é", "", "", "", "😀", "b", "\n"]
    assert [token.text for token in write(model, 4, tok=tok)] == ["", "é", "", "\N{REPLACEMENT CHARACTER}"]
    assert text_of(write(model, 8, tok=tok, stop=["😀"])) == "é"

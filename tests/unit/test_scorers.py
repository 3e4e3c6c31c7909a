"""Words under a recurrent model: whatever the tokens, a sentence costs what its text does."""

import numpy as np
import pytest
from small_models import config, tokenizer, weights

from ostinato.engine import make_engine
from ostinato.engine.engine import Engine
from ostinato.errors import ConfigError
from ostinato.score.logprob import score_text
from ostinato.score.recurrent import RecurrentScorer
from ostinato.score.sentences import score_sentences, score_words

SENTENCES = ["to be or not", "to be", "to suffer the question", "", "or not to be zebra"]


def model(level, cell="lstm", **options):
    tokens = tokenizer(level, **options)
    setup = config(vocab=tokens.vocab_size, cell=cell)
    return make_engine(setup, weights(setup, seed=3), tokens.boundary_id), tokens


def scorer(level, **options):
    return RecurrentScorer(*model(level, **options))


@pytest.mark.parametrize(
    ("level", "options"),
    [("word", {"pretokenized": True}), ("word", {"lower": True}), ("char", {}), ("byte", {}), ("bpe", {"vocab": 270})],
)
def test_a_sentence_costs_what_its_text_does(level, options):
    engine, tokens = model(level, **options)
    expected = [-score_text(engine, tokens, sentence + "\n").nats for sentence in SENTENCES]
    got = score_sentences(RecurrentScorer(engine, tokens), [sentence.split() for sentence in SENTENCES])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_words_are_forgotten_again(monkeypatch):
    monkeypatch.setattr("ostinato.score.recurrent.REMEMBERED", 3)
    few, many = scorer("char"), RecurrentScorer(*model("char"))
    words = [f"be{'o' * n}" for n in range(9)]
    assert [few.tokens(word, first=False) for word in words] == [many.tokens(word, first=False) for word in words]
    assert few._encode.cache_info().currsize == 3


def test_the_blank_belongs_to_the_word_and_the_first_has_none():
    words = scorer("char")
    first, later = words.tokens("to", first=True), words.tokens("to", first=False)
    assert later[1:] == first
    assert words._tokenizer.decode(later) == " to"


def test_many_states_at_once_are_scored_as_each_alone():
    """Of different batches, lengths and order, some twice."""
    words = scorer("char", cell="gru")
    a = words.extend([words.begin()] * 3, ["be", "not", "to"])[1]
    b = words.extend([a[2], a[0]], ["suffer", "the"])[1]
    states, following = [b[1], a[1], words.begin(), b[0], b[1]], ["or", "a", "question", "be", "tob"]
    scores, after = words.extend(states, following)
    for n, (state, word) in enumerate(zip(states, following, strict=True)):
        alone, (reached,) = words.extend([state], [word])
        assert alone[0] == pytest.approx(scores[n], rel=1e-5)
        assert reached == after[n]
    np.testing.assert_allclose(words.end(after), [words.end([one])[0] for one in after], rtol=1e-5)


def test_states_are_equal_when_the_same_words_led_there():
    words = scorer("word", pretokenized=True)
    begin = words.begin()
    one, two = words.extend([begin, begin], ["to", "be"])[1]
    again = words.extend([begin], ["to"])[1][0]
    assert one == again
    assert hash(one) == hash(again)
    assert len({begin, one, two, again}) == 3
    assert words.extend([one], ["be"])[1] != words.extend([two], ["to"])[1]


def test_what_sentences_share_is_computed_once():
    class Counting(Engine):
        rows = 0

        def read(self, ids, state):
            Counting.rows += ids.size
            return super().read(ids, state)

    tokens = tokenizer("word", pretokenized=True)
    setup = config(vocab=tokens.vocab_size)
    words = RecurrentScorer(Counting(setup, weights(setup), tokens.boundary_id), tokens)
    shared = [["to", "be", "or"], ["to", "be", "not"], ["to", "be"], ["to", "be", "or"], ["or"]]
    scores = score_words(words, shared)
    assert Counting.rows == 5  # to, or; to be; to be or, to be not
    assert [len(one) for one in scores] == [4, 4, 3, 4, 2]
    np.testing.assert_array_equal(scores[0], scores[3])
    assert scores[0][2] != scores[1][2]


def test_words_and_pieces_of_words_are_known():
    assert "to" in scorer("word", pretokenized=True)
    assert "zebra" not in scorer("word", pretokenized=True)
    assert "nobel" in scorer("char")
    assert "Z" not in scorer("char")
    assert "Ζεύς" in scorer("bpe", vocab=270)


def test_an_unknown_word_is_scored_as_unk():
    words = scorer("word", pretokenized=True)
    begin = words.begin()
    known, unknown, unk = (words.extend([begin], [word])[0][0] for word in ("to", "zebra", "<unk>"))
    assert unknown == unk != known
    assert words.extend([begin], ["\u00a0"])[0][0] == unk
    assert "\u00a0" not in words


@pytest.mark.parametrize("word", ["", " ", "to be", "a\nb"])
def test_what_is_no_word_is_refused(word):
    words = scorer("char")
    with pytest.raises(ConfigError, match="is not a word"):
        words.extend([words.begin()], [word])


def test_scores_are_taken_in_bounded_memory(monkeypatch):
    words = scorer("char")
    whole = score_sentences(words, [one.split() for one in SENTENCES])
    monkeypatch.setattr("ostinato.score.recurrent.SCORES", 1)
    np.testing.assert_allclose(score_sentences(words, [one.split() for one in SENTENCES]), whole, rtol=1e-6)


def test_the_end_can_be_left_out():
    words = scorer("char")
    sentence = ["to", "be"]
    with_end, without = (score_words(words, [sentence], end=end)[0] for end in (True, False))
    np.testing.assert_array_equal(with_end[:-1], without)
    assert score_words(words, []) == []

"""``ostinato.kenlm`` beside ``kenlm``: the same calls on the same file, the same answers."""

import copy
import math

import numpy as np
import pytest
from small_models import write_folder

import ostinato
import ostinato.kenlm as ours
from ostinato.errors import ConfigError
from ostinato.score.kneser_ney import learn_arpa

theirs = pytest.importorskip("kenlm")

WORDS = ["the", "cat", "dog", "sat", "on", "a", "mat", "that"]


def sentences(count, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(count)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kenlm")
    (folder / "text").write_text("\n".join(sentences(60, 0)) + "\nthe NO-BREAK dog" * 3 + "\n")
    learn_arpa([folder / "text"], folder / "x.arpa", order=4, min_count=2)
    arpa = (folder / "x.arpa").read_text()
    (folder / "x.arpa").write_text(arpa.replace("NO-BREAK", NO_BREAK))
    return ours.Model(str(folder / "x.arpa")), theirs.Model(str(folder / "x.arpa"))


NO_BREAK = "the\u00a0cat"
"""One word: only blanks of ASCII part words."""
TESTED = [
    NO_BREAK,
    f"{NO_BREAK} the\u2003dog",
    *sentences(40, 1),
    "",
    "zebra",
    "the zebra sat",
    "zebra zebra the cat",
    "<unk> the",
    "cat " * 40,
]


@pytest.mark.parametrize(("bos", "eos"), [(True, True), (True, False), (False, True), (False, False)])
def test_scores_are_the_same(both, bos, eos):
    model, reference = both
    for sentence in TESTED:
        assert model.score(sentence, bos, eos) == pytest.approx(reference.score(sentence, bos, eos), abs=1e-3)
        got = list(model.full_scores(sentence, bos, eos))
        expected = list(reference.full_scores(sentence, bos, eos))
        assert [word[1:] for word in got] == [word[1:] for word in expected]
        np.testing.assert_allclose([w[0] for w in got], [w[0] for w in expected], atol=1e-5)


def test_perplexities_orders_and_vocabularies_are_the_same(both):
    model, reference = both
    assert model.order == reference.order == 4
    assert model.path == reference.path.decode()
    for sentence in TESTED:
        assert model.perplexity(sentence) == pytest.approx(reference.perplexity(sentence), rel=1e-3)
    for word in [*WORDS, "zebra", "<unk>", "<s>", "</s>", ""]:
        assert (word in model) == (word in reference)


def test_bytes_are_taken_as_theirs_are(both):
    model, reference = both
    path = str(reference.path.decode()).encode()
    same = ours.Model(path, ours.Config())
    for sentence in (b"the zebra sat", NO_BREAK.encode(), b""):
        assert model.score(sentence) == same.score(sentence) == pytest.approx(reference.score(sentence), abs=1e-3)
        assert model.score(sentence) == model.score(sentence.decode())
        assert list(model.full_scores(sentence)) == list(model.full_scores(sentence.decode()))
        assert model.perplexity(sentence) == model.perplexity(sentence.decode())
    assert b"the" in model
    assert (b"zebra" in model) == (b"zebra" in reference) == ("zebra" in model)
    state, after, other = ours.State(), ours.State(), ours.State()
    model.BeginSentenceWrite(state)
    assert model.BaseScore(state, b"the", after) == model.BaseScore(state, "the", other)
    assert after == other
    with pytest.raises(ConfigError, match=r"byte 2 of b'a\\xff' is not UTF-8"):
        model.score(b"a\xff")


@pytest.mark.parametrize("begin", ["BeginSentenceWrite", "NullContextWrite"])
def test_states_are_equal_where_theirs_are(both, begin):
    """Every state on the way through many sentences, compared with every other."""
    reached = []
    for module, model in zip((ours, theirs), both, strict=True):
        states, scores = [], []
        for sentence in TESTED[:14]:
            state = module.State()
            getattr(model, begin)(state)
            for word in sentence.split():
                after = module.State()
                scores.append(model.BaseScore(state, word, after))
                full = model.BaseFullScore(state, word, module.State())
                assert full.log_prob == pytest.approx(scores[-1], abs=1e-6)
                states.append((after, full.ngram_length, full.oov))
                state = after
        reached.append((states, scores))
    (mine, scores), (other, expected) = reached
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert [one[1:] for one in mine] == [one[1:] for one in other]
    for a, x in zip(mine, other, strict=True):
        for b, y in zip(mine, other, strict=True):
            assert (a[0] == b[0]) == (x[0] == y[0])
            assert (a[0] <= b[0] and a[0] >= b[0]) == (x[0] <= y[0] and x[0] >= y[0])
            assert a[0] != b[0] or hash(a[0]) == hash(b[0])


def test_a_state_is_copied_and_written_over(both):
    model, _ = both
    state, after = ours.State(), ours.State()
    model.BeginSentenceWrite(state)
    kept = [state.copy(), copy.copy(state), copy.deepcopy(state)]
    model.BaseScore(state, "the", after)
    assert state == kept[0] == kept[1] == kept[2] != after
    model.BaseScore(state, "the", state)  # the same one in and out
    assert state == after
    assert (state < kept[0]) != (kept[0] < state)


def test_a_state_that_was_never_written_is_refused(both):
    with pytest.raises(ConfigError, match="never written"):
        both[0].BaseScore(ours.State(), "the", ours.State())


@pytest.mark.parametrize("level", ["word", "char"])
def test_a_recurrent_model_has_the_same_manners(tmp_path, level):
    folder = write_folder(tmp_path / "model", level)
    model, lm = ours.LanguageModel(str(folder)), ostinato.load(folder)
    sentence = "to be or zebra"
    nats = lm.score(sentence + "\n").nats
    assert model.score(sentence) == pytest.approx(-nats / math.log(10), rel=1e-5)
    assert model.perplexity(sentence) == pytest.approx(math.exp(nats / 5), rel=1e-5)
    full = list(model.full_scores(sentence))
    assert [word[1] for word in full] == [2, 3, 4, 5, 6]
    assert [word[2] for word in full] == [False, False, False, True, False]  # no level has the z
    assert sum(word[0] for word in full[:-1]) == pytest.approx(model.score(sentence, eos=False))
    assert "to" in model
    assert "</s>" in model
    assert "" not in model
    assert "to be" not in model
    # A blank that is none of ASCII's parts no words, as with kenlm.
    assert len(list(model.full_scores("to\u00a0be or\u3000not"))) == 3
    assert math.isfinite(model.score("to\u00a0be or\u3000not"))
    assert model.order == 0
    state, after = ours.State(), ours.State()
    model.BeginSentenceWrite(state)
    assert model.BaseScore(state, "to", after) == pytest.approx(full[0][0], rel=1e-6)
    assert after != state

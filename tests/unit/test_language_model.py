"""The Python face: a folder in, text and scores out."""

import subprocess
import sys

import numpy as np
import pytest
from small_models import TEXT, config, tokenizer, weights, write_folder

import ostinato
from ostinato.errors import BundleError, ConfigError, TextError
from ostinato.kernels import native
from ostinato.language_model import LanguageModel
from ostinato.types import State

LEVELS = ("char", "byte", "word", "bpe")


@pytest.fixture(params=LEVELS)
def lm(request, tmp_path):
    return ostinato.load(write_folder(tmp_path / "m", request.param))


def test_generate_is_the_stream(lm):
    pieces = list(lm.stream("to be ", 60, temperature=0.9, seed=3))
    assert len(pieces) > 1
    assert "".join(pieces) == lm.generate("to be ", 60, temperature=0.9, seed=3)
    assert lm.generate("to be ", 60, seed=4) != lm.generate("to be ", 60, seed=5)
    assert len({lm.generate(tokens=30) for _ in range(3)}) > 1


def test_the_state_goes_on_where_it_stopped(lm):
    """Written in two goes from a state, the tokens are those of one go."""
    whole = [token.id for token in lm.stream_tokens("to be", 20, temperature=0)]
    first = list(lm.stream_tokens("to be", 12, temperature=0))
    assert lm.state == first[-1].state
    second = list(lm.stream_tokens("", 8, temperature=0, state=lm.state))
    assert [token.id for token in [*first, *second]] == whole
    forked = [lm.generate(tokens=20, state=first[-1].state, seed=seed) for seed in (1, 2, 1)]
    assert forked[0] == forked[2] != forked[1]


def test_a_prompt_is_read(lm):
    start = lm.start()
    state = lm.start("to be, or")
    assert lm.state is state
    assert state != start
    ids = lm.tokenizer.encode("to be, or")
    _, expected = lm.engine.run(ids[:, None], lm.engine.start())
    for name, array in state.arrays.items():
        np.testing.assert_allclose(array, expected.arrays[name], atol=1e-5)
    assert lm.generate("to be", 20, seed=1) == lm.generate(tokens=20, seed=1, state=lm.start("to be"))


@pytest.mark.parametrize("level", ["char", "word"])
def test_log_probabilities_are_the_scores(tmp_path, level):
    """What writing says a text costs is what scoring says."""
    lm = ostinato.load(write_folder(tmp_path / "m", level))
    made = list(lm.stream_tokens("to be", 12, seed=1))
    scored = lm.score("to be" + "".join(token.text for token in made))
    assert [token.id for token in scored.token_scores][-12:] == [token.id for token in made]
    bits = [token.surprisal_bits for token in scored.token_scores][-12:]
    np.testing.assert_allclose(bits, [-token.logprob / np.log(2) for token in made], rtol=1e-3)


def test_one_blank_after_a_prompt_that_ends_in_one(tmp_path):
    for level in ("word", "bpe"):
        lm = ostinato.load(write_folder(tmp_path / level, level))
        for seed in range(20):
            assert not lm.generate("to be ", 3, seed=seed).startswith(" ")
        assert any(lm.generate("to be", 3, seed=seed).startswith(" ") for seed in range(20))
    lm = ostinato.load(tmp_path / "bpe")
    first = {next(lm.stream_tokens("to be ", 1, seed=seed)).id for seed in range(40)}
    assert all(lm.tokenizer.piece(token).startswith(b" ") for token in first)


def test_only_the_controls_of_repetition_leave_the_fast_path(lm, monkeypatch):
    """Sequences of 128 tokens cannot repeat in 40, so the same numbers draw the same tokens on both paths."""

    def ids(**controls):
        return [token.id for token in lm.stream_tokens("to be", 40, seed=1, temperature=0.5, **controls)]

    fast = ids()
    assert ids(no_repeat_ngram=128) == fast
    assert fast not in (ids(no_repeat_ngram=1), ids(repetition_penalty=5.0))
    if native.available():
        monkeypatch.setattr(lm.engine, "step", None)
        assert ids() == fast


def test_unknown_is_never_written(tmp_path):
    for level in ("char", "word"):
        lm = ostinato.load(write_folder(tmp_path / level, level))
        ids = {token.id for token in lm.stream_tokens(tokens=400, temperature=3, seed=1)}
        assert lm.tokenizer.unk_id not in ids
        assert len(ids) > 10


def test_unknown_characters_in_a_prompt_are_named(tmp_path):
    lm = ostinato.load(write_folder(tmp_path / "m", "char"))
    with pytest.raises(TextError, match=r"2 characters that the model never saw: 'Z', '中'; .*--allow-unknown"):
        lm.stream("Zorn 中Z")
    assert isinstance(lm.generate("Zorn", 5, allow_unknown=True), str)
    with pytest.raises(TextError, match=r"1 word that .*: 'zebra'"):
        ostinato.load(write_folder(tmp_path / "w", "word")).start("the zebra")
    assert lm.score("Zorn 中Z").oov == 3
    assert lm.unknown("Zorn 中Z") == ["Z", "中"]
    assert ostinato.load(write_folder(tmp_path / "b", "byte")).unknown("Zorn 中Z") == []


def test_bad_settings_are_refused_at_once(lm):
    for options in (
        {"temperature": -1},
        {"top_k": 0},
        {"tokens": -1},
        {"seed": -5},
        {"repetition_penalty": 0.5},
        {"no_repeat_ngram": -1},
    ):
        with pytest.raises(ConfigError):
            lm.stream("to be", **options)
    with pytest.raises(TypeError):
        lm.stream("to be", temprature=1)


def test_scores(lm):
    scored = lm.score(TEXT)
    assert scored.bytes == len(TEXT.encode())
    assert len(scored.token_scores) == scored.tokens
    lines = list(lm.score_lines(TEXT))
    assert sum(line.nats for line in lines) == pytest.approx(scored.nats, rel=1e-5)
    assert lm.score(TEXT, tokens=False).token_scores == ()
    assert lm.score(TEXT, state="reset", unk="skip", line_end=False).policy.state == "reset"


def test_states_are_files(lm, tmp_path):
    with pytest.raises(ConfigError, match="no state to save"):
        lm.save_state(tmp_path / "s")
    lm.generate("to be", 10)
    saved = lm.state
    lm.save_state(tmp_path / "s")
    lm.start()
    assert isinstance(saved, State)
    assert lm.load_state(tmp_path / "s") == saved == lm.state


def test_a_bidirectional_model_fills_and_scores_but_cannot_write(tmp_path):
    lm = ostinato.load(write_folder(tmp_path / "m", "word", bidirectional=True))
    filled = lm.fill("to be or ___ to be")
    assert filled.text == f"to be or {filled.gaps[0].text} to be"
    assert lm.fill("to ___2 be", temperature=1, seed=1) == lm.fill("to ___2 be", temperature=1, seed=1)
    assert lm.score("to be").policy.pseudo
    for attempt in (lm.start, lm.generate, lm.stream, lambda: lm.save_state(tmp_path / "s")):
        with pytest.raises(ConfigError, match="cannot write on"):
            attempt()


def test_a_model_that_reads_forward_cannot_fill(lm):
    with pytest.raises(ConfigError, match="--bidirectional"):
        lm.fill("to ___")


def test_a_tokenizer_that_does_not_match_is_refused():
    with pytest.raises(BundleError, match=r"the tokenizer has 256 tokens, the weights are for 11"):
        LanguageModel(config(), weights(config()), tokenizer("byte"))


def test_torch_is_never_imported(tmp_path):
    folder = write_folder(tmp_path / "m")
    code = (
        "import sys, ostinato; lm = ostinato.load(sys.argv[1]); lm.generate('to be', 5); lm.score('to be');"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode == 0

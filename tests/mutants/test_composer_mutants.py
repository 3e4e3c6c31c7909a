"""The composer, in torch and in numpy, rolls and tunes, each broken in one place on purpose: a named test must fail."""

from __future__ import annotations

import pytest
from mutants.mutate import mutant
from mutants.test_model_mutants import broken, run
from parity.test_composer_engine import check, check_draws, few_keys

from ostinato.errors import MusicError, NativeError

MODEL, CHAIN = "models/composer.py", "nn/chain.py"
TESTS = "test_models_composer"
CHAINED = "held_to_the_definition('chain', 'none')"
GIVEN = "held_to_the_definition('chain', 'past')"
READS = "test_what_the_layers_read('whole')"

# What is wrong, the file, which source becomes which, and the call that must fail in the tests.
MUTANTS = [
    ("the step itself is read", MODEL, "x = keys[:-1].to", "x = keys[1:].to", READS),
    ("the melody of the step before", MODEL, "self._melody(keys[1:])", "self._melody(keys[:-1])", READS),
    ("no melody ahead of the layers", MODEL, "inputs[0] = x + melody", "inputs[0] = x + 0 * melody", READS),
    ("the melody is read forward", MODEL, "[False, True]", "[False, False]", READS),
    ("the lowest key for the highest", MODEL, "keys & (keys.flip(-1).cumsum(-1).flip(-1) == 1)",
     "keys & (keys.cumsum(-1) == 1)", READS),
    ("the lengths are forgotten", MODEL, "zeros, lengths, reversed", "zeros, None, reversed",
     "test_what_follows_a_piece_means_nothing()"),
    ("one step too many", MODEL, "[:, None] < lengths", "[:, None] <= lengths", CHAINED),
    ("predicts what came before", MODEL, "keys[1:][live]", "keys[:-1][live]", CHAINED),
    ("the chain is left out", MODEL, "logits = logits + self.chain", "logits = logits + 0 * self.chain", CHAINED),
    ("the melody counts", MODEL, "- keys.long() > 0", "> 0", "test_below_is_below_the_highest()"),
    ("keys above count", MODEL, "each = each * below(sounding)", "each = each * ~below(sounding)", GIVEN),
    ("all keys count", MODEL, "each = each * below(sounding)", "each = 1 * each", GIVEN),
    ("the output is not dropped", MODEL, "readout, options.dropout_output", "readout, 0.0",
     "test_each_dropout_has_its_place()"),
    ("the input is not dropped", MODEL, "one, options.dropout_input", "one, 0.0",
     "test_each_dropout_has_its_place()"),
    ("a loud start", MODEL, "QUIET = -3.0", "QUIET = 0.0", "test_a_fresh_model_expects_a_few_keys()"),
    ("a key counts for itself", CHAIN, ".flip(1) - keys.long()", ".flip(1)", CHAINED),
    ("from the lowest key up", CHAIN, "above = self.above[K - 1 - order]", "above = self.above[order]", CHAINED),
    ("the keys in no order", CHAIN, "descending=True", "descending=False", CHAINED),
    ("only the last key is remembered", CHAIN, "above.cumsum(1)", "above", CHAINED),
    ("no bend", CHAIN, "torch.tanh(a) @", "(a) @", CHAINED),
    ("the readout is forgotten", CHAIN, "torch.cat([first[:, None], first[:, None] + ", "torch.cat([first[:, None], ",
     CHAINED),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "call"), [pytest.param(*case[1:], id=case[0]) for case in MUTANTS])
def test_mutant_dies(file: str, old: str, new: str, call: str) -> None:
    with broken(file, old, new), pytest.raises((AssertionError, RuntimeError, IndexError, NativeError)):
        run(TESTS, call)


@pytest.mark.parametrize("call", sorted({case[4] for case in MUTANTS}))
def test_unbroken_lives(call: str) -> None:
    same = "from __future__ import annotations"
    with broken(MODEL, same, same):
        run(TESTS, call)


ENGINES = [
    ("keys[:, ::-1].cumsum(axis=1)[:, ::-1] - keys", "keys[:, ::-1].cumsum(axis=1)[:, ::-1]"),
    ("following = keys & (passed == count)", "following = keys & (passed <= count)"),
    ("scores = np.tanh(a) @", "scores = (a) @"),
    ("nats = nats * (passed > 0)", "nats = nats * (passed >= 0)"),
    ("np.where(keys, -logits, logits)", "np.where(keys, logits, -logits)"),
    ("self._embedded(melody[::-1])", "self._embedded(melody)"),
    ("return outputs[::-1]", "return outputs"),
    ("(melody == SILENT)[..., None], np.float32(0.0)", "(melody == SILENT)[..., None], np.float32(1.0)"),
    ("x = x + self._embedded(melody)", "x = x + 0 * self._embedded(melody)"),
    ("roll[:-1].astype(np.float32)])", "roll[1:].astype(np.float32)])"),
    ("State({**parts, \"keys\": roll[-1]", "State({**parts, \"keys\": roll[0]"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), ENGINES)
def test_the_comparison_kills_engines(old: str, new: str) -> None:
    module = mutant("ostinato.engine.composer", old, new)

    def both() -> None:
        check(module, {"melody": "past"})
        check(module, {"melody": "whole"})

    with pytest.raises(AssertionError):
        both()


DRAWING = [
    ("a[found] += above[following[found]]", "a[found] += 0 * above[following[found]]", {}),
    ("np.zeros((B, KEYS), bool), np.full(B, KEYS)", "np.zeros((B, KEYS), bool), np.full(B, KEYS - 30)", {}),
    ("return threshold * temperature < logits", "return threshold * temperature > logits", {}),
    ("np.log1p(-uniforms)", "np.log1p(uniforms)", {}),
    ("+ sounding @ above", "+ 0 * (sounding @ above)", {"melody": "past"}),
    ("else np.concatenate([h, ahead[t]]", "else np.concatenate([h, 0 * ahead[t]]", {"melody": "whole"}),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "case"), DRAWING)
def test_what_is_drawn_kills_engines(old: str, new: str, case: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        check_draws(mutant("ostinato.engine.composer", old, new), case)


def test_keys_above_a_melody_that_may_sound_are_noticed() -> None:
    import numpy as np

    melody, uniforms = np.full((1, 200), 20), np.random.default_rng(0).random((1, 200, 88))
    rolls = []
    for old, new in (("(free & _sounds(base", "(_sounds(base"), ("import annotations", "import annotations")):
        engine = few_keys(mutant("ostinato.engine.composer", old, new), {"output": "bernoulli", "melody": "past"})
        rolls.append(engine.compose(uniforms, engine.start(200), 1.0, melody)[0])
    assert [bool(roll[0, :, 21:].any()) for roll in rolls] == [True, False]


def test_the_unbroken_engine_lives() -> None:
    sound = mutant("ostinato.engine.composer", "import annotations", "import annotations")
    check(sound, {"melody": "whole"})
    check_draws(sound, {"melody": "past"})


BARS = "C2D/ (3EFG A>B [CE]2 ^F8|F c [K:D]C F,4 :|[1 z2 c4|[2 d2 d6|\nM:3/4\nB6|[L:1/4] C3||\n|C|D3|Z3|]\n"
TUNES = [
    ("self._next = Fraction(1)\n        if", "if"),
    ("length *= self._tuplet", "length *= 1"),
    ("self._in_tuplet -= 1", "self._in_tuplet -= 2"),
    ("self._length += self._last * (longer - 1)", "self._length += 0"),
    ("octave.count(\"'\") - octave.count(\",\")", "0"),
    ("(1 if letter.islower() else 0)", "0"),
    ("self.signature.get(letter.lower(), 0)", "0"),
    ("Fraction(0), 0, {}", "Fraction(0), 0, self.accidentals"),
    ("self._begins_part or ends_part, line", "ends_part, line"),
    ("(self._begins_part and not self._length)", "False"),
    ("in range(count)", "in range(1)"),
    ("self.unit = Fraction(value)", "pass"),
    ("self.metre = _metre(value)", "self.metre = self.metre or _metre(value)"),
    ("longer, self._next = (2 - less, less)", "longer, self._next = (less, 2 - less)"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), TUNES)
def test_bars_and_notes_tell_readers_apart(old: str, new: str) -> None:
    """What the sound reader says of one tune that has everything; by hand it is held in ``test_abc``."""
    from ostinato.text import abc

    text = "X:1\nM:4/4\nL:1/8\nK:C\n" + BARS
    spoilt = mutant("ostinato.text.abc", old, new)
    sound = ([(b.length, b.metre, b.edge) for b in abc.bars(abc.Tune(text))], [*map(str, abc.notes(abc.Tune(text)))])
    tune = spoilt.Tune(text)
    assert ([(b.length, b.metre, b.edge) for b in spoilt.bars(tune)], [*map(str, spoilt.notes(tune))]) != sound


ROLLS = [
    ("KEYS - 1 - roll[..., ::-1].argmax(axis=-1)", "roll.argmax(axis=-1)"),
    ("np.where(roll.any(axis=-1), highest, SILENT)", "highest"),
    ("max(-int(used[0]), min(KEYS - 1 - int(used[-1]), by))", "by"),
    ("return np.roll(roll, by, axis=1)", "return np.roll(roll, -by, axis=1)"),
    ("roll[first - 1] if first", "roll[first] if first"),
    ("batch[1 : len(roll) + 1, b] = roll", "batch[: len(roll), b] = roll"),
    ("LOWEST <= pitch < LOWEST + KEYS", "LOWEST <= pitch <= LOWEST + KEYS"),
    ("if pitch != SILENT", "if True"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), ROLLS)
def test_rolls(old: str, new: str) -> None:
    """Each call has its answer by hand."""
    import numpy as np

    rolls = mutant("ostinato.data.rolls", old, new)

    def answers() -> None:
        roll = rolls.to_roll([[30, 100], [], [-1, 60, 40]], "here")
        assert rolls.melody_of(roll).tolist() == [79, -1, 39]
        assert rolls.to_steps(rolls.transposed(roll, 9)) == [[38, 108], [], [48, 68]]
        assert rolls.to_steps(rolls.transposed(roll, -2)) == [[28, 98], [], [38, 58]]
        (_, first), (before, second) = rolls.windows([roll], 1)[:2]
        assert np.array_equal(before, roll[0])
        keys, _ = rolls.framed([(before, second), (before, first)])
        assert np.array_equal(keys[1, 1], roll[0])
        with pytest.raises(MusicError, match="here, step 1 has pitch 109; expected a whole number from 21 to 108"):
            rolls.to_roll([[109]], "here")

    with pytest.raises((AssertionError, IndexError, MusicError, pytest.fail.Exception)):
        answers()

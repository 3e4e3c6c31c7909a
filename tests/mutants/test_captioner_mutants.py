"""The captioner, in torch and in numpy, each broken in one place on purpose: a named test must fail."""

from __future__ import annotations

import pytest
from mutants.mutate import mutant
from mutants.test_model_mutants import broken, run
from parity.test_captioner_engine import check

from ostinato.errors import NativeError

MODEL = ("models/captioner.py", "test_models_captioner")
LEARNS = "test_combinations_never_seen_are_captioned('none')"

# The call that must fail in the tests (``t``): what is wrong, and which source becomes which.
MUTANTS = {
    "test_regions_are_the_last_map_row_after_row()": [
        ("columns before rows", "x.flatten(2)", "x.transpose(2, 3).flatten(2)"),
        ("no rectifier", "x = norm(F.relu(F.conv2d", "x = norm((F.conv2d"),
        ("no norm", "x = norm(F.relu(", "x = (F.relu("),
        ("no scale", "layer.weight * weight_scale(x.shape[1])", "layer.weight"),
        ("another epsilon", "eps=1e-5", "eps=1e-2"),
        ("no stride", "layer.stride, PADDING", "1, PADDING"),
        ("regions shuffled between images", "permute(2, 0, 1)", "permute(2, 0, 1).roll(1, 1)"),
    ],
    "test_planes_count_from_white()": [
        ("black is zero", "2.0 - images", "images"),
        ("rows and columns exchanged", "permute(0, 3, 1, 2)", "permute(0, 3, 2, 1)"),
    ],
    "test_reads_as_the_equations_say('additive', False)": [
        ("the first region for the mean", "torch.tanh(linear(memory.mean(0)", "torch.tanh(linear(memory[0]"),
        ("parts of the state exchanged", "self._widths, dim=1))", "self._widths, dim=1)[::-1])"),
        ("context before state", "torch.cat([h, self._context(h, memory)]", "torch.cat([self._context(h, memory), h]"),
        ("no tanh of the readout", "return torch.tanh(linear(joined", "return (linear(joined"),
    ],
    "test_reads_as_the_equations_say('none', False)": [
        ("one mean for all images", "memory.mean(0).expand", "memory.mean((0, 1)).expand"),
    ],
    "held_to_the_definition()": [
        ("one step too many", "[:, None] < lengths", "[:, None] <= lengths"),
        ("the end is not predicted", "[:, None] < lengths", "[:, None] < lengths - 1"),
        ("the longest for all", "[:, None] < lengths", "[:, None] < lengths.max().expand(len(lengths))"),
        ("predicts its input", "ids[1:][rows]", "ids[:-1][rows]"),
        ("memory of another image", "memory: Tensor = self.encoder(seen)", "memory = self.encoder(seen).roll(1, 1)"),
        ("nats of another caption", "return spread.sum(0)", "return spread.sum(0).roll(1)"),
    ],
    "test_a_blind_model_sees_white()": [
        ("it sees", "if self.config.blind else images", "if False else images"),
    ],
    "test_nothing_is_dropped_in_evaluation_and_the_mode_comes_back()": [
        ("nats with dropout", "self.eval()", "pass"),
        ("mode lost", "self.train(mode)", "pass"),
    ],
    "test_each_dropout_has_its_place()": [
        ("memory not dropped", "self.regularisers.dropout_hidden, self.training", "0.0, self.training"),
        ("readout not dropped", "readout = dropout(readout, options.dropout_output", "readout = dropout(readout, 0.0"),
    ],
    LEARNS: [
        ("regions shuffled between images", "permute(2, 0, 1)", "permute(2, 0, 1).roll(1, 1)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "old", "new"),
    [pytest.param(call, old, new, id=name) for call, mutants in MUTANTS.items() for name, old, new in mutants],
)
def test_mutant_dies(call, old, new):
    with broken(MODEL[0], old, new), pytest.raises((AssertionError, RuntimeError, NativeError)):
        run(MODEL[1], call)


@pytest.mark.parametrize("call", [call for call in MUTANTS if call != LEARNS])
def test_unbroken_lives(call):
    same = "from __future__ import annotations"
    with broken(MODEL[0], same, same):
        run(MODEL[1], call)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("np.float32(2.0) - images", "np.float32(1.0) - images"),
        ("stride=stride, padding=PADDING", "stride=1, padding=PADDING"),
        ("x.mean(axis=(1, 2, 3)", "x.mean(axis=(1, 2)"),
        ("np.float32(1e-5)", "np.float32(1e-2)"),
        ("weight * np.float32(weight_scale(x.shape[3]))", "weight * np.float32(weight_scale(x.shape[2]))"),
        ("padding=PADDING), np.float32(0.0)", "padding=PADDING), np.float32(-9.0)"),
        ("np.tanh(linear(memory.mean(axis=1)", "(linear(memory.mean(axis=1)"),
        ('arrays["keys"], there', 'arrays["keys"][::-1], there'),
        ("(weights @ memory)", "(weights @ memory[::-1])"),
        ("np.concatenate([h, self._context(h, arrays)]", "np.concatenate([self._context(h, arrays), h]"),
        ("readout = np.tanh(linear", "readout = (linear"),
        ('"readout": readout[-1]', '"readout": readout[0]'),
        ("self._boundary_id, np.int64", "0, np.int64"),
    ],
)  # fmt: skip
def test_the_comparison_kills_engines(old, new):
    with pytest.raises((AssertionError, ValueError)):
        check(mutant("ostinato.engine.captioner", old, new), {})


def test_the_unbroken_engine_lives():
    check(mutant("ostinato.engine.captioner", "import annotations", "import annotations"), {})

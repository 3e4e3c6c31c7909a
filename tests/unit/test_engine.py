"""The engine by itself: chunks, rows, states as values, states as files. Against torch: tests/parity."""

import numpy as np
import pytest
from small_models import config, weights

from ostinato.config import CELLS
from ostinato.engine import BidirectionalEngine, Engine, bidirectional, engine, load_state, save_state, stack
from ostinato.errors import BundleError, ConfigError
from ostinato.types import State

BOUNDARY = 3
CASES = [
    {"cell": cell, **options}
    for cell in CELLS
    for options in (
        {},
        {"hidden": (6, 6, 5), "skip_output": True, "residual": True, "layer_norm": True, "zoneout": 0.2},
    )
]


def make(seed=0, **changes):
    model = config(**changes)
    kind = BidirectionalEngine if model.bidirectional else Engine
    return kind(model, weights(model, seed), BOUNDARY)


def draw(*shape, seed=1):
    return np.random.default_rng(seed).integers(0, 11, shape)


def close(got, expected):
    """Float32 rounding over some ten steps; the order of a product's sums depends on the batch."""
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-5)


def state_close(got, expected):
    assert got.arrays.keys() == expected.arrays.keys()
    for name, array in got.arrays.items():
        close(array, expected.arrays[name])


@pytest.mark.parametrize("changes", CASES)
def test_chunks_steps_and_rows_give_what_a_whole_run_gives(changes):
    model = make(**changes)
    ids = draw(13, 3)
    logits, last = model.run(ids, model.start(3))
    assert logits.shape == (13, 3, 11)
    assert np.isfinite(logits).all()
    state, parts = model.start(3), []
    for chunk in (ids[:1], ids[1:8], ids[8:8], ids[8:]):
        part, state = model.run(chunk, state)
        parts.append(part)
    close(np.concatenate(parts), logits)
    state_close(state, last)
    state = model.start(1)
    for t in range(13):
        step, state = model.step(ids[t, :1], state)
        close(step[0], logits[t, 0])
        close(model.logits(state), step)
    state_close(state, last.rows([0]))
    state_close(model.read(ids, model.start(3)), last)


def test_a_run_in_several_blocks_is_the_same(monkeypatch):
    model, ids = make(), draw(50, 3)
    logits, last = model.run(ids, model.start(3))
    monkeypatch.setattr(engine, "ROWS", 7)
    blocks, state = model.run(ids, model.start(3))
    close(blocks, logits)
    state_close(state, last)
    state_close(model.read(ids, model.start(3)), last)


def test_the_table_of_first_products_changes_nothing(monkeypatch):
    ids, looked_up = draw(9, 2), make(residual=True, hidden=(6, 6))
    monkeypatch.setattr(stack, "TABLE_BYTES", 0)
    computed = make(residual=True, hidden=(6, 6))
    close(looked_up.run(ids, looked_up.start(2))[0], computed.run(ids, computed.start(2))[0])


def test_a_text_begins_after_the_boundary():
    model = make()
    zero = State({name: np.zeros_like(array) for name, array in model.start(2).arrays.items()})
    _, after = model.step(np.array([BOUNDARY, BOUNDARY]), zero)
    state_close(model.start(2), after)
    _, other = model.step(np.array([BOUNDARY + 1] * 2), zero)
    assert np.abs(other.arrays["readout"] - after.arrays["readout"]).max() > 1e-3


def test_a_state_is_a_value():
    model = make()
    _, state = model.run(draw(5, 1), model.start())
    copies = {name: array.copy() for name, array in state.arrays.items()}
    one = model.step(np.array([1]), state)
    two = model.step(np.array([2]), state)
    assert state == State(copies)
    assert hash(state) == hash(State(copies))
    assert one[1] != two[1]
    assert one[1] == model.step(np.array([1]), state)[1]
    with pytest.raises(ValueError, match="read-only"):
        state.arrays["readout"][0, 0] = 1
    forked = state.rows([0, 0])
    logits, both = model.step(np.array([1, 2]), forked)
    close(logits, np.concatenate([one[0], two[0]]))
    state_close(both, State.stack([one[1], two[1]]))


def test_state_names_and_widths():
    assert make(hidden=(4, 6), skip_output=True).state_widths == {
        "layers.0.h": 4, "layers.0.c": 4, "layers.1.h": 6, "layers.1.c": 6, "readout": 10
    }  # fmt: skip
    assert make(cell="gru", hidden=(4,)).state_widths == {"layers.0.h": 4, "readout": 4}


def test_what_does_not_fit_is_refused():
    model = make()
    for ids in ([11], [-1]):
        with pytest.raises(IndexError, match="expected 0 to 10"):
            model.step(np.array(ids), model.start())
    with pytest.raises(ConfigError, match="2 streams; expected one for each of the 1"):
        model.step(np.array([1]), model.start(2))
    with pytest.raises(ConfigError, match="the state holds"):
        model.step(np.array([1]), make(cell="gru").start())
    with pytest.raises(BundleError, match="boundary token is 11"):
        Engine(model.model, weights(model.model), 11)
    with pytest.raises(ConfigError, match="both directions"):
        Engine(config(bidirectional=True), weights(config(bidirectional=True)), 0)
    with pytest.raises(ConfigError, match="forward only"):
        BidirectionalEngine(config(), weights(config()), 0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"skip_output": True, "residual": True, "hidden": (6, 6), "layer_norm": True}])
def test_a_prediction_never_sees_its_own_token(cell, options):
    """Bit for bit; and it does see every other token."""
    model, ids = make(cell=cell, bidirectional=True, **options), draw(7)
    logits = model.gap_logits(ids)
    for t in range(7):
        changed = ids.copy()
        changed[t] = (changed[t] + 1) % 11
        differs = (model.gap_logits(changed) != logits).any(axis=1)
        assert differs.tolist() == [s != t for s in range(7)]


def test_blocks_of_a_long_text_are_exact(monkeypatch):
    model, ids = make(bidirectional=True), draw(23)
    whole = model.gap_logits(ids)
    for block in (1, 5, 22, 23):
        monkeypatch.setattr(bidirectional, "BLOCK", block)
        close(np.concatenate(list(model.gap_blocks(ids))), whole)
        wanted = [22, 3, 3, 0, 7]
        close(model.gap_logits(ids, wanted), whole[wanted])
    assert list(model.gap_blocks(ids[:0])) == []
    assert model.gap_logits(ids[:0]).shape == (0, 11)


def test_a_state_is_saved_and_loaded(tmp_path):
    model = make()
    _, state = model.run(draw(5, 2), model.start(2))
    save_state(tmp_path / "s", state, model)
    loaded = load_state(tmp_path / "s", model)
    assert loaded == state
    assert hash(loaded) == hash(state)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    with pytest.raises(BundleError, match="not a state of this model"):
        load_state(tmp_path / "s", make(seed=1))
    with pytest.raises(BundleError, match="does not exist"):
        load_state(tmp_path / "none", model)
    with pytest.raises(BundleError, match="cannot be written"):
        save_state(tmp_path / "none" / "s", state, model)


def test_a_damaged_state_is_refused(tmp_path):
    model, path = make(), tmp_path / "s"
    save_state(path, model.start(), model)
    good = path.read_bytes()
    for bit in range(8 * len(good)):  # every one: the header's keys are written in an order that changes by run
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            load_state(path, model)
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(BundleError):
            load_state(path, model)

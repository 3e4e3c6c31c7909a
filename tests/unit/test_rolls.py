"""Piano rolls: pitches in and out, melodies, transposition, windows."""

from __future__ import annotations

import numpy as np
import pytest
from composing import draw_roll, draw_rolls

from ostinato.data.lanes import Place
from ostinato.data.rolls import KEYS, SILENT, framed, melody_of, to_roll, to_steps, transposed, windows
from ostinato.errors import MusicError
from ostinato.models.composer import RecurrentComposer
from ostinato.training.composing import HeldOutRolls, RollObjective


def test_pitches_in_and_out() -> None:
    steps = [[21, 60], [], [108], [60, 61, 62]]
    roll = to_roll(steps, "here")
    assert roll.shape == (4, KEYS)
    assert np.argwhere(roll).tolist() == [[0, 0], [0, 39], [2, 87], [3, 39], [3, 40], [3, 41]]
    assert to_steps(roll) == steps


def test_voices_may_be_silent_and_doubled() -> None:
    assert to_steps(to_roll([[74, 70, -1, 58], [-1, -1, -1, -1], [60.0, 60, 48, -1]], "")) == [
        [58, 70, 74], [], [48, 60],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([[60], [109]], "x, step 2 has pitch 109; expected a whole number from 21 to 108, the keys of a piano"),
        ([[20]], "x, step 1 has pitch 20; expected a whole number from 21 to 108"),
        ([[60.5]], "x, step 1 has pitch 60.5"),
        ([[float("nan")]], "x, step 1 has pitch nan"),
        ([[True]], "x, step 1 has pitch True"),
        ([["60"]], "x, step 1 has pitch '60'; expected a whole number"),
        ([[10**400]], "x, step 1 has pitch 1000000"),
        ([60], "x, step 1 is '60'; expected a list of MIDI pitches"),
        ([[], None], "x, step 2 is 'None'; expected a list"),
        ([{"a": 1}], "x, step 1 is "),
    ],
)
def test_what_is_no_step(steps, message: str) -> None:
    with pytest.raises(MusicError) as caught:
        to_roll(steps, "x")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 150


def test_the_melody_is_the_highest_key() -> None:
    roll = to_roll([[60, 72], [], [21], [108, 21]], "")
    assert melody_of(roll).tolist() == [51, SILENT, 0, 87]
    assert melody_of(np.stack([roll, roll[::-1]], axis=1))[:, 1].tolist() == [87, 0, SILENT, 51]


def test_transposition_moves_all_keys_as_far_as_there_is_room() -> None:
    roll = to_roll([[30, 100], []], "")
    for by, expected in ((3, 3), (-4, -4), (8, 8), (9, 8), (-9, -9), (-10, -9)):
        moved = to_steps(transposed(roll, by))
        assert moved == [[30 + expected, 100 + expected], []], by
    assert to_steps(transposed(roll[1:], 5)) == [[]]


def test_windows_cover_a_piece_and_know_the_step_before() -> None:
    rolls = draw_rolls((7, 3, 6))
    found = windows(rolls, 3)
    assert [len(roll) for _, roll in found] == [3, 3, 1, 3, 3, 3]
    assert np.array_equal(np.concatenate([roll for _, roll in found]), np.concatenate(rolls))
    assert np.array_equal(found[1][0], rolls[0][2])
    assert np.array_equal(found[5][0], rolls[2][2])
    assert not any(found[number][0].any() for number in (0, 3, 4))


def test_frames_are_ragged() -> None:
    pieces = windows(draw_rolls((4, 2)), 9)
    pieces[1] = (np.ones(KEYS, bool), pieces[1][1])
    keys, lengths = framed(pieces)
    assert keys.shape == (5, 2, KEYS)
    assert lengths.tolist() == [4, 2]
    assert np.array_equal(keys[1:, 0], pieces[0][1])
    assert keys[0, 1].all()
    assert np.array_equal(keys[1:3, 1], pieces[1][1])
    assert not keys[3:, 1].any()


class Counting:
    """In place of a model: notes what it is given."""

    def __init__(self) -> None:
        from composing import small
        from modelling import PLAIN, randomise

        self.model = randomise(RecurrentComposer(small(), PLAIN))
        self.seen: list = []

    def parameters(self):
        return self.model.parameters()

    def nats(self, keys, lengths):
        self.seen.append((keys.numpy().copy(), lengths.numpy().copy()))
        return self.model.nats(keys, lengths)


def test_an_epoch_has_every_window_once_and_moves_each_by_its_own_interval() -> None:
    middle = draw_rolls((5, 6, 7, 4, 8))
    for roll in middle:
        roll[:, :20] = roll[:, -20:] = False
        roll[0, 40] = True
    model = Counting()
    objective = RollObjective(model, middle, batch=2, longest=4, transpose=3, seed=5)
    place, total, steps = Place(), 0.0, 0
    while place.epoch == 0:
        loss = objective.loss(place, ())
        total, steps = total + float(loss.nats.detach()), steps + loss.tokens
        place = objective.after(place)
    assert steps == 30 == sum(int(lengths.sum()) for _, lengths in model.seen)
    assert len(model.seen) == objective.steps == 5
    wanted = windows(middle, 4)
    shifts = []
    for keys, lengths in model.seen:
        for b, length in enumerate(lengths):
            piece = keys[: length + 1, b]
            match = [
                by
                for before, roll in wanted
                for by in range(-3, 4)
                if len(roll) == length
                and np.array_equal(piece, np.roll(np.concatenate([before[None], roll]), by, axis=1))
            ]
            assert match
            shifts.append(match[0])
    assert len(set(shifts)) > 3
    again = Counting()
    RollObjective(again, middle, batch=2, longest=4, transpose=3, seed=5).loss(Place(), ())
    assert np.array_equal(again.seen[0][0], model.seen[0][0])


def test_held_out_pieces_are_measured_one_by_one_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from composing import small
    from modelling import randomise

    from ostinato.config import Regularisers

    model = randomise(RecurrentComposer(small(), Regularisers(dropout_output=0.5)))
    rolls = draw_rolls((5, 40, 1, 7, 12), seed=3)
    held_out = HeldOutRolls(rolls)
    each = held_out.nats(model)
    alone = [HeldOutRolls([roll]).nats(model)[0] for roll in rolls]
    np.testing.assert_allclose(each, alone, rtol=1e-5)
    assert model.training
    assert held_out.measure(model)["nats"] == pytest.approx(sum(alone) / 65, rel=1e-6)
    assert held_out.size == 65
    monkeypatch.setattr("ostinato.training.composing._LONGEST", 30)
    cut = HeldOutRolls(rolls).nats(model)
    assert len(cut) == 6
    np.testing.assert_allclose(cut[[0, 3, 4, 5]], each[[0, 2, 3, 4]], rtol=1e-5)
    assert 0.0 < abs(cut[1:3].sum() - each[1]) < 0.1 * each[1]
    assert [len(roll) for roll in held_out.first(46).rolls] == [5, 40, 1]
    assert [len(roll) for roll in held_out.first(2).rolls] == [5]
    assert held_out.seconds(model) > 0


def test_a_roll_is_not_changed_by_what_is_made_of_it() -> None:
    roll = draw_roll(6)
    before = roll.copy()
    transposed(roll, 3)
    windows([roll], 2)
    framed([(roll[0], roll)])
    assert np.array_equal(roll, before)

"""The controls of repetition, each broken in one place on purpose: their closed forms must notice."""

import pytest
from mutants.mutate import mutant
from unit.test_sampling import hold_penalty, hold_repeating

SAMPLING = "ostinato.decode.sampling"

# What is wrong, in which function, and which source becomes which.
MUTANTS = [
    ("scores counted from where the model has them", "penalise", "log_softmax(logits) + np", "logits + 0 * np"),
    ("scores counted from probability one", "penalise", " + np.log(logits.shape[-1])", ""),
    ("unlikely tokens are lifted", "penalise", "found * penalty", "found / penalty"),
    ("likely tokens stay", "penalise", "found / penalty", "found"),
    ("n-grams one shorter", "repeating", "sliding_window_view(ids, n)", "sliding_window_view(ids, max(n - 1, 1))"),
    ("the beginning of the text, not its end", "repeating", "ids[len(ids) - n + 1 :]", "ids[: n - 1]"),
    ("the first token is forbidden", "repeating", "axis=1), -1]", "axis=1), 0]"),
    ("any token in common", "repeating", ".all(axis=1)", ".any(axis=1)"),
]  # fmt: skip


def hold(module):
    hold_penalty(module.penalise)
    hold_repeating(module.repeating)


@pytest.mark.parametrize(("inside", "old", "new"), [pytest.param(*row, id=wrong) for wrong, *row in MUTANTS])
def test_the_closed_forms_kill(inside, old, new):
    broken = mutant(SAMPLING, old, new, inside)
    with pytest.raises(AssertionError):
        hold(broken)


def test_unbroken_lives():
    hold(mutant(SAMPLING, "def penalise(", "def penalise("))

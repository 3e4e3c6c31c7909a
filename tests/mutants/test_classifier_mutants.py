"""Classifiers broken in one place on purpose: a named test must fail, and what solved the tones must not solve them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from mutants.test_model_mutants import broken, run
from tones import SOLVES, labelled

import ostinato
from ostinato import bundle
from ostinato.config import Regularisers
from ostinato.text import tokenizer

POOLING, RECURRENT, MODEL = "nn/pooling.py", "nn/recurrent.py", "models/classifier.py"
SAME = "from __future__ import annotations"

# A file to break, the file of its tests, the call in it that must fail: what is wrong, which source becomes which.
TESTED = {
    (POOLING, "test_nn_pooling", "test_every_row_is_pooled_as_the_equations_say('last', 2)"): [
        ("every row ends where the longest does", "y[lengths - 1,", "y[torch.full_like(lengths, len(y)) - 1,"),
        ("the backward half ends at the right", "y[0, :, half:]", "ends[:, half:]"),
    ],
    (POOLING, "test_nn_pooling", "test_every_row_is_pooled_as_the_equations_say('last', 1)"): [
        ("a half of one direction taken for another", "if self.directions == 1:", "if self.directions == 3:"),
    ],
    (POOLING, "test_nn_pooling", "test_every_row_is_pooled_as_the_equations_say('mean', 1)"): [
        ("divided by the length of the longest", "/ lengths[:, None]", "/ len(y)"),
    ],
    (POOLING, "test_nn_pooling", "test_what_lies_beyond_a_row_changes_nothing_and_has_no_gradient('max', 1e4)"): [
        ("padding is seen", "y.masked_fill(~live, -torch.inf)", "y"),
        ("one step too many", "[:, None] < lengths)", "[:, None] <= lengths)"),
    ],
    (POOLING, "test_nn_pooling", "test_every_row_is_pooled_as_the_equations_say('attention', 2)"): [
        ("padding has shares", "scores.masked_fill(~live[:, :, 0], -torch.inf)", "scores"),
        ("shares shuffled", "(shares[:, :, None] * y)", "(shares.flip(0)[:, :, None] * y)"),
        ("no bias", "self.weight, self.bias", "self.weight, None"),
        ("the weight transposed", "self.weight, self.bias", "self.weight.T, self.bias"),
    ],
    (MODEL, "test_models_classifier", "check_rows_are_those_of_a_batch()"): [
        ("the encoder reads past ends", "initial_state(B), lengths)[0]", "initial_state(B))[0]"),
    ],
    (MODEL, "test_models_classifier", "check_rows_are_those_of_a_batch(**t.READERS['stacks'])"): [
        ("the stacks read past ends", "zeros, lengths, reversed", "zeros, None, reversed"),
    ],
    (MODEL, "test_models_classifier", "check_reads_as_language_model(bidirectional=True)"): [
        ("both stacks read forward", "[False, True][: len(stacks)]", "[False, False][: len(stacks)]"),
        ("the backward stack comes first", "for outputs, _ in read]", "for outputs, _ in read[::-1]]"),
    ],
    (MODEL, "test_models_classifier", "test_training_drops_and_scoring_does_not()"): [
        ("scoring drops", "self.eval()", "pass"),
        ("mode lost", "self.train(mode)", "pass"),
        ("mode lost on errors", "finally:\n            self", "except ValueError:\n            self"),
    ],
    (MODEL, "test_models_classifier", "test_every_parameter_has_a_gradient_and_a_depth('encoder')"): [
        ("depths upside down", "count - int(rest[1])", "1 + int(rest[1])"),
    ],
}  # fmt: skip

# By pooling of the model that is read: what is wrong, in which file, and which source becomes which.
SOLVED = 0.97, 0.05
"""Accuracy at least, nats at most, of 400 sentences on each of which a bag of words is right half of the time."""
READ = {
    "last": [
        ("the backward half ends at the right", POOLING, "y[0, :, half:]", "ends[:, half:]"),
        ("the second direction reads forward", RECURRENT, "lengths, [False, True]", "lengths, [False, False]"),
        ("rows read past their end", RECURRENT, "state[half:]], lengths", "state[half:]], None"),
    ],
    "attention": [
        ("shares shuffled", POOLING, "(shares[:, :, None] * y)", "(shares.flip(0)[:, :, None] * y)"),
        ("shares of another row", POOLING, "(shares[:, :, None] * y)", "(shares.roll(1, 1)[:, :, None] * y)"),
        ("padding has shares", POOLING, "(~live[:, :, 0], -torch.inf)", "(~live[:, :, 0], 9.0)"),
        ("the second direction reads forward", RECURRENT, "lengths, [False, True]", "lengths, [False, False]"),
    ],
    "max": [
        ("padding is the largest", POOLING, "masked_fill(~live, -torch.inf)", "masked_fill(~live, 1.0)"),
        ("the second direction reads forward", RECURRENT, "lengths, [False, True]", "lengths, [False, False]"),
    ],
}


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        pytest.param(where, old, new, id=f"{where[0]}: {name}")
        for where, each in TESTED.items()
        for name, old, new in each
    ],
)
def test_mutant_dies(where: tuple[str, str, str], old: str, new: str) -> None:
    with broken(where[0], old, new), pytest.raises((AssertionError, RuntimeError)):
        run(*where[1:])


@pytest.mark.parametrize("where", TESTED)
def test_unbroken_lives(where: tuple[str, str, str]) -> None:
    with broken(where[0], SAME, SAME):
        run(*where[1:])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder for each pooling."""
    folder = tmp_path_factory.mktemp("tones")
    (folder / "train.tsv").write_text(labelled(1000, seed=1))
    for pooling in READ:
        ostinato.train(folder / "train.tsv", out=folder / pooling, pooling=pooling, **SOLVES)
    return {pooling: folder / pooling for pooling in READ}


def solved(folder: Path) -> bool:
    """Whether the model in torch, as it is imported now, labels new sentences of ragged lengths rightly and surely."""
    found = bundle.load(folder)
    model = import_module("ostinato.models.classifier").TextClassifier(found.model, Regularisers())
    model.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in found.tensors.items()})
    tokens = tokenizer.load(found.tokenizer_paths[0])
    labels, texts = zip(*(line.split("\t") for line in labelled(400, seed=7).splitlines()), strict=True)
    rows = [tokens.encode(f"\n{text}\n") for text in texts]
    lengths = [len(row) for row in rows]
    ids = np.zeros((max(lengths), len(rows)), np.int64)
    for b, row in enumerate(rows):
        ids[: len(row), b] = row
    scores = model.scores(torch.from_numpy(ids), torch.tensor(lengths))
    numbers = torch.tensor([found.model.labels.index(label) for label in labels])
    accuracy = (scores.argmax(1) == numbers).float().mean()
    return bool(accuracy >= SOLVED[0] and torch.nn.functional.cross_entropy(scores, numbers) <= SOLVED[1])


@pytest.mark.parametrize("pooling", READ)
def test_unbroken_solves_the_tones(folders: dict[str, Path], pooling: str) -> None:
    with broken(POOLING, SAME, SAME):
        assert solved(folders[pooling])


@pytest.mark.parametrize(
    ("pooling", "place", "old", "new"),
    [
        pytest.param(pooling, place, old, new, id=f"{pooling}: {name}")
        for pooling, each in READ.items()
        for name, place, old, new in each
    ],
)
def test_broken_does_not(folders: dict[str, Path], pooling: str, place: str, old: str, new: str) -> None:
    with broken(place, old, new):
        assert not solved(folders[pooling])

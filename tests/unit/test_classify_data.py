"""Labelled texts as they are trained on: parts, levels, batches, weights, and the rates of layers."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classifying import BOUNDARY, LENGTHS, classifier, config, texts

from ostinato.data.lanes import Place
from ostinato.data.ragged import Buckets, Ragged, by_size
from ostinato.pipeline.labelled import PreparedTexts, prepare_labelled
from ostinato.pipeline.settings import TextSettings
from ostinato.training.classify import HeldOutTexts, LabelledTexts, LabelObjective, balanced_weights, layer_factors
from ostinato.training.plan_classify import LONGEST, LabelledSize, plan_classifier

WORDS = ["sun", "moon", "tide", "rock", "fern", "lamp"]


def write(folder: Path, counts: dict[str, int], words: int = 5, name: str = "data.tsv") -> str:
    """A file sorted by label, each text with its number."""
    rng = random.Random(0)
    lines = [
        f"{label}\t{' '.join(rng.choices(WORDS, k=words - 1))} {label}{number}"
        for label, count in counts.items()
        for number in range(count)
    ]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def prepare(path: str, **given: Any) -> PreparedTexts:
    settings = TextSettings(**{name: value for name, value in given.items() if name != "seed"})
    return prepare_labelled([path], settings, given)


def shown(found: PreparedTexts, part: str) -> list[tuple[str, str]]:
    data = found.parts[part]
    rows = [data.texts.ids[start:end] for start, end in data.texts.bounds]
    assert all(row[0] == row[-1] == found.tokenizer.boundary_id for row in rows)
    decoded = [found.tokenizer.decode(row[1:-1]) for row in rows]
    return [(found.labels[k], text) for k, text in zip(data.labels, decoded, strict=True)]


def test_a_share_of_every_label_is_held_out_in_an_order_that_tells_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, {"b": 40, "a": 10, "once": 1})
    found = prepare(path, level="char", valid="0.2")
    assert found.labels == ("a", "b", "once")
    parts = {part: shown(found, part) for part in ("train", "valid")}
    assert Counter(label for label, _ in parts["valid"]) == {"b": 8, "a": 2}
    everything = [(line.split("\t")[0], line.split("\t")[1]) for line in Path(path).read_text().splitlines()]
    assert sorted(parts["train"] + parts["valid"]) == sorted(everything)
    assert len({label for label, _ in parts["train"][:20]}) > 1  # the file begins with forty of one label
    assert found.counts == {"a": 8, "b": 32, "once": 1}
    again, other = prepare(path, level="char", valid="0.2"), prepare(path, level="char", valid="0.2", seed=1)
    assert again.fingerprint == found.fingerprint != other.fingerprint
    assert sorted(shown(other, "valid")) != sorted(parts["valid"])


def test_levels_follow_the_texts(tmp_path: Path) -> None:
    names = prepare(write(tmp_path, {"a": 9, "b": 9}, words=1))
    assert names.tokenizer.level == "char"
    assert "names" in names.reason
    sentences = prepare(write(tmp_path, {"A": 9, "B": 9}))
    assert sentences.options is not None
    assert (sentences.tokenizer.level, sentences.options.lower, sentences.options.min_count) == ("word", True, 2)
    assert sentences.tokenizer.encode("SUN").tolist() == sentences.tokenizer.encode("sun").tolist()
    assert sentences.tokenizer.encode("A1").tolist() == [sentences.tokenizer.unk_id]  # there is one such word
    cased = prepare(write(tmp_path, {"A": 9, "B": 9}), level="word", lower=False, min_count=1)
    assert cased.options is not None
    assert (cased.options.lower, cased.options.min_count) == (False, 1)


def test_texts_are_cut_out_of_one_text_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "odd.tsv"
    path.write_text("a\tone\u2028two\x85\x0cthree\na\t<eos> <unk>\nb\t\u200b\nb\tzwölf\n")
    for level in ("char", "byte", "word"):
        found = prepare(str(path), level=level, valid=str(path), **({"min_count": 1} if level != "byte" else {}))
        assert len(found.parts["train"]) == len(found.parts["valid"]) == 4


def ragged(lengths: tuple[int, ...] = LENGTHS) -> LabelledTexts:
    rows = [np.concatenate([[BOUNDARY], row, [BOUNDARY]]) for row in texts(lengths)]
    return LabelledTexts(Ragged.of(rows), np.arange(len(rows)) % 3)


def test_batches_by_size_cover_all_within_the_limit() -> None:
    lengths = np.array([3, 50, 1, 7, 7, 2, 30, 1])
    batches = [*by_size(lengths, 20)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(8))
    for index in batches:
        assert len(index) == 1 or len(index) * lengths[index].max() <= 20
        assert (np.diff(lengths[index]) <= 0).all()
    assert [index.tolist() for index in batches[:2]] == [[1], [6]]
    assert [*by_size(np.zeros(0, int), 20)] == []


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_loss_is_the_weighted_sum_over_the_texts(balanced: bool, smoothing: float) -> None:
    model, data = classifier(config()), ragged()
    weights = balanced_weights(data.labels, 3) if balanced else None
    objective = LabelObjective(model, data, Buckets(data.texts.lengths, 2, seed=3), weights, smoothing)
    place, total, count = Place(), 0.0, 0
    for _ in range(objective.steps):
        loss = objective.loss(place, objective.start())
        total, count = total + float(loss.nats.detach()), count + loss.tokens
        place = objective.after(place)
    assert (place, count) == (Place(1, 0), 5)
    noted: list[np.ndarray] = []
    nats = HeldOutTexts(data, lambda logits, _: noted.append(logits)).measure(model)["nats"]
    logs = torch.log_softmax(torch.from_numpy(noted[0]), 1)
    each = -(1 - smoothing) * logs[range(5), data.labels]
    w = torch.tensor([5 / 6, 5 / 6, 5 / 3] if balanced else [1.0] * 3)  # labels 0 1 2 0 1
    expected = (each * w[data.labels]).sum() - smoothing / 3 * (logs * w).sum()
    assert total == pytest.approx(float(expected), rel=1e-5)
    assert nats == pytest.approx(float(-logs[range(5), data.labels].mean()), rel=1e-5)


def test_weights_make_every_label_count_the_same() -> None:
    labels = np.array([0] * 6 + [1] * 2 + [2])
    weights = balanced_weights(labels, 3).numpy()
    np.testing.assert_allclose(np.bincount(labels) * weights, 3.0)
    assert weights[labels].mean() == pytest.approx(1.0)


def test_held_out_texts_are_measured_in_any_batches_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = classifier(config()), ragged((9, 1, 5, 9, 2, 14))
    held_out = HeldOutTexts(data)
    whole = held_out.measure(model)
    monkeypatch.setattr("ostinato.training.classify.TOKENS", 12)
    assert held_out.measure(model) == pytest.approx(whole, rel=1e-5)
    assert held_out.size == 40 + 2 * 6
    assert held_out.first(20).size == 11 + 3  # the third text would make it 21
    assert len(held_out.first(1).data) == 1
    assert held_out.seconds(model) > 0


def test_layers_are_slower_and_let_go_one_by_one() -> None:
    depths = {"output": 0, "top": 1, "bottom": 2, "embedding": 3}
    factors = layer_factors(depths, 2.0, 0.3)
    at = {
        share: [name for name, factor in factors(share).items() if factor] for share in (0.0, 0.05, 0.1, 0.2, 0.3, 1.0)
    }
    assert [len(names) for names in at.values()] == [1, 1, 2, 3, 4, 4]
    assert at[0.2] == ["output", "top", "bottom"]
    assert factors(1.0) == {"output": 1.0, "top": 0.5, "bottom": 0.25, "embedding": 0.125}
    assert layer_factors(depths, 1.0, 0.0)(0.0) == dict.fromkeys(depths, 1.0)


SIZES = [
    LabelledSize(80, 900, 30, 120, ("a", "b"), True),
    LabelledSize(7_000, 50_000, 12, 40, ("a", "b", "c"), False),
    LabelledSize(200_000, 40_000_000, 2_700, 60_000, ("a", "b"), True),
]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_gets_a_plan_with_reasons(size: LabelledSize) -> None:
    given = {"minutes": 2.0, "cell": "gru", "dropout": 0.2}
    found = plan_classifier(size, given)
    assert (found.model.labels, found.model.layers.vocab, found.model.layers.cell) == (size.labels, size.vocab, "gru")
    assert found.regularisers.dropout_output == 0.2
    assert found.training.bptt == min(size.longest, LONGEST)
    assert found.values.keys() - given.keys() == found.reasons.keys()
    assert all(reason.strip() and "\n" not in reason for reason in found.reasons.values())


def test_wishes_hold_in_the_plan_and_a_start_brings_its_layers() -> None:
    found = plan_classifier(SIZES[0], {"steps": 9, "hidden": (8, 6), "pooling": "last, attention", "embed": 5})
    assert (found.model.layers.hidden, found.model.layers.embed) == ((8, 6), 5)
    assert found.model.pooling == ("last", "attention")
    assert plan_classifier(SIZES[0], {"steps": 9, "hidden": (8,), "layers": 3}).model.layers.hidden == (8, 8, 8)
    start = config(reader="language_model").layers
    started = plan_classifier(SIZES[0], {"steps": 9}, start).model
    assert (started.layers, started.reader, started.pooling) == (start, "language_model", ("last", "max", "mean"))

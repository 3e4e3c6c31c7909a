"""Two files in, translations out: through the command line and in Python."""

from __future__ import annotations

import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from dates import date_pairs, write_dates
from runs import command, flags

import ostinato
from ostinato import translator
from ostinato.engine import encoder
from ostinato.engine.attention import Attention
from ostinato.engine.translator import TranslatorEngine
from ostinato.errors import BundleError, ConfigError
from ostinato.pipeline.listener import Listener

PAIRS = date_pairs(1700, 0)
LEARNED, HELD_OUT = PAIRS[:1500], PAIRS[1500:]
QUICK = {
    "level": "char", "threads": 1, "epochs": 12, "hidden": 64, "embed": 24, "batch": 32, "evaluations": 3,
    "dropout": 0.0, "label_smoothing": 0.0, "average": 0.0, "lr": 0.01,
}  # fmt: skip
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    files, held_out = write_dates(folder, LEARNED), write_dates(folder, HELD_OUT, "held_out")
    valid = ",".join(map(str, held_out))
    ostinato.train(*files, task="translate", out=folder / "model", valid=valid, attention="additive", **QUICK)
    return folder / "model"


def share_right(model: translator.Translator, beam: int = 3) -> float:
    found = model.translate_lines((source for source, _ in HELD_OUT), beam=beam)
    return float(np.mean([one[0].text == target for one, (_, target) in zip(found, HELD_OUT, strict=True)]))


def test_dates_that_were_never_seen_are_translated(trained: Path) -> None:
    model = ostinato.load(trained)
    assert share_right(model) >= 0.95
    assert share_right(model, beam=1) >= 0.9


def test_a_broken_model_is_found_out(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the share of right dates is worth: no broken part leaves it high."""
    model, look, reverse, read = ostinato.load(trained), Attention.weights, encoder.reverse, TranslatorEngine.read
    with monkeypatch.context() as patch:
        patch.setattr(Attention, "weights", lambda *given: look(*given)[..., ::-1])
        assert share_right(model) < 0.2
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "reverse", lambda x, _: x)
        assert share_right(model) < 0.6
    with monkeypatch.context() as patch:  # as if every source were as long as the longest of all
        patch.setattr(translator, "TOGETHER", len(HELD_OUT))
        assert share_right(model) >= 0.95
        patch.setattr(encoder, "reverse", lambda x, lengths: reverse(x, np.full_like(lengths, len(x))))
        patch.setattr(Attention, "weights", lambda self, q, keys, there: look(self, q, keys, np.ones_like(there)))
        assert share_right(model) < 0.9
    with monkeypatch.context() as patch:
        patch.setattr(TranslatorEngine, "read", lambda self, sources: read(self, [ids[::-1] for ids in sources]))
        assert share_right(model) < 0.2


def test_translations_are_ranked_and_scored(trained: Path) -> None:
    model = ostinato.load(trained)
    source, target = HELD_OUT[0]
    (found,) = model.translate_lines([source], beam=6, n_best=4)
    assert len({one.text for one in found}) == 4
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert found[0].text == target
    for one in found:
        assert model.score(source, one.text) == pytest.approx(one.logprob, abs=1e-3)
    assert model.score(source, target) > math.log(0.5)
    assert model.score(source, target) > model.score(source, target[::-1]) + 10


def test_a_line_does_not_depend_on_its_neighbours(trained: Path) -> None:
    model, lines = ostinato.load(trained), [source for source, _ in HELD_OUT[:40]]
    together = [found[0] for found in model.translate_lines(lines)]
    for line, one in zip(lines, together, strict=True):
        alone = next(iter(model.translate_lines([line])))[0]
        assert alone.text == one.text
        assert alone.logprob == pytest.approx(one.logprob, abs=1e-3)


def test_attention_finds_the_year(trained: Path) -> None:
    """The digits of the year are copied: most of what is looked at while they are written is a digit of it."""
    model = ostinato.load(trained)
    shares = []
    for source, target in HELD_OUT[:30]:
        found = model.align(source, target)
        np.testing.assert_allclose(found.weights.sum(axis=1), 1.0, atol=1e-5)
        assert found.weights.shape == (len(target) + 1, len(source))
        year = source.index(target[:4])
        shares.append(found.weights[1:4, max(0, year - 1) : year + 4].sum(axis=1).mean())
    assert np.mean(shares) > 0.6


def test_empty_and_endless_lines(trained: Path) -> None:
    model = ostinato.load(trained)
    source, target = HELD_OUT[0]
    endless = ". ".join([source] * 200)
    found = [one[0].text for one in model.translate_lines(["", source, "   ", endless], beam=2)]
    assert [found[0], found[1], found[2]] == ["", target, ""]
    assert len(found[3].split()) > 10
    pieces = model._pieces(endless)
    assert max(map(len, pieces)) <= translator.LONGEST
    assert " ".join(pieces) == endless
    for strange in ("a" * 3000, "ab " * 1000, " " * 3000):  # no end of a sentence, or of a word
        pieces = model._pieces(strange)
        assert max(map(len, pieces)) <= translator.LONGEST
        assert "".join("".join(pieces).split()) == "".join(strange.split())
    assert model.translate(f"{source}\n\n{source}", beam=2) == f"{target}\n\n{target}"


def test_the_verb_prints_a_line_for_a_line(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    lines = [source for source, _ in HELD_OUT[:5]]
    with gzip.open(tmp_path / "text.gz", "wt") as file:
        file.write("\n".join(lines))
    done = command(capsys, ["translate", trained, tmp_path / "text.gz"])
    assert done.status == 0
    expected = [found[0].text for found in ostinato.load(trained).translate_lines(lines)]
    assert done.out.splitlines() == expected
    done = command(capsys, ["translate", trained, tmp_path / "text.gz", "--n-best", 2, "--json"])
    records = [json.loads(line) for line in done.out.splitlines()]
    assert [record["source"] for record in records] == lines
    assert [record["translations"][0]["text"] for record in records] == expected
    assert all(len(record["translations"]) == 2 for record in records)
    done = command(capsys, ["translate", trained, tmp_path / "text.gz", "--n-best", 2])
    assert len(done.out.splitlines()) == 10
    logprob, text = done.out.splitlines()[0].split("\t")
    assert text == expected[0]
    assert float(logprob) < 0


def test_bleu_and_a_picture_of_the_attention(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    said, iso = write_dates(tmp_path, HELD_OUT[:20])
    picture = tmp_path / "attention.svg"
    done = command(capsys, ["translate", trained, said, "--reference", iso, "--attention", picture])
    assert "BLEU = " in done.err
    assert "version:" in done.err
    assert float(done.err.split("BLEU = ")[1].split()[0]) > 90
    assert "</s>" in picture.read_text("utf-8") or "&lt;/s&gt;" in picture.read_text("utf-8")


class Impatient(Listener):
    """Stops a run after so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def stop(self) -> bool:
        self._left -= 1
        return self._left <= 0


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """Stopped in the second of four epochs, in which pairs come in another order."""
    files = write_dates(tmp_path, LEARNED[:300])
    noisy = {**QUICK, "dropout": 0.2, "label_smoothing": 0.1, "average": 0.9, "epochs": 4}
    whole = ostinato.train(*files, task="translate", out=tmp_path / "whole", **noisy)
    with pytest.raises(KeyboardInterrupt):
        ostinato.train(*files, task="translate", out=tmp_path / "parts", listener=Impatient(13), **noisy)
    again = ostinato.train(out=tmp_path / "parts", resume=True)
    assert again.training["steps"] == whole.training["steps"] == 36
    for name, tensor in whole.engine.tensors.items():
        np.testing.assert_array_equal(tensor, again.engine.tensors[name])


def test_a_copy_in_eight_bits_translates_alike(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    assert command(capsys, ["export", trained, "-o", tmp_path / "small", "--int8"]).status == 0
    small = ostinato.load(tmp_path / "small")
    assert share_right(small) >= 0.9
    done = command(capsys, ["inspect", tmp_path / "small"])
    assert "attention additive" in done.out
    assert "decoder layer 0" in done.out
    assert "perplexity" in done.out


def test_a_word_model_copies_what_it_does_not_know(tmp_path: Path) -> None:
    """Names that are seen once are unknown to it, on either side of the verb; they come out where they belong."""
    known = [(f"{a} likes {b}", f"{b} is liked by {a}") for a in "abcdefgh" for b in "stuvwxyz"]
    strange = [(f"q{n} likes {b}", f"{b} is liked by q{n}") for n, b in enumerate("stuvwxyz" * 8)]
    strange += [(f"{a} likes r{n}", f"r{n} is liked by {a}") for n, a in enumerate("abcdefgh" * 8)]
    lines = [*known, *known, *strange]
    np.random.default_rng(0).shuffle(lines)
    files = write_dates(tmp_path, [(source, target) for source, target in lines])
    quick = {**QUICK, "level": "word", "min_count": 2, "epochs": 40, "hidden": 48}
    model = ostinato.train(*files, task="translate", out=tmp_path / "model", **quick)
    assert model.source is not model.target
    asked = [(f"Zanzibar likes {b}", f"{b} is liked by Zanzibar") for b in "stuvw"]
    asked += [(f"{a} likes Timbuktu", f"Timbuktu is liked by {a}") for a in "abcde"]
    found = [one[0].text for one in model.translate_lines((source for source, _ in asked), beam=2)]
    assert sum(text == target for text, (_, target) in zip(found, asked, strict=True)) >= 9, found


@pytest.mark.parametrize(
    ("source", "target", "more", "message"),
    [
        ("a b\nc d\n", "x\n", {}, r"one.said has 2 lines, .*one.iso has 1; expected line by line translations"),
        ("", "x\n", {}, "is empty"),
        ("\n\n\n", "x\ny\nz\n", {}, "gives no pair of lines"),
        ("a b\nc d\n", "x y\nz w\n", {"valid": "only.txt"}, r"valid is '.*only.txt'; for translate name both files"),
        ("a b\nc d\n", "x y\nz w\n", {"attention": "cosine"}, "attention is 'cosine'; expected one of none, dot"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, capsys: Capture, source: str, target: str, more: dict[str, str], message: str
) -> None:
    for name, text in (("one.said", source), ("one.iso", target)):
        (tmp_path / name).write_text(text, "utf-8")
    arguments = ["train", tmp_path / "one.said", tmp_path / "one.iso", "--task", "translate", "-o", tmp_path / "m"]
    done = command(capsys, [*arguments, *flags(steps=2, **more)])
    assert done.status == 1
    assert re.search(message, done.message), done.message
    assert not (tmp_path / "m" / "model.safetensors").exists()


def test_one_file_is_not_a_translation(tmp_path: Path, capsys: Capture) -> None:
    said, _ = write_dates(tmp_path, LEARNED[:10])
    done = command(capsys, ["train", said, "--task", "translate", "-o", tmp_path / "m"])
    assert "translate takes two files, a text and its translation line by line; 1 came" in done.message


def test_models_of_other_tasks_say_so(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text").write_text("7 may 1987\n")
    done = command(capsys, ["score", trained, tmp_path / "text"])
    assert done.status == 1
    assert "translates (ostinato translate); this wants a model that writes or scores text" in done.message
    with pytest.raises(BundleError, match="train one with --task lm"):
        ostinato.language_model.load(trained)


def test_settings_out_of_range_are_refused(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    model = ostinato.load(trained)
    with pytest.raises(ConfigError, match="beam is 0"):
        next(iter(model.translate_lines(["x"], beam=0)))
    with pytest.raises(ConfigError, match="n_best is 9; expected 1 to the beam's width, 5"):
        next(iter(model.translate_lines(["x"], n_best=9)))
    (tmp_path / "text").write_text("7 may 1987\n")
    (tmp_path / "wrong").write_text("1\n2\n")
    done = command(capsys, ["translate", trained, tmp_path / "text", "--reference", tmp_path / "wrong"])
    assert done.message.endswith("has 2 lines, the text has 1; expected as many")

"""inspect as a user meets it: sizes, both pictures, one line for every error."""

import json
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from small_models import TEXT, write_folder

import ostinato
from ostinato import bundle
from ostinato.cli.main import run
from ostinato.engine.trace import trace

CODE = "import sys; from ostinato.cli.main import run; run(sys.argv[1:])"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_folder(folder / "char")
    write_folder(folder / "both", "word", cell="peephole", bidirectional=True, layer_norm=True)
    write_folder(folder / "tied", "byte", cell="gru", embed=9, hidden=(9,), tied=True)
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    return folder


@pytest.fixture
def call(capsys, models, monkeypatch):
    monkeypatch.chdir(models)

    def call(*arguments, status=0):
        """Run ``inspect`` in the folder of the models; give what it wrote to stdout and stderr."""
        with pytest.raises(SystemExit) as caught:
            run(["inspect", *arguments])
        out, err = capsys.readouterr()
        assert (caught.value.code or 0) == status, err
        return out, err

    return call


@pytest.fixture
def report(call):
    return lambda *arguments: json.loads(call(*arguments, "--json")[0])


def elements(path, tag):
    return [node for node in ElementTree.parse(path).iter() if node.tag.endswith("}" + tag)]


def words(path):
    return [node.text for node in elements(path, "text")]


def test_sizes(report, models):
    shown = report("char")
    V = shown["model"]["vocab"]
    # embed 6, LSTM layers of 5 and 7: 4 gates, each with inputs, recurrent inputs and a bias
    parts = {"embedding": 6 * V, "layer 0": 20 * (6 + 5 + 1), "layer 1": 28 * (5 + 7 + 1), "output": V * (7 + 1)}
    assert shown["parts"] == parts
    assert list(shown["parts"]) == list(parts)
    assert shown["parameters"] == sum(parts.values())
    assert shown["level"] == "char"
    assert shown["training"] == {"minutes": 5, "bits_per_char": 1.5}
    assert shown["state_bytes"] == ostinato.load(models / "char").start().nbytes == 4 * (2 * 5 + 2 * 7 + 7)
    assert shown["disk_bytes"] == sum(path.stat().st_size for path in (models / "char").iterdir())


def test_sizes_of_two_directions(report, call):
    shown = report("both")
    layers = [20 * 6 + 20 * 5 + 20 + 3 * 25 + 10, 28 * 5 + 28 * 7 + 28 + 3 * 49 + 14]
    names = [f"{side} layer {k}" for side in ("forward", "backward") for k in (0, 1)]
    assert list(shown["parts"]) == ["embedding", *names, "output"]
    assert [shown["parts"][name] for name in names] == 2 * layers
    assert shown["state_bytes"] is None
    assert "reads whole texts" in call("both")[0]


def test_sizes_for_people(call):
    out, _ = call("tied")
    assert re.search(r"model +gru, 1 layer of 9 units, embedding 9, tied", out)
    assert re.search(r"tokens +byte, 256 of them", out)
    assert re.search(r"state +72 bytes a stream", out)
    assert re.search(r"embedding . +2,304 . +75\.0%", out)
    assert "embedding's matrix" in out


def test_the_course_of_training_is_told(call, tmp_path):
    found = bundle.load("char")
    scores = {"bits_per_char": 1.5, "bits_per_byte": 1.4, "perplexity": 2.83, "nats_per_token": 1.04}
    scores |= {"tokens": 50, "unknown": 0}
    training = {"texts": ["a.txt"], "train_chars": 1234, "seconds": 90, "epochs": 2.0, "steps": 100, "test": scores}
    bundle.save(
        tmp_path / "m",
        model=found.model,
        tensors=found.tensors,
        tokenizer_json=found.tokenizer_paths[0].read_text("utf-8"),
        training={**training, "bidirectional": False},
        card="",
    )
    out, _ = call(str(tmp_path / "m"))
    assert re.search(r"trained on +1,234 characters of a\.txt", out)
    assert re.search(r"training +1\.5 minutes, 2\.0 epochs, 100 steps", out)
    assert re.search(
        r"test +1\.5000 bits per character, 1\.4000 per byte, 1\.0400 nats per token, perplexity 2\.83", out
    )


@pytest.mark.parametrize("model", ["char", "both"])
def test_gradients(report, models, model):
    shown = report(model, "--gradients", "text.txt", "--lags", "12")["gradients"]
    assert shown["lags"] == list(range(13))
    assert shown["windows"] == 32
    assert list(shown["layers"]) == ["layer 0", "layer 1"]
    for norms in shown["layers"].values():
        assert norms[0] == 1.0
        assert len(norms) == 13
        assert all(0 < norm < 100 for norm in norms)
    assert shown["layers"]["layer 0"] != shown["layers"]["layer 1"]
    assert shown["picture"] == "gradients.svg"
    assert {"layer 0", "layer 1"} <= set(words(models / "gradients.svg"))


def test_gradients_for_people(call):
    out, _ = call("char", "--gradients", "text.txt", "--lags", "7", "--out", "other.svg")
    assert re.findall(r"^│ +(\d+) │", out, re.MULTILINE) == ["1", "2", "5", "7"]
    assert out.endswith("other.svg\n")


def test_gates(report, models):
    text = "to be $x$ naïve\n"
    shown = report("char", "--gates", text, "--units", "4,0,2", "--layer", "0")["gates"]
    found = bundle.load("char")
    lm = ostinato.load("char")
    ids = lm.tokenizer.encode(text)
    expected = trace(found.model, found.tensors, lm.tokenizer.boundary_id, ids, 0)
    assert (shown["layer"], shown["units"]) == (0, [4, 0, 2])
    assert shown["tokens"] == [lm.tokenizer.label(token) for token in ids]
    assert list(shown["values"]) == ["i", "f", "g", "o", "c", "h"]
    for name, values in shown["values"].items():
        np.testing.assert_array_equal(np.array(values, np.float32), expected[name][:, [4, 0, 2]])
    assert len(elements(models / "gates.svg", "image")) >= 6
    drawn = words(models / "gates.svg")
    # A label a column in the order of the text; one a row in each panel, in the order asked for.
    columns = "".join(word for word in drawn if word in set(shown["tokens"]))
    assert "".join(shown["tokens"]) in columns
    assert "".join(word for word in drawn if len(word) == 1 and word.isdigit()).count("402") == 6


def test_gates_show_the_units_that_move_most_of_the_last_layer(report):
    shown = report("tied", "--gates", "to be or not to be")["gates"]
    found = bundle.load("tied")
    h = trace(found.model, found.tensors, 10, np.frombuffer(b"to be or not to be", np.uint8).astype(np.int64), 0)["h"]
    assert list(shown["values"]) == ["r", "z", "n", "h"]
    assert shown["units"] == sorted(range(9), key=lambda unit: -h[:, unit].var())[:8]


def test_the_same_numbers_give_the_same_bytes_and_png_is_png(call, models):
    for name in ("a.svg", "b.svg", "a.png"):
        out, _ = call("both", "--gates", "to be 中", "--out", name)
        assert out.endswith(f"{name}\n")
    assert (models / "a.svg").read_bytes() == (models / "b.svg").read_bytes()
    assert (models / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["char", "--gates", "x", "--layer", "2"], "layer is 2; expected 0 to 1"),
        (["char", "--gates", "x", "--units", "7"], "units has 7; expected 0 to 6"),
        (["char", "--gates", "x", "--units=-1"], "units has -1; expected 0 to 6"),
        (["char", "--gates", "x", "--units", "1;2"], "units is '1;2'; expected numbers with commas"),
        (["char", "--gates="], "has 0 tokens; expected 1 to 400"),
        (["char", "--gates", 401 * "x"], "has 401 tokens; expected 1 to 400"),
        (["char", "--gates", "x", "--gradients", "text.txt"], "draw one at a time"),
        (["char", "--gates", "x", "--out", "x.pdf"], "out is 'x.pdf'; expected a name that ends in .svg or .png"),
        (["char", "--gates", "x", "--out", "no/x.svg"], "no/x.svg: No such file"),
        (["char", "--units", "1"], "give --gates TEXT too"),
        (["char", "--out", "x.svg"], "give --gradients FILE or --gates TEXT too"),
        (["char", "--gradients", "nowhere"], "no such file: nowhere"),
        (["char", "--gradients", "text.txt", "--lags", "0"], "lags is 0; expected a whole number from 1"),
        (["char", "--gradients", "text.txt", "--lags", "9000"], "tokens; expected 9002 or more"),
        (["both", "--gradients", "text.txt", "--lags", "9000"], "tokens; expected 9018 or more"),
    ],
)
def test_every_failure_is_one_line(call, arguments, message):
    out, err = call(*arguments, status=1)
    assert message in err
    assert err.startswith("ostinato: ")
    assert err.count("\n") == 1
    assert not out


@pytest.mark.parametrize(
    ("missing", "picture", "extra"), [("torch", "gradients", "train"), ("matplotlib", "gates", "plot")]
)
def test_what_is_missing_is_named_with_the_line_to_type(call, monkeypatch, missing, picture, extra):
    monkeypatch.setitem(sys.modules, missing, None)  # import gives ImportError
    monkeypatch.delitem(sys.modules, "ostinato.training.watch", raising=False)
    _, err = call("char", f"--{picture}", "text.txt", status=1)
    assert f'pip install "ostinato[{extra}]"' in err
    assert missing in err
    assert err.count("\n") == 1


def test_neither_sizes_nor_gates_need_torch(models):
    code = "import sys; sys.modules['torch'] = None\n" + CODE
    for arguments in (["char"], ["char", "--gates", "to be"]):
        command = [sys.executable, "-c", code, "inspect", *arguments]
        done = subprocess.run(command, cwd=models, capture_output=True, text=True, env={**os.environ})
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "summary",
    [{"texts": ["\x1b[31mred"], "train_chars": 5}, {"texts": ["a"]}, {"seconds": "long"}, {"valid": 3}],
)
def test_a_foreign_summary_gives_no_traceback_and_no_escape_sequence(call, models, summary):
    found = bundle.load(models / "char")
    bundle.save(
        models / "foreign",
        model=found.model,
        tensors=found.tensors,
        tokenizer_json=found.tokenizer_paths[0].read_text("utf-8"),
        training=summary,
        card="",
    )
    out, _ = call("foreign")
    assert "tokens" in out
    assert "\x1b" not in out

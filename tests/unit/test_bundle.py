"""Model folders: what is saved is loaded, damage is refused, and a crash leaves the old or the new whole."""

import errno
import hashlib
import json
import os
import shutil
from contextlib import suppress

import numpy as np
import pytest
import safetensors.numpy
from small_models import config, weights, write_folder

from ostinato import bundle
from ostinato.architectures import expected_tensors
from ostinato.config import CELLS
from ostinato.errors import BundleError, OstinatoError

CHECKED = ("config.json", "model.safetensors", "tokenizer.json")
OPTIONS = [
    {},
    {"bidirectional": True, "layer_norm": True},
    {"hidden": (3, 6), "tied": True},
    {"skip_output": True, "residual": True, "zoneout": 0.1, "hidden": (4, 4, 5)},
]


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "model")


@pytest.fixture
def small_folder(tmp_path):
    return write_folder(tmp_path / "small", stored="int8")


@pytest.fixture(params=["folder", "small_folder"])
def either(request):
    return request.getfixturevalue(request.param)


def save(folder, seed):
    model = config()
    bundle.save(
        folder, model=model, tensors=weights(model, seed), tokenizer_json="{}", training={"seed": seed}, card=str(seed)
    )


def rewrite_config(folder, change):
    """Change the configuration and give it a digest that fits, as somebody else's program would."""
    path = folder / "config.json"
    values = json.loads(path.read_bytes())
    change(values)
    path.write_bytes(bundle._render(values))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", OPTIONS)
def test_what_is_saved_is_loaded(tmp_path, cell, options):
    model = config(cell=cell, **options)
    tensors = weights(model)
    training = {"minutes": 5, "note": "Zürich \n \u2028", "losses": [1.5, 0.1 + 0.2, 1e-300], "none": None}
    bundle.save(
        tmp_path / "deep" / "m", model=model, tensors=tensors, tokenizer_json='{"a": "ü"}', training=training, card="#"
    )
    found = bundle.load(tmp_path / "deep" / "m")
    assert found.model == model
    assert found.training == training
    assert found.tokenizer_paths[0].read_text(encoding="utf-8") == '{"a": "ü"}'
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found.tensors[name], tensor)
        assert not found.tensors[name].flags.writeable
    assert sorted(path.name for path in found.folder.iterdir()) == sorted([*CHECKED, "README.md"])


def test_the_weights_are_a_file_of_the_library(folder):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected_tensors(bundle.load(folder).model)


def test_saving_leaves_other_files_alone(folder):
    (folder / "training").mkdir()
    (folder / "training" / "metrics.jsonl").write_text("{}")
    save(folder, 2)
    assert bundle.load(folder).training == {"seed": 2}
    assert (folder / "training" / "metrics.jsonl").read_text() == "{}"
    assert (folder / "README.md").read_text() == "2"


def test_the_readme_may_be_edited(folder):
    (folder / "README.md").write_text("My model.")
    bundle.load(folder)


@pytest.mark.parametrize("name", CHECKED)
def test_a_flipped_bit_is_noticed_wherever_it_is(either, name):
    folder, path = either, either / name
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in {*rng.integers(0, len(good), 150).tolist(), *range(12), len(good) - 1}:
        damaged = bytearray(good)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(BundleError) as caught:
            bundle.load(folder)
        assert str(folder) in str(caught.value)
        assert "\n" not in str(caught.value)
    path.write_bytes(good)
    bundle.load(folder)


@pytest.mark.parametrize("name", CHECKED)
def test_a_file_that_is_too_short_or_too_long_is_noticed(either, name):
    folder, path = either, either / name
    good = path.read_bytes()
    lengths = {*np.random.default_rng(1).integers(0, len(good), 60).tolist(), 0, 1, 7, 8, 9, len(good) - 1}
    for damaged in (*(good[:length] for length in lengths), good + b"\0", good + b" ", good + good):
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            bundle.load(folder)


@pytest.mark.parametrize("name", CHECKED)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} .*(missing|truncated)"):
        bundle.load(folder)


@pytest.mark.parametrize("name", CHECKED)
def test_a_folder_in_place_of_a_file_is_refused(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(BundleError):
        bundle.load(folder)


def test_a_file_of_another_model_is_refused(folder, tmp_path):
    other = write_folder(tmp_path / "other", seed=1)
    for name in ("model.safetensors", "tokenizer.json"):
        shutil.copy(other / name, folder / name)
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        bundle.load(folder)
    shutil.copy(write_folder(tmp_path / "words", "word") / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(BundleError, match=r"tokenizer\.json has .* expected .* not the file saved with this model"):
        bundle.load(folder)


def test_what_is_no_model_folder_is_refused(tmp_path):
    with pytest.raises(BundleError, match="does not exist"):
        bundle.load(tmp_path / "nothing")
    (tmp_path / "file").write_text("hello")
    with pytest.raises(BundleError, match="is a file"):
        bundle.load(tmp_path / "file")
    with pytest.raises(BundleError, match=r"config\.json is missing"):
        bundle.load(tmp_path)
    for foreign in ('{"model_type": "gpt2"}', "[1, 2]", "hello", "", "[" * 100_000, "\0", '{"format_version": 1}'):
        (tmp_path / "config.json").write_text(foreign)
        with pytest.raises(BundleError):
            bundle.load(tmp_path)


def test_another_version_is_named(folder):
    rewrite_config(folder, lambda values: values.update(format_version=3))
    with pytest.raises(BundleError, match="format version 3; this Ostinato reads versions 1 and 2; update"):
        bundle.load(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda values: values["model"].update(hidden=[5, 8]), "shape"),
        (lambda values: values["model"].update(hidden=[5]), "unknown tensor"),
        (lambda values: values["model"].update(layer_norm=True), "lacks tensor"),
        (lambda values: values["model"].update(vocab=1 << 24, embed=1 << 24), "shape"),
        (lambda values: values["model"].update(cell="transformer"), "cell is 'transformer'"),
        (lambda values: values["model"].pop("vocab"), "describe"),
        (lambda values: values["model"].update(hidden=3), "describe"),
        (lambda values: values.pop("files"), "files"),
        (lambda values: values["files"].pop("tokenizer.json"), "tokenizer.json"),
        (lambda values: values["files"]["model.safetensors"].update(bytes="many"), "many"),
        (lambda values: values["files"]["model.safetensors"].update(bytes=10), "expected 10"),
        (lambda values: values["files"]["model.safetensors"].update(sha256="0"), "SHA-256"),
        (lambda values: values["files"]["tokenizer.json"].update(bytes=1 << 62), "expected 4,611,"),
        (lambda values: values["files"]["tokenizer.json"].update(bytes=1 << 70), "expected 1,180,"),
        (lambda values: values["files"]["tokenizer.json"].update(bytes=-2), "expected -2"),
        (lambda values: values["files"]["tokenizer.json"].update(bytes=float("inf")), "infinity"),
        (lambda values: values.update(training=7), "describe"),
        (lambda values: values.update(architecture="transformer"), "ostinato train"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(folder, change, complaint):
    rewrite_config(folder, change)
    with pytest.raises(BundleError, match=complaint):
        bundle.load(folder)


def header_of(tensors, **changes):
    data = safetensors.numpy.save(tensors)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["output.bias"].update(changes)
    start = json.dumps(header).encode()
    return len(start).to_bytes(8, "little") + start + data[8 + length :]


@pytest.mark.parametrize(
    "changes",
    [{"dtype": "F64"}, {"shape": [12]}, {"shape": [-11]}, {"shape": "11"}, {"shape": None}, {"dtype": ["F32"]}],
)
def test_a_lying_header_is_refused_before_memory_is_taken(folder, monkeypatch, changes):
    data = header_of(weights(bundle.load(folder).model), **changes)
    (folder / "model.safetensors").write_bytes(data)
    rewrite_config(folder, lambda values: values["files"]["model.safetensors"].update(bytes=len(data)))
    monkeypatch.setattr(safetensors.numpy, "load", None)
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        bundle.load(folder)


def test_a_header_longer_than_the_file_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(BundleError, match="header"):
        bundle.load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output.bias", None),
        ("extra", np.zeros(3, np.float32)),
        ("output.bias", np.zeros(11)),
        ("output.bias", np.zeros(3, np.float32)),
    ],
)
def test_tensors_that_do_not_fit_are_not_saved(tmp_path, name, value):
    tensors = weights(config())
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    with pytest.raises(BundleError, match=name):
        bundle.save(tmp_path / "m", model=config(), tensors=tensors, tokenizer_json="{}", training={}, card="")
    assert not (tmp_path / "m").exists()


# In eight bits


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", OPTIONS)
def test_matrices_in_eight_bits_are_near_and_vectors_are_the_same(tmp_path, cell, options):
    model = config(cell=cell, **options)
    tensors = weights(model)
    bundle.save(tmp_path, model=model, tensors=tensors, tokenizer_json="{}", training={}, card="", weights="int8")
    found = bundle.load(tmp_path)
    assert (found.model, found.weights) == (model, "int8")
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        read = found.tensors[name]
        assert read.dtype == np.float32
        assert not read.flags.writeable
        if tensor.ndim == 1:
            np.testing.assert_array_equal(read, tensor)
        else:
            step = np.abs(tensor).max(axis=1, keepdims=True) / 127
            assert (np.abs(read - tensor) <= 0.5001 * step).all()
            assert (read != tensor).any()


def test_the_file_in_eight_bits_holds_bytes_and_a_scale_for_each_row(small_folder):
    stored = safetensors.numpy.load_file(small_folder / "model.safetensors")
    read = bundle.load(small_folder).tensors
    matrices = {name for name, tensor in read.items() if tensor.ndim == 2}
    assert len(matrices) == 6
    assert stored.keys() == read.keys() | {f"{name}_scale" for name in matrices}
    for name, tensor in stored.items():
        assert tensor.dtype == (np.int8 if name in matrices else np.float32)
    for name in matrices:
        scales = stored[f"{name}_scale"]
        assert scales.shape == (len(read[name]),)
        np.testing.assert_array_equal(read[name], stored[name].astype(np.float32) * scales[:, None])
        assert (np.abs(stored[name].astype(int)).max(axis=1) == 127).all()


def test_older_readers_refuse_eight_bits_by_the_version_and_read_float32_as_ever(folder, small_folder):
    whole, small = (json.loads((path / "config.json").read_bytes()) for path in (folder, small_folder))
    assert (whole["format_version"], whole.get("weights")) == (1, None)
    assert (small["format_version"], small["weights"]) == (2, "int8")
    assert not bundle.holds_eight_bits(folder)
    assert bundle.holds_eight_bits(small_folder)
    assert not bundle.holds_eight_bits(folder / "nothing")


def test_weights_of_another_kind_are_refused(small_folder):
    for change in (lambda values: values.update(weights="int4"), lambda values: values.pop("weights")):
        rewrite_config(small_folder, change)
        with pytest.raises(BundleError, match=r"weights of kind ('int4'|None); expected 'int8'"):
            bundle.load(small_folder)


def test_float32_is_not_taken_for_eight_bits_nor_the_reverse(folder, small_folder):
    rewrite_config(folder, lambda values: values.update(format_version=2, weights="int8"))
    with pytest.raises(BundleError, match=r"lacks tensor 'embedding\.weight_scale'"):
        bundle.load(folder)
    rewrite_config(small_folder, lambda values: values.update(format_version=1))
    with pytest.raises(BundleError, match=r"unknown tensor 'embedding\.weight_scale'"):
        bundle.load(small_folder)


def replace_weights(folder, change):
    """Change the tensors as somebody else's program would, with sums that fit."""
    path = folder / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    change(tensors)
    path.write_bytes(data := safetensors.numpy.save(tensors))
    sums = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite_config(folder, lambda values: values["files"].update({"model.safetensors": sums}))


SCALE = "stack.layers.1.weight_hh_scale"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda x: x.pop(SCALE), f"lacks tensor '{SCALE}'"),
        (lambda x: x.update({SCALE: x[SCALE][1:]}), r"F32 of shape \(27,\); expected F32 of shape \(28,\)"),
        (lambda x: x.update({SCALE: x[SCALE].astype(np.float64)}), f"'{SCALE}' is F64"),
        (lambda x: x.update({"output.weight": x["output.weight"].astype(np.float32)}), "F32 .*; expected I8"),
        (lambda x: x.update({"output.bias": x["output.bias"].astype(np.int8)}), "I8 .*; expected F32"),
        (lambda x: x.update({"output.bias_scale": x["output.bias"]}), "unknown tensor 'output.bias_scale'"),
        *((lambda x, bad=bad: x[SCALE].__setitem__(3, bad), f"'{SCALE}' has scales that are negative or not finite")
          for bad in (-1e-3, np.nan, np.inf, -np.inf, 3e38)),
        (lambda x: x["output.weight"].__setitem__((2, 1), -128), "'output.weight' holds -128; expected -127 to 127"),
    ],
)  # fmt: skip
def test_eight_bits_that_do_not_fit_are_refused(small_folder, change, complaint):
    replace_weights(small_folder, lambda tensors: None)
    bundle.load(small_folder)
    replace_weights(small_folder, change)
    with pytest.raises(BundleError, match=complaint) as caught:
        bundle.load(small_folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3.4e38])
def test_numbers_that_have_no_eight_bits_are_not_saved(tmp_path, bad):
    tensors = weights(config())
    tensors["output.weight"][2, 1] = bad
    with pytest.raises(BundleError, match=r"'output.weight' holds numbers that are not finite"):
        bundle.save(
            tmp_path / "m", model=config(), tensors=tensors, tokenizer_json="{}", training={}, card="", weights="int8"
        )
    assert not (tmp_path / "m").exists()


class Crash(BaseException):
    """The process is gone: nothing of it runs any more."""


STEPS = [(os, name) for name in ("fsync", "rename", "replace", "rmdir", "mkdir", "unlink")]


def crash_at(monkeypatch, step):
    """Let the step-th system call and every later one fail; gives the list of calls made."""
    calls = []
    for module, name in STEPS:
        original = getattr(module, name)

        def call(*arguments, original=original, name=name, **options):
            if len(calls) >= step:
                raise Crash
            calls.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, call)
    return calls


def count_steps(folder, monkeypatch):
    with monkeypatch.context() as patch:
        calls = crash_at(patch, 10**9)
        save(folder, 1)
    return len(calls)


def test_a_crash_at_any_moment_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    steps = count_steps(tmp_path / "count", monkeypatch)
    assert steps > 12
    states = []
    for step in range(steps + 1):
        folder = tmp_path / str(step)
        save(folder, 1)
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            with suppress(Crash):
                save(folder, 2)
        for torn in (folder / ".new").glob("*"):  # what was not synced may be anything
            torn.write_bytes(b"torn")
        found = bundle.load(folder)
        seed = found.training["seed"]
        np.testing.assert_array_equal(found.tensors["output.bias"], weights(config(), seed)["output.bias"])
        assert found.tokenizer_paths[0].is_file()
        assert bundle.inspect_folder(folder) == "model"
        states.append(seed)
        save(folder, 3)
        assert bundle.load(folder).training == {"seed": 3}
        assert not {".new", ".ready"} & {path.name for path in folder.iterdir()}
    assert states == sorted(states)
    assert {*states} == {1, 2}


def test_a_crash_while_a_crash_is_repaired_does_no_harm(tmp_path, monkeypatch):
    folder = tmp_path / "m"
    save(folder, 1)
    seeds = []
    for step in (10, 11, 12, 3, 2, 1, 0, 12):
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            with pytest.raises(Crash):
                save(folder, 2 + len(seeds))
        seeds.append(bundle.load(folder).training["seed"])
    assert seeds == sorted(seeds)


def test_a_crash_before_there_is_a_model_leaves_none(tmp_path, monkeypatch):
    for step in range(count_steps(tmp_path / "count", monkeypatch)):
        folder = tmp_path / str(step)
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            with pytest.raises(Crash):
                save(folder, 1)
        kind = bundle.inspect_folder(folder)
        assert kind in ("empty", "partial", "model")
        if kind == "model":
            assert bundle.load(folder).training == {"seed": 1}
        else:
            with pytest.raises(BundleError):
                bundle.load(folder)


@pytest.mark.parametrize("step", range(8))
def test_a_full_disk_is_stated_and_harms_nothing(tmp_path, monkeypatch, step):
    save(tmp_path, 1)
    calls = []
    original = os.fsync

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) > step:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OstinatoError, match="disk is full"):
            save(tmp_path, 2)
    assert not (tmp_path / ".new").exists()
    # From the fifth call on, the new model was complete before the disk complained.
    assert bundle.load(tmp_path).training["seed"] == (1 if step < 5 else 2)


def test_a_folder_that_cannot_be_written_is_stated(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="cannot be written"):
        save(tmp_path / "file" / "model", 1)


def test_a_reader_that_comes_while_a_model_is_replaced_gets_one_of_the_two(tmp_path, monkeypatch):
    save(tmp_path, 1)
    original = bundle._load_weights

    def slow(*arguments):
        with monkeypatch.context() as patch:
            patch.setattr(bundle, "_load_weights", original)
            save(tmp_path, 2)
        monkeypatch.setattr(bundle, "_load_weights", original)
        return original(*arguments)

    monkeypatch.setattr(bundle, "_load_weights", slow)
    assert bundle.load(tmp_path).training == {"seed": 2}


def test_folders_are_told_apart(folder, tmp_path):
    assert bundle.inspect_folder(folder) == "model"
    assert bundle.inspect_folder(str(tmp_path / "missing")) == "empty"
    (tmp_path / "empty").mkdir()
    assert bundle.inspect_folder(tmp_path / "empty") == "empty"
    assert bundle.inspect_folder(tmp_path) == "other"
    assert bundle.inspect_folder(folder / "config.json") == "other"
    (tmp_path / "begun" / "training").mkdir(parents=True)
    assert bundle.inspect_folder(tmp_path / "begun") == "partial"
    (tmp_path / "begun" / "letter.txt").write_text("dear")
    assert bundle.inspect_folder(tmp_path / "begun") == "other"
    for foreign in ("{}", "not JSON"):
        (tmp_path / "config.json").write_text(foreign)
        assert bundle.inspect_folder(tmp_path) == "other"

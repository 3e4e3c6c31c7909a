from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.errors import ConfigError
from ostinato.pipeline import settings
from ostinato.pipeline.settings import TextSettings, check, gather, known_settings, to_toml


def toml(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, "utf-8")
    return path


def test_a_flag_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    file = toml(tmp_path, "hidden = [32, 64]\nlr = 1\nbatch = 4\ntied = true\nvalid = 0.2\n")
    environment = {"OSTINATO_TRAIN_LR": "0.5", "OSTINATO_TRAIN_BATCH": "8", "OSTINATO_TRAIN_TIED": "no", "HOME": "/"}
    found = gather({"batch": 16, "clip": None}, environment, file)
    assert found == {"hidden": (32, 64), "lr": 0.5, "batch": 16, "tied": False, "valid": "0.2"}
    assert gather({}, {}, file)["lr"] == 1.0
    assert isinstance(gather({}, {}, file)["lr"], float)
    assert gather({}, {}, None) == {}


def test_a_budget_replaces_one_of_another_kind_from_further_back(tmp_path: Path) -> None:
    file = toml(tmp_path, "minutes = 3\nlr = 0.1\n")
    assert gather({}, {"OSTINATO_TRAIN_EPOCHS": "2"}, file) == {"epochs": 2.0, "lr": 0.1}
    assert gather({"steps": 7}, {"OSTINATO_TRAIN_EPOCHS": "2"}, file) == {"steps": 7, "lr": 0.1}
    assert gather({"steps": 7, "epochs": 1}, {}, file) == {"steps": 7, "epochs": 1.0, "lr": 0.1}


def test_a_short_way_from_nearer_replaces_what_it_stands_for(tmp_path: Path) -> None:
    file = toml(tmp_path, "dropout = 0.1\ndropout_hidden = 0.1\nlocked = true\nlayers = 2\nhidden = [64, 64]\n")
    assert gather({"dropout": 0.4}, {}, file) == {"dropout": 0.4, "locked": True, "layers": 2, "hidden": (64, 64)}
    both = gather({"dropout": 0.4}, {"OSTINATO_TRAIN_DROPOUT_HIDDEN": "0.3"}, file)
    assert "dropout_hidden" not in both
    assert gather({"dropout": 0.4, "dropout_hidden": 0.2}, {}, file)["dropout_hidden"] == 0.2
    assert gather({"layers": 3}, {}, file) | {"layers": 3, "hidden": (64,)} == gather({"layers": 3}, {}, file)
    wider = gather({"hidden": "8,16,32"}, {}, file)
    assert wider["hidden"] == (8, 16, 32)
    assert "layers" not in wider
    assert gather({"hidden": 128}, {}, file)["layers"] == 2
    uneven = toml(tmp_path, "hidden = [32, 64]\n")
    assert gather({"layers": 3}, {}, uneven) == {"hidden": (32, 64), "layers": 3}  # check says that they contradict


@pytest.mark.parametrize(
    ("flags", "environment", "file", "message"),
    [
        ({"hiden": 3}, {}, "", r"unknown key 'hiden' in the call; did you mean 'hidden'\?"),
        ({}, {"OSTINATO_TRAIN_MINUTS": "3"}, "", r"'minuts' in the environment; did you mean 'minutes'\?"),
        ({}, {}, "droput = 0.1", r"'droput' in .*run.toml; did you mean 'dropout'\?"),
        ({}, {}, "[table]\nhidden = 3", r"unknown key 'table' in .*run.toml$"),
        ({}, {}, "qqq = 1", r"unknown key 'qqq' in .*run.toml$"),
        ({"batch": 2.5}, {}, "", "batch in the call is 2.5; expected a whole number"),
        ({"batch": True}, {}, "", "batch in the call is True; expected a whole number"),
        ({"lr": "fast"}, {}, "", "lr in the call is 'fast'; expected a number"),
        ({}, {"OSTINATO_TRAIN_BATCH": "many"}, "", "batch in the environment is 'many'; expected a whole number"),
        ({}, {"OSTINATO_TRAIN_TIED": "maybe"}, "", "tied in the environment is 'maybe'; expected true or false"),
        ({}, {}, 'tied = "yes"', "tied in .* is 'yes'; expected true or false"),
        ({}, {}, "cell = [1]", r"cell in .* is \[1\]; expected a text"),
        ({"hidden": "64,x"}, {}, "", "hidden is '64,x'; expected a width such as 256, or one for each layer: 512,256"),
        ({"hidden": 0}, {}, "", "hidden is 0; expected a whole number from 1"),
        ({}, {}, "hidden = ", "not readable as TOML"),
    ],
)
def test_what_is_unknown_or_of_another_type_is_refused(
    tmp_path: Path, flags: dict[str, Any], environment: dict[str, str], file: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        gather(flags, environment, toml(tmp_path, file))


def test_a_missing_or_unreadable_file_is_stated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; --config wants a TOML file"):
        gather({}, {}, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        gather({}, {}, tmp_path)
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        gather({}, {}, tmp_path / "run.toml")


@pytest.mark.parametrize("value", [512, "512", [512], (512,)])
def test_hidden_may_be_said_in_many_ways(value: Any) -> None:
    assert gather({"hidden": value}, {}, None)["hidden"] == (512,)
    assert gather({"hidden": "512, 256"}, {}, None)["hidden"] == (512, 256)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dropout_hidden": 1.5}, "dropout_hidden is 1.5; expected a number from 0.0 to 0.95"),
        ({"minutes": -1.0}, "minutes is -1.0"),
        ({"steps": 0}, "steps is 0; expected a whole number from 1"),
        ({"minutes": 1.0, "steps": 5}, "exactly one of minutes, epochs and steps"),
        ({"embed": 0}, "embed is 0"),
        ({"cell": "lstn"}, "cell is 'lstn'; expected one of .*; did you mean 'lstm'"),
        ({"cell": "lstm", "activation": "relu"}, "activation 'relu' is for --cell rnn; lstm has its own"),
        ({"activation": "relu"}, "activation 'relu' is for --cell rnn"),
        ({"tied": True, "embed": 64, "hidden": (128,)}, "tied embeddings need the last layer"),
        ({"tied": True, "embed": 64, "hidden": (64,), "bidirectional": True}, "tied embeddings need 2 x"),
        ({"tied": True, "skip_output": True, "hidden": (64, 64)}, "drop skip_output or tied"),
        ({"layers": 2, "hidden": (64, 64, 64)}, "layers is 2, but hidden gives 3 widths"),
        ({"optimiser": "adam"}, "optimiser is 'adam'; expected one of adamw.*did you mean 'adamw'"),
        ({"schedule": "plateau"}, "plateau needs patience"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"zoneout": 1.0}, "zoneout is 1.0"),
        ({"sampled_softmax": -1}, "sampled_softmax is -1; expected a whole number from 0"),
    ],
)
def test_values_out_of_range_and_contradictions_are_refused_before_any_text_is_read(
    values: dict[str, Any], message: str
) -> None:
    budget = {} if {"minutes", "steps"} & values.keys() else {"minutes": 5.0}
    with pytest.raises(ConfigError, match=message):
        check({**budget, **values})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tied": True},
        {"tied": True, "hidden": (64,)},
        {"tied": True, "embed": 128, "hidden": (64,), "bidirectional": True},
        {"tied": True, "embed": 64},
        {"embed": 7},
        {"cell": "rnn", "activation": "relu", "hidden": (3, 4), "layers": 2},
        {"hidden": (64,), "layers": 3},
    ],
)
def test_what_goes_together_passes(values: dict[str, Any]) -> None:
    check({"epochs": 1.0, **values})


@pytest.mark.parametrize("valid", ["0.9", "0", "-0.1", "nan"])
def test_the_held_out_share_has_bounds(valid: str) -> None:
    with pytest.raises(ConfigError, match=r"valid is .*; expected a number from 0.0001 to 0.5"):
        TextSettings(valid=valid)


def test_the_held_out_text_may_be_a_file() -> None:
    assert TextSettings(valid="valid.txt").valid_share is None
    assert TextSettings(valid="0.25").valid_share == 0.25


def test_every_setting_says_what_it_means() -> None:
    for setting in known_settings().values():
        assert setting.text.endswith((".", "%")), setting
        assert setting.kind in (bool, int, float, str)
        assert not any(name in setting.text for name in settings.CHOICES), setting
    assert known_settings()["cell"].text.startswith("One of rnn, gru")
    assert {"minutes", "hidden", "dropout", "level", "valid", "device", "tied"} <= known_settings().keys()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "lr": st.floats(1e-9, 1e3),
            "batch": st.integers(1, 1 << 16),
            "tied": st.booleans(),
            "hidden": st.lists(st.integers(1, 9999), min_size=1, max_size=4).map(tuple),
            "valid": st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        },
    )
)
def test_what_is_saved_is_read_back_equal(values: dict[str, Any]) -> None:
    text = to_toml(values, dict.fromkeys(values, 'because: "so" # it is'))
    read = {name: settings._typed(name, value, "x") for name, value in tomllib.loads(text).items()}
    assert read == values


def test_what_is_not_set_is_left_out() -> None:
    assert to_toml({"vocab": None, "lr": 0.5}, {"lr": "a reason"}) == "lr = 0.5  # a reason\n"

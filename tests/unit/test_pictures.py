"""Pictures: what lies where, any script, numbers that no scale can show."""

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from ostinato.errors import ConfigError
from ostinato.pictures import CEILING, FLOOR, draw_gates, draw_lags, draw_run

DARK, BRIGHT = (68, 1, 84), (253, 231, 37)
"""The ends of the colour map of gates."""


def centre(picture, colour):
    """Mean row and column of the pixels of a colour, the colour bar at the right left out."""
    pixels = np.round(255 * picture[:, : int(0.8 * picture.shape[1]), :3])
    places = np.argwhere((np.abs(pixels - colour) <= 2).all(axis=-1))
    assert len(places) > 100
    return places.mean(axis=0)


def words(path):
    return [node.text for node in ElementTree.parse(path).iter() if node.tag.endswith("}text")]


def test_rows_are_units_and_columns_tokens(tmp_path):
    values = np.zeros((6, 3), np.float32)
    values[0, 2] = 1.0  # unit 2 at the first token
    draw_gates({"i": values}, [0, 2], list("abcdef"), "a title", tmp_path / "gates.png")
    picture = imread(tmp_path / "gates.png")
    bright, dark = centre(picture, BRIGHT), centre(picture, DARK)
    assert bright[0] > dark[0]  # below: the second of the two units
    assert bright[1] < dark[1]  # at the left


def test_labels_of_any_kind_are_text(tmp_path):
    labels = ["$x^2$", "中", "\\n", "<unk>", "ก", "🙂"]
    gates = {name: np.linspace(-2, 2, 12, dtype=np.float32).reshape(6, 2) for name in "cgh"}
    draw_gates(gates, [0, 1], labels, "a title", tmp_path / "gates.svg")
    assert set(labels) <= set(words(tmp_path / "gates.svg"))


def test_a_state_that_never_moves_is_neither_below_nor_above_zero(tmp_path):
    draw_gates({"h": np.zeros((6, 2), np.float32)}, [0, 1], list("abcdef"), "", tmp_path / "gates.png")
    centre(imread(tmp_path / "gates.png"), (247, 247, 247))


def test_norms_that_no_scale_can_show_are_left_out(tmp_path):
    curves = {
        "fades": np.array([1.0, 1e-30, 0.0, 0.0]),
        "grows": np.array([1.0, 1e30, np.inf, np.inf]),
        "dead": np.full(4, np.nan),
    }
    draw_lags({"one": curves, "other": curves}, range(4), tmp_path / "lags.svg")
    assert {"one", "other", "fades", "grows", "dead"} <= set(words(tmp_path / "lags.svg"))
    assert FLOOR < 1 < CEILING
    draw_lags({"one": {"dead": curves["dead"]}}, range(4), tmp_path / "lags.png")


@pytest.mark.parametrize("name", ["picture", "picture.jpg", "svg"])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.svg or \.png"):
        draw_lags({"": {"x": np.ones(2)}}, range(2), tmp_path / name)
    assert not list(tmp_path.iterdir())


NORMS = {"gradient_norm": 2.0, "gradient_norm_max": 3.0, "gradient_norm_clipped": 1.0}


def run_of(steps):
    lines = [{"seconds": 0.0, "valid_bits_per_char": None}]
    for step in range(1, steps + 1):
        lines.append({"seconds": step, "bits_per_char": 2.0 / step, **NORMS})
        lines.append({"seconds": step, "valid_bits_per_char": 3.0 / step})
    return lines


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_run_is_drawn_however_short_with_the_same_bytes_and_the_users_backend(tmp_path, steps):
    matplotlib = pytest.importorskip("matplotlib")
    before = matplotlib.rcParams._get("backend")
    pictures = [tmp_path / name for name in ("loss.svg", "gradients.svg", "loss2.svg", "gradients2.svg")]
    draw_run(run_of(steps), *pictures[:2])
    draw_run(run_of(steps), *pictures[2:])
    first, second = ([path.read_bytes() for path in pair] for pair in (pictures[:2], pictures[2:]))
    assert first == second
    assert b"held out" in first[0]
    assert b"after clipping" in first[1]
    assert matplotlib.rcParams._get("backend") == before

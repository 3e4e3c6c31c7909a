"""Our weights in the orders of other libraries: the conversions that the comparisons with them need."""

from __future__ import annotations

import numpy as np


def blocks(weight: np.ndarray, order: str, wanted: str) -> np.ndarray:
    """The gate blocks of ``weight (G*H, ...)``, which lie in ``order``, in the order ``wanted``: "ifgo", "iofg"."""
    parts = dict(zip(order, np.split(weight, len(order)), strict=True))
    return np.concatenate([parts[gate] for gate in wanted])


def to_torch(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As ``state_dict`` of torch.nn.RNN, GRU (from ``gru_reset_after``) or LSTM: the same orders, two biases."""
    bias = weights["bias"]
    bias_hh = np.zeros_like(bias)
    if "bias_hn" in weights:
        bias_hh[-len(weights["bias_hn"]) :] = weights["bias_hn"]
    return {
        "weight_ih_l0": weights["weight_ih"],
        "weight_hh_l0": weights["weight_hh"],
        "bias_ih_l0": bias,
        "bias_hh_l0": bias_hh,
    }


def lstm_to_onnx(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs W, R, B and P of ONNX's LSTM: gates i, o, f, c and peepholes i, o, f, each with a leading direction."""

    def order(weight: np.ndarray) -> np.ndarray:
        return blocks(weight, "ifgo", "iofg")

    bias = order(weights["bias"])
    peepholes = [weights[f"weight_c{gate}"] for gate in "iof"] if "weight_ci" in weights else [bias[:0]]
    return {
        "W": order(weights["weight_ih"])[None],
        "R": order(weights["weight_hh"])[None],
        "B": np.concatenate([bias, np.zeros_like(bias)])[None],
        "P": np.concatenate(peepholes)[None],
    }


def gru_to_onnx(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs W, R and B of ONNX's GRU: gates z, r, h; ``bias_hn`` is the last third of the recurrent bias."""

    def order(weight: np.ndarray) -> np.ndarray:
        return blocks(weight, "rzn", "zrn")

    bias_hh = to_torch(weights)["bias_hh_l0"]
    return {
        "W": order(weights["weight_ih"])[None],
        "R": order(weights["weight_hh"])[None],
        "B": np.concatenate([order(weights["bias"]), order(bias_hh)])[None],
    }

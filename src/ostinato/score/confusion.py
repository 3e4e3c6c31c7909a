"""How well labels are predicted: accuracy, F1, and who is taken for whom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def confusion(true: NDArray[np.integer], predicted: NDArray[np.integer], labels: int) -> Counts:
    """``(C, C)``: how many texts of label ``i`` were taken for ``j``, from the numbers of both, ``(n,)`` each."""
    counts = np.bincount(true.astype(np.int64) * labels + predicted, minlength=labels * labels)
    return counts.reshape(labels, labels)


def accuracy(counts: Counts) -> float:
    """The share that was right. NaN of nothing."""
    total = counts.sum()
    return float(np.trace(counts) / total) if total else float("nan")


def macro_f1(counts: Counts) -> float:
    """The mean over the labels of ``2 TP / (2 TP + FP + FN)``, each label as much as another.

    A label that neither occurs nor is predicted is left out. NaN of nothing.
    """
    right, of_both = np.diag(counts), counts.sum(0) + counts.sum(1)
    seen = of_both > 0
    return float((2.0 * right[seen] / of_both[seen]).mean()) if seen.any() else float("nan")

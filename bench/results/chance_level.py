"""Compare a clean accuracy with the accuracy of always predicting the most frequent class of the evaluated images.

A model is better than chance if one of two tests finds it better:

- The 95 % Wilson interval of its accuracy is above the share of the most frequent class.
- McNemar's exact one-sided test is significant at 5 %: the model correctly classifies more images of the other classes
  than it misclassifies images of the most frequent class. This test is paired, and therefore more powerful on
  unbalanced data.

A model that predicts the same class for every image is never better than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.records import EvalRecord, RunRecord
from bench.statistics.intervals import wilson_interval

CHANCE = "no better than chance"
ALPHA = 0.05  # level of the paired test


class Majority(NamedTuple):
    """Counts of the most frequent class among the evaluated images."""

    n: int  # number of images of the class
    n_correct: int | None  # number of correctly classified images of the class; None if not recorded


def majority_of(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Majority:
    """Return the counts of the most frequent class. Among equally frequent classes, use the one with fewest correct.

    ``predicted`` and ``labels`` are (images,).
    """
    classes, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    correct = np.bincount(inverse[predicted == labels], minlength=len(classes))
    return Majority(int(sizes.max()), int(correct[sizes == sizes.max()].min()))


def at_chance(correct: int, n: int, largest_share: float) -> bool:
    """Check whether the lower end of the 95 % Wilson interval of ``correct``/``n`` is at most ``largest_share``."""
    low, _ = wilson_interval(correct, n)
    return low <= largest_share


def beats_majority(correct: int, majority: Majority) -> bool:
    """Check whether McNemar's exact one-sided test finds the model better than the most frequent class.

    False if ``majority`` has no count of correct images.
    """
    if majority.n_correct is None:
        return False
    from scipy.stats import binomtest  # slow to import

    n_improved, n_regressed = correct - majority.n_correct, majority.n - majority.n_correct
    return (
        n_improved > n_regressed
        and float(binomtest(n_improved, n_improved + n_regressed, 0.5, alternative="greater").pvalue) < ALPHA
    )


def chance_notes(correct: int, n: int, majority: Majority, *, constant: bool = False) -> tuple[str, ...]:
    """Return a note if ``correct`` of ``n`` images is no better than always predicting the most frequent class.

    ``constant`` is True if the model predicts the same class for all images.
    """
    if not constant and not _is_no_better(correct, n, majority):
        return ()
    suffix = "; all predictions are the same class" if constant else ""
    return (f"{CHANCE} ({correct} of {n} correct; the most frequent class has {majority.n} of {n} images{suffix})",)


def of_chance(notes: Sequence[str]) -> list[str]:
    """Return the notes of a cell that were written by :func:`chance_notes`."""
    return [note for note in notes if note.startswith(CHANCE)]


def is_at_chance(run: RunRecord, clean: EvalRecord) -> bool:
    """Check whether a stored clean cell is no better than chance.

    Older records lack counts. Without ``n_correct_majority`` only the interval is tested. Without ``n_majority`` the
    share of the most frequent class is assumed to be 1/K. If K is unknown because the model was trained elsewhere, only
    the notes of the cell are used.
    """
    if clean.status != "ok" or clean.n_correct is None:
        return False
    if of_chance(clean.notes):
        return True
    if clean.n_majority is not None:
        return _is_no_better(clean.n_correct, clean.n, Majority(clean.n_majority, clean.n_correct_majority))
    return run.spec is not None and at_chance(clean.n_correct, clean.n, 1 / run.spec.data.num_classes)


def _is_no_better(correct: int, n: int, majority: Majority) -> bool:
    return at_chance(correct, n, majority.n / n) and not beats_majority(correct, majority)

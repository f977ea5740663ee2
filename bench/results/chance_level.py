"""Compare a model's clean accuracy with that of a constant answer: the most frequent class of the evaluated images.

A model is better than chance if one of two tests says so:

- the 95 % Wilson interval of its accuracy lies above the share of the most frequent class;
- it gains more images of the other classes than it loses of the most frequent one, by McNemar's exact one-sided test
  at 5 %. Both answers are given for the same images, so on unbalanced data this test is the stronger one.

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
ALPHA = 0.05  # of the paired test


class Majority(NamedTuple):
    """Counts of the most frequent class."""

    n: int
    n_correct: int | None  # None: not recorded


def majority_of(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Majority:
    """Return the counts of the most frequent class; among equally frequent ones, of the class with fewest correct."""
    classes, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    correct = np.bincount(inverse[predicted == labels], minlength=len(classes))
    return Majority(int(sizes.max()), int(correct[sizes == sizes.max()].min()))


def at_chance(correct: int, n: int, largest_share: float) -> bool:
    """Whether the 95 % interval of ``correct``/``n``, Wilson's as in every row, reaches down to ``largest_share``."""
    low, _ = wilson_interval(correct, n)
    return low <= largest_share


def beats_majority(correct: int, majority: Majority) -> bool:
    """Whether McNemar's exact one-sided test finds the model better than always predicting the most frequent class."""
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

    ``constant`` says that the model predicts the same class for all images.
    """
    if not constant and not _guesses(correct, n, majority):
        return ()
    answers = "; it gives all images the same class" if constant else ""
    return (f"{CHANCE} ({correct} of {n} right, the most frequent class alone has {majority.n}{answers})",)


def of_chance(notes: Sequence[str]) -> list[str]:
    """Return the notes of a cell that :func:`chance_notes` made."""
    return [note for note in notes if note.startswith(CHANCE)]


def is_at_chance(run: RunRecord, clean: EvalRecord) -> bool:
    """Whether a stored clean cell is no better than chance.

    Older records lack counts. Without ``n_correct_majority`` only the interval decides. Without ``n_majority`` the
    share of the most frequent class is taken to be 1/K, or, if K is unknown because the model was not trained here,
    the notes of the cell decide.
    """
    if clean.status != "ok" or clean.n_correct is None:
        return False
    if of_chance(clean.notes):
        return True
    if clean.n_majority is not None:
        return _guesses(clean.n_correct, clean.n, Majority(clean.n_majority, clean.n_correct_majority))
    return run.spec is not None and at_chance(clean.n_correct, clean.n, 1 / run.spec.data.num_classes)


def _guesses(correct: int, n: int, majority: Majority) -> bool:
    return at_chance(correct, n, majority.n / n) and not beats_majority(correct, majority)

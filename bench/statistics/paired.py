"""Two classifiers on the same images: McNemar's exact test, and an interval of the difference of their accuracies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE


class Paired(NamedTuple):
    """Differences of the second of two classifiers from the first, as fractions and counts of images."""

    n: int
    n_regressed: int  # right by the first, wrong by the second
    n_improved: int  # wrong by the first, right by the second
    difference: float  # (gained − lost)/n
    low: float
    high: float
    p: float  # of McNemar's exact test


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Whether ``second`` is right more or less often than ``first``; both (images,) bool, in the same order.

    ``p`` is McNemar's (1947) in its exact form: given the lost + gained images on which the two differ, each was as
    likely to be lost as to be gained. It is about these two networks and other images, not about other trainings.
    Raises ValueError unless both are bool vectors of one length above 0.
    """
    a, b = _verdicts(first), _verdicts(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} verdicts are no pairs")
    from statsmodels.stats.contingency_tables import mcnemar  # slow to import

    n_regressed, n_improved = int((a & ~b).sum()), int((~a & b).sum())
    table = [[int((a & b).sum()), n_regressed], [n_improved, int((~a & ~b).sum())]]
    low, high = difference_interval(n_regressed, n_improved, len(a))
    return Paired(
        n=len(a),
        n_regressed=n_regressed,
        n_improved=n_improved,
        difference=(n_improved - n_regressed) / len(a),
        low=low,
        high=high,
        p=float(mcnemar(table, exact=True).pvalue),
    )


def difference_interval(n_regressed: int, n_improved: int, n: int) -> tuple[float, float]:
    """The 95 % interval of (gained − lost)/n by Bonett and Price (2012, J. Educ. Behav. Stat. 37:479, eq. 5).

    Wald's interval after one image more was lost and one more gained (Laplace). statsmodels has none for pairs. This
    one keeps its width where no image or only a few are discordant, where the bootstrap's and Wald's vanish, and
    Fagerland, Lydersen and Laake (2014, Stat. Med. 33:2850) recommend it for its simplicity and coverage.
    Raises ValueError unless 0 ≤ lost + gained ≤ n and n > 0.
    """
    if min(n_regressed, n_improved) < 0 or n_regressed + n_improved > n or n <= 0:
        raise ValueError(f"{n_regressed} lost and {n_improved} gained of {n} are no counts of pairs")
    from scipy import stats  # slow to import

    more, less = (n_improved + 1) / (n + 2), (n_regressed + 1) / (n + 2)
    error = np.sqrt((more + less - (more - less) ** 2) / (n + 2))
    low, high = stats.norm.interval(CONFIDENCE, loc=more - less, scale=error)
    return max(-1.0, float(low)), min(1.0, float(high))


def _verdicts(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_ or array.ndim != 1 or not len(array):
        raise ValueError(f"verdicts are a vector of bool, not {array.dtype} of shape {array.shape}")
    return array

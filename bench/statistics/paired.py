"""Compare two classifiers on the same images: McNemar's exact test, and an interval of the accuracy difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE


class Paired(NamedTuple):
    """Differences of the second of two classifiers from the first, as fractions and counts of images."""

    n: int
    n_regressed: int  # correctly classified by the first only
    n_improved: int  # correctly classified by the second only
    difference: float  # (n_improved − n_regressed)/n
    low: float  # ends of the 95 % interval of the difference
    high: float
    p: float  # of McNemar's exact test


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Compare the accuracies of two classifiers; ``first`` and ``second`` are (images,) bool, in the same order.

    An entry is True if the image is correctly classified. ``p`` is that of the exact test of McNemar (1947). Its null
    hypothesis is that each image on which the two differ is equally likely to be regressed or improved. The test
    generalizes these two networks to other images, not to other trainings.
    Raises ValueError unless both are bool vectors of the same length above 0.
    """
    a, b = _verdicts(first), _verdicts(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} verdicts are no pairs; both must cover the same images")
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
    """Return the 95 % interval of (n_improved − n_regressed)/n by Bonett and Price.

    Bonett and Price (2012, J. Educ. Behav. Stat. 37:479, eq. 5): the Wald interval after adding one regressed and one
    improved image (Laplace). statsmodels has no interval for pairs. With no or few discordant images, this interval
    keeps a positive width, whereas those of the bootstrap and of Wald vanish. Fagerland, Lydersen and Laake (2014,
    Stat. Med. 33:2850) recommend it for its simplicity and coverage.
    Raises ValueError unless both counts are at least 0, their sum is at most n, and n > 0.
    """
    if min(n_regressed, n_improved) < 0 or n_regressed + n_improved > n or n <= 0:
        raise ValueError(f"{n_regressed} regressed and {n_improved} improved of {n} are no counts of pairs")
    from scipy import stats  # slow to import

    more, less = (n_improved + 1) / (n + 2), (n_regressed + 1) / (n + 2)
    error = np.sqrt((more + less - (more - less) ** 2) / (n + 2))
    low, high = stats.norm.interval(CONFIDENCE, loc=more - less, scale=error)
    return max(-1.0, float(low)), min(1.0, float(high))


def _verdicts(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_ or array.ndim != 1 or not len(array):
        raise ValueError(f"verdicts must be a non-empty vector of bool, not {array.dtype} of shape {array.shape}")
    return array

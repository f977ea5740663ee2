"""Compare two classifiers on the same images by McNemar's exact test and an interval of the accuracy difference."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE


class Paired(NamedTuple):
    """Differences between two classifiers on the same images, second minus first, as fractions and counts of images."""

    n: int
    n_regressed: int  # images that only the first classifies correctly
    n_improved: int  # images that only the second classifies correctly
    difference: float  # (n_improved − n_regressed)/n
    low: float  # lower end of the 95 % interval of the difference
    high: float
    p: float  # p-value of McNemar's exact test


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Compare the accuracies of two classifiers on the same images.

    ``first`` and ``second`` are (images,) bool, in the same order. An entry is True if the image is correctly
    classified. ``p`` is the p-value of the exact test of McNemar (1947). The null hypothesis is that each image on
    which the two classifiers differ is equally likely to be regressed or improved. The test generalizes to other
    images, but not to other trainings.
    Raises ValueError unless both are bool vectors of the same length above 0.
    """
    a, b = _verdicts(first), _verdicts(second)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} outcomes are not pairs; both must cover the same images")
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

    Bonett and Price (2012, J. Educ. Behav. Stat. 37:479, eq. 5) compute the Wald interval after adding one regressed
    and one improved image (Laplace). statsmodels has no interval for pairs. Without discordant images, this interval
    has a positive width, whereas the bootstrap interval and the Wald interval have width 0. Fagerland, Lydersen and
    Laake (2014, Stat. Med. 33:2850) recommend it for its simplicity and coverage.
    Raises ValueError unless both counts are at least 0, their sum is at most n, and n > 0.
    """
    if min(n_regressed, n_improved) < 0 or n_regressed + n_improved > n or n <= 0:
        raise ValueError(f"{n_regressed} regressed and {n_improved} improved of {n} are not counts of pairs")
    from scipy import stats  # slow to import

    improved, regressed = (n_improved + 1) / (n + 2), (n_regressed + 1) / (n + 2)
    error = np.sqrt((improved + regressed - (improved - regressed) ** 2) / (n + 2))
    low, high = stats.norm.interval(CONFIDENCE, loc=improved - regressed, scale=error)
    return max(-1.0, float(low)), min(1.0, float(high))


def _verdicts(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_ or array.ndim != 1 or not len(array):
        raise ValueError(f"outcomes must be a non-empty vector of bool, not {array.dtype} of shape {array.shape}")
    return array

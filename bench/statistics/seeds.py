"""Several trainings of one recipe: their spread, and whether two recipes differ by more than that."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE

MOST_EXACT = 16  # seeds; 2¹⁶ sign flips are all looked at
RESAMPLES = 4000
CHUNK = 10_000_000  # counts drawn at once


class Spread(NamedTuple):
    """A mean over seeds, in the unit of the values."""

    mean: float
    std: float  # of the sample, n − 1
    low: float  # of the 95 % t-interval of the mean
    high: float


def spread(values: NDArray[np.float64]) -> Spread:
    """Mean, standard deviation and Student's 95 % interval over seeds; ``values`` (seeds,), one per seed.

    The interval is for the mean over *trainings* on these very images; what other images would do is
    :func:`sampling_error`. Raises ValueError for fewer than two values, or one that is not finite.
    """
    array = _finite(values, ndim=1)
    if len(array) < 2:
        raise ValueError("a spread over seeds takes two of them or more")
    from scipy import stats  # slow to import

    mean, std = float(array.mean()), float(array.std(ddof=1))
    if std == 0:
        return Spread(mean, 0.0, mean, mean)
    low, high = stats.t.interval(CONFIDENCE, len(array) - 1, loc=mean, scale=stats.sem(array))
    return Spread(mean, std, float(low), float(high))


def sampling_error(outcomes: NDArray[np.float64]) -> float:
    """The standard error of the mean of n images; ``outcomes`` (images,), each image's mean over seeds, in [0, 1].

    It is that of drawing other images, the trained networks being what they are. Raises ValueError for fewer than two.
    """
    array = _finite(outcomes, ndim=1)
    if len(array) < 2:
        raise ValueError("a standard error takes two images or more")
    from scipy import stats  # slow to import

    return float(stats.sem(array))


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p that the mean of ``differences`` (seeds,), one per pair of trainings, is as far from 0 by chance.

    The exact permutation test (Fisher 1935, §21): were variant and baseline alike, each difference might as well have
    the other sign; all 2^S choices of signs are looked at, above ``MOST_EXACT`` seeds as many drawn ones. p cannot be
    below :func:`smallest_p`. Raises ValueError for fewer than two seeds, or a difference that is not finite.
    """
    array = _finite(differences, ndim=1)
    if len(array) < 2:
        raise ValueError("a permutation over seeds takes two of them or more")
    from scipy import stats  # slow to import

    def mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.asarray(values.mean(axis=axis))

    exact = len(array) <= MOST_EXACT
    found = stats.permutation_test(
        (array,),
        mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if exact else 2**MOST_EXACT - 1,
        random_state=None if exact else np.random.default_rng(0),
    )
    return float(found.pvalue)


def smallest_p(seeds: int) -> float:
    """Return the smallest p of :func:`sign_flip_p`: 2/2^S, reached when all differences have one sign.

    S is the number of ``seeds``, at most ``MOST_EXACT``. Raises ValueError for fewer than one seed.

    >>> [smallest_p(seeds) for seeds in (1, 3, 6)]
    [1.0, 0.25, 0.03125]
    """
    if seeds < 1:
        raise ValueError(f"{seeds} seeds are none")
    return float(2.0 ** (1 - min(seeds, MOST_EXACT)))


def two_level_interval(
    differences: NDArray[np.float64], rng: np.random.Generator, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of ``differences`` (seeds, images), over other seeds *and* images.

    The pigeonhole bootstrap of a crossed table (Owen 2007, Ann. Appl. Stat. 1:386): rows and columns are drawn anew
    independently, and an image that is drawn is drawn for every seed, since all were evaluated on the same ones. It is
    conservative where seeds and images interact, and too narrow for few seeds, as no resample goes beyond those there
    are: simulated with trainings that spread twice as far as 400 images blur each, it covers 84 % with 2 seeds, 89 %
    with 3, 93 % with 5, 96 % with 10. With one seed it is the bootstrap over images. Images whose columns are equal are
    interchangeable: what is drawn is how many of each kind, by a multinomial, which is the same distribution.
    Raises ValueError unless the table is two-dimensional, finite and not empty.
    """
    table = _finite(differences, ndim=2)
    seeds, images = table.shape
    if seeds == 1:
        kinds, counts = np.unique(table[0], return_counts=True)
        kinds = kinds[np.newaxis]
    else:
        kinds, counts = np.unique(table, axis=1, return_counts=True)
    size, means = max(1, CHUNK // len(counts)), []
    for start in range(0, resamples, size):
        drawn = min(size, resamples - start)
        columns = rng.multinomial(images, counts / images, size=drawn)  # (drawn, kinds)
        rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=drawn)  # (drawn, seeds)
        means.append(np.einsum("rs,rs->r", rows, columns @ kinds.T) / (seeds * images))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def one_more_each(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add an image that every seed lost and one that every seed gained (Laplace), to (seeds, images + 2).

    As in :func:`bench.statistics.paired.difference_interval`. Without them, a table of zeros resamples to zeros only,
    and a few images without a difference would count as certainty that no image has one.
    """
    lost, gained = (np.full((len(differences), 1), value) for value in (-1.0, 1.0))
    return np.hstack([differences, lost, gained])


def _finite(values: NDArray[np.float64], *, ndim: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or not array.size or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers in {ndim} dimensions, not shape {array.shape} or NaN")
    return array

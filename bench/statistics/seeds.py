"""Statistics over seeds: spread over several trainings, and tests of the difference between two variants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE

MOST_EXACT = 16  # maximum number of seeds for which all sign choices (2¹⁶) are enumerated
RESAMPLES = 4000
CHUNK = 10_000_000  # number of counts sampled per batch


class Spread(NamedTuple):
    """Mean and spread over seeds, in the unit of the values."""

    mean: float
    std: float  # sample standard deviation, with denominator n − 1
    low: float  # lower end of the 95 % t-interval of the mean
    high: float


def spread(values: NDArray[np.float64]) -> Spread:
    """Return the mean, standard deviation and Student's 95 % interval over seeds. ``values`` are (seeds,).

    The interval accounts for the variation between trainings that are evaluated on the same images. See
    :func:`sampling_error` for the variation between images. Raises ValueError for fewer than two values and for values
    that are not finite.
    """
    array = _finite(values, ndim=1)
    if len(array) < 2:
        raise ValueError("a spread over seeds needs two seeds or more")
    from scipy import stats  # slow to import

    mean, std = float(array.mean()), float(array.std(ddof=1))
    if std == 0:
        return Spread(mean, 0.0, mean, mean)
    low, high = stats.t.interval(CONFIDENCE, len(array) - 1, loc=mean, scale=stats.sem(array))
    return Spread(mean, std, float(low), float(high))


def sampling_error(outcomes: NDArray[np.float64]) -> float:
    """Return the standard error of the mean over images, for fixed trained networks.

    ``outcomes`` are (images,), in [0, 1]: the mean over seeds for each image. Raises ValueError for fewer than two
    images.
    """
    array = _finite(outcomes, ndim=1)
    if len(array) < 2:
        raise ValueError("a standard error needs two images or more")
    from scipy import stats  # slow to import

    return float(stats.sem(array))


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """Return the two-sided p-value of the sign-flip test. ``differences`` are (seeds,), one per pair of trainings.

    It is the exact permutation test of Fisher (1935, §21). The null hypothesis is that variant and baseline do not
    differ, so that both signs of each difference are equally likely. All 2^S sign choices are enumerated for up to
    ``MOST_EXACT`` seeds. For more seeds, 2^MOST_EXACT − 1 random sign choices are used. p is at least
    :func:`smallest_p`. Raises ValueError for fewer than two seeds and for differences that are not finite.
    """
    array = _finite(differences, ndim=1)
    if len(array) < 2:
        raise ValueError("a permutation test over seeds needs two seeds or more")
    from scipy import stats  # slow to import

    def mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.asarray(values.mean(axis=axis))

    exact = len(array) <= MOST_EXACT
    result = stats.permutation_test(
        (array,),
        mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if exact else 2**MOST_EXACT - 1,
        random_state=None if exact else np.random.default_rng(0),
    )
    return float(result.pvalue)


def smallest_p(seeds: int) -> float:
    """Return the smallest p that :func:`sign_flip_p` can return: 2/2^S, if all differences have the same sign.

    S is the number of ``seeds``, but at most ``MOST_EXACT``. Raises ValueError for fewer than one seed.

    >>> [smallest_p(seeds) for seeds in (1, 3, 6)]
    [1.0, 0.25, 0.03125]
    """
    if seeds < 1:
        raise ValueError(f"{seeds} seeds; at least 1 is needed")
    return float(2.0 ** (1 - min(seeds, MOST_EXACT)))


def two_level_interval(
    differences: NDArray[np.float64], rng: np.random.Generator, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of ``differences`` (seeds, images), over seeds and images.

    It is the pigeonhole bootstrap of a crossed table (Owen 2007, Ann. Appl. Stat. 1:386), which resamples rows and
    columns independently. A resampled image is used for all seeds, because all seeds are evaluated on the same images.
    With one seed it is the bootstrap over images.

    The interval is conservative if seeds and images interact, and too narrow for few seeds. Its coverage is 84 % with 2
    seeds, 89 % with 3, 93 % with 5 and 96 % with 10, simulated with a standard deviation over trainings that is twice
    the sampling error of 400 images.

    Images with equal columns are interchangeable. Therefore it is sufficient to sample the counts of each distinct
    column from a multinomial distribution. Raises ValueError unless the table is two-dimensional, finite and not empty.
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
        n_resamples = min(size, resamples - start)
        columns = rng.multinomial(images, counts / images, size=n_resamples)  # (drawn, kinds)
        rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=n_resamples)  # (drawn, seeds)
        means.append(np.einsum("rs,rs->r", rows, columns @ kinds.T) / (seeds * images))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def one_more_each(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add an image regressed for all seeds and one improved for all seeds (Laplace): (seeds, images + 2).

    See :func:`bench.statistics.paired.difference_interval`. Without these images, the interval of a table of zeros has
    width 0, even for a few images.
    """
    regressed, improved = (np.full((len(differences), 1), value) for value in (-1.0, 1.0))
    return np.hstack([differences, regressed, improved])


def _finite(values: NDArray[np.float64], *, ndim: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != ndim or not array.size or not np.isfinite(array).all():
        raise ValueError(f"expected finite numbers in {ndim} dimensions, not shape {array.shape} or NaN")
    return array

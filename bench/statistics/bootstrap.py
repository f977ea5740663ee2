"""Bootstrap interval of a mean or a median over images."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.statistics.intervals import CONFIDENCE

FEWEST = 30  # images; an interval of fewer covers too rarely
RESAMPLES = 9999
SEED = 0
_BEYOND = 1e100  # stands for infinity while medians of resamples are averaged and sorted


def bootstrap_interval(values: NDArray[np.float64], statistic: Literal["mean", "median"]) -> tuple[float, float]:
    """Return the 95 % percentile interval of ``statistic`` over other samples of images (Efron 1979).

    ``values``, (images,), hold no NaN. A median may be taken of infinite values (images that no attack fooled); an end
    of its interval that lies beyond all finite values is infinite. Resampling is seeded: the same values give the same
    interval. Returns (nan, nan) for fewer than ``FEWEST`` images. Raises ValueError for NaN and for a mean of infinite
    values.

    The interval of a mean of skewed values is too narrow. For log-normal values (σ = 0.8) it covers about 88 % with 30
    images and 93 % with 100, that of the median 94 % with either (simulated in tests/statistics/test_bootstrap.py).
    """
    from scipy import stats  # slow to import

    if np.isnan(values).any() or (statistic == "mean" and np.isinf(values).any()):
        raise ValueError(f"no {statistic} of NaN or of infinite values")
    if len(values) < FEWEST:
        return math.nan, math.nan
    largest = values[np.isfinite(values)].max(initial=0.0)
    finite = np.where(np.isinf(values), _BEYOND, values)
    function = {"mean": np.mean, "median": np.median}[statistic]
    found = stats.bootstrap(
        (finite,),
        function,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    low, high = (math.inf if end > largest else float(end) for end in (found.low, found.high))
    return low, high

"""Bootstrap intervals: coverage in simulation, censored medians and degenerate samples."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from bench.diagnostics.estimates import censored_median, mean_ratio
from bench.statistics import intervals
from bench.statistics.intervals import FEWEST, bootstrap_interval

RUNS = 800


@pytest.mark.parametrize(("n", "of_mean", "of_median"), [(30, 0.88, 0.94), (100, 0.93, 0.94)])
def test_coverage_is_as_documented(n: int, of_mean: float, of_median: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of ``n`` log-normal values; a third of them are censored for the second median.

    The standard error of a coverage is 0.012 at most, half of what is allowed.
    """
    monkeypatch.setattr(intervals, "RESAMPLES", 249)
    rng = np.random.default_rng(5)
    mean = median = censored = 0
    for _ in range(RUNS):
        values = np.exp(0.8 * rng.standard_normal(n))
        low, high = bootstrap_interval(values, "mean")
        mean += low <= math.exp(0.32) <= high
        low, high = bootstrap_interval(values, "median")
        median += low <= 1 <= high
        low, high = bootstrap_interval(np.where(values > 1.4, math.inf, values), "median")
        censored += low <= 1 <= high
    assert mean / RUNS == pytest.approx(of_mean, abs=0.025)
    assert median / RUNS == pytest.approx(of_median, abs=0.025)
    assert censored == pytest.approx(median, abs=0.01 * RUNS)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_fewer_than_30_images_have_no_interval(statistic: Literal["mean", "median"]) -> None:
    values = np.arange(1.0, 31.0)
    assert FEWEST == 30
    assert all(map(math.isfinite, bootstrap_interval(values, statistic)))
    for few in (0, 1, 2, 29):
        assert all(map(math.isnan, bootstrap_interval(values[:few], statistic)))


def test_an_estimate_says_that_its_images_are_too_few_and_keeps_its_value() -> None:
    distances = np.arange(1.0, 31.0)
    ratio, median = mean_ratio(distances, np.full(30, 2.0), "nobody"), censored_median(distances[:20], 30)
    assert (ratio.value.value, median.value.value) == (7.75, 15.5)
    assert not ratio.low.reason
    assert not median.low.reason
    few = mean_ratio(distances[:29], np.full(29, 2.0), "nobody"), censored_median(distances[:20], 29)
    assert [estimate.value.value for estimate in few] == [7.5, 15.0]
    for estimate in few:
        assert estimate.low.reason == estimate.high.reason == "an interval needs at least 30 images"


def test_an_end_beyond_all_finite_values_is_infinite() -> None:
    values = np.array([*range(1, 21), *[math.inf] * 18], dtype=float)
    low, high = bootstrap_interval(values, "median")
    assert low < 20
    assert high == math.inf
    assert bootstrap_interval(np.full(30, math.inf), "median") == (math.inf, math.inf)


def test_the_interval_of_the_mean_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(0).standard_normal(2000)
    half = 1.96 * values.std(ddof=1) / 2000**0.5
    low, high = bootstrap_interval(values, "mean")
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_equal_values_have_no_width() -> None:
    assert bootstrap_interval(np.full(30, 2.5), "mean") == (2.5, 2.5)


def test_the_same_values_have_the_same_interval() -> None:
    values = np.random.default_rng(1).exponential(size=50)
    assert bootstrap_interval(values, "median") == bootstrap_interval(values, "median")


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_nan_is_refused(statistic: Literal["mean", "median"]) -> None:
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_interval(np.array([1.0, math.nan]), statistic)


def test_a_mean_of_infinite_values_is_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        bootstrap_interval(np.array([1.0, math.inf]), "mean")

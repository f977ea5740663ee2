"""Bootstrap intervals: coverage in simulation, censored medians and degenerate samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.statistics import bootstrap
from bench.statistics.bootstrap import bootstrap_interval

RUNS = 400


def test_intervals_cover_the_mean_and_the_median(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of 100 log-normal values; a third of them are censored for the second median."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 499)
    rng = np.random.default_rng(5)
    mean = median = censored = 0
    for _ in range(RUNS):
        values = np.exp(0.5 * rng.standard_normal(100))
        low, high = bootstrap_interval(values, "mean")
        mean += low <= math.exp(0.125) <= high
        low, high = bootstrap_interval(values, "median")
        median += low <= 1 <= high
        low, high = bootstrap_interval(np.where(values > 1.25, math.inf, values), "median")
        censored += low <= 1 <= high
    assert 0.90 < mean / RUNS < 0.98
    assert 0.90 < median / RUNS < 0.99
    assert censored == pytest.approx(median, abs=2)


def test_an_end_beyond_all_finite_values_is_infinite() -> None:
    values = np.array([*range(1, 11), *[math.inf] * 9], dtype=float)
    low, high = bootstrap_interval(values, "median")
    assert low < 10
    assert high == math.inf
    assert bootstrap_interval(np.full(5, math.inf), "median") == (math.inf, math.inf)


def test_the_interval_of_the_mean_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(0).standard_normal(2000)
    half = 1.96 * values.std(ddof=1) / 2000**0.5
    low, high = bootstrap_interval(values, "mean")
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_equal_values_have_no_width_and_one_value_no_interval() -> None:
    assert bootstrap_interval(np.full(7, 2.5), "mean") == (2.5, 2.5)
    assert all(map(math.isnan, bootstrap_interval(np.array([2.5]), "mean")))
    assert all(map(math.isnan, bootstrap_interval(np.empty(0), "median")))


def test_the_same_values_have_the_same_interval() -> None:
    values = np.random.default_rng(1).exponential(size=50)
    assert bootstrap_interval(values, "median") == bootstrap_interval(values, "median")


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_nan_is_refused(statistic: str) -> None:
    with pytest.raises(ValueError, match="NaN"):
        bootstrap_interval(np.array([1.0, math.nan]), statistic)  # type: ignore[arg-type]


def test_a_mean_of_infinite_values_is_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        bootstrap_interval(np.array([1.0, math.inf]), "mean")

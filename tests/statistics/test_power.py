"""Minimum detectable differences, against an integral, simulation and enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from bench.statistics.power import detectable_by_mcnemar, detectable_difference, fewest_discordant


def power_of(effect: float, n: int, alpha: float) -> float:
    """P(T > critical) of the t-test: a normal tail, averaged over the standard deviation that n pairs may show."""
    critical = stats.t.ppf(1 - alpha / 2, n - 1)

    def tail(u: float) -> float:
        return float(stats.norm.sf(critical * np.sqrt(stats.chi2.ppf(u, n - 1) / (n - 1)) - effect * np.sqrt(n)))

    return float(integrate.quad(tail, 0, 1, limit=200)[0])


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 40])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 100, 10_000])
def test_the_detectable_difference_has_a_power_of_80_percent(n: int, alpha: float) -> None:
    found = detectable_difference(n, 1e-3, alpha)
    assert found is not None
    assert power_of(found / 1e-3, n, alpha) == pytest.approx(0.8, abs=1e-3)


def test_many_images_by_the_normal_approximation() -> None:
    """(1.960 + 0.8416) · 0.3 / √10⁴."""
    assert detectable_difference(10_000, 0.3) == pytest.approx(2.8016 * 0.3 / 100, rel=1e-3)


def test_a_difference_that_cannot_be_is_none() -> None:
    assert detectable_difference(2, 0.5) is None
    assert detectable_difference(5, 0.0) == 0.0


def test_mcnemar_of_a_thousand_images_a_tenth_of_them_discordant() -> None:
    assert detectable_by_mcnemar(1000, 0.1) == pytest.approx(2.8016 * math.sqrt(0.1 / 1000), rel=5e-3)


def test_the_detectable_difference_is_about_what_mcnemar_detects() -> None:
    """1000 images of which 10 % are discordant: simulated, the exact test finds it in about 80 % of cases."""
    difference, rng = detectable_by_mcnemar(1000, 0.1), np.random.default_rng(0)
    assert difference is not None
    gained, lost = (0.1 + difference) / 2, (0.1 - difference) / 2
    draws = rng.multinomial(1000, [lost, gained, 0.9], size=2000)
    found = [stats.binomtest(int(a), int(a + b), 0.5).pvalue <= 0.05 for a, b, _ in draws if a + b]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_below_six_discordant_images_nothing_is_found() -> None:
    assert fewest_discordant() == 6
    assert stats.binomtest(0, 5, 0.5).pvalue > 0.05 >= stats.binomtest(0, 6, 0.5).pvalue
    assert detectable_by_mcnemar(5, 0.2) is None
    assert detectable_by_mcnemar(1000, 0.0) == detectable_by_mcnemar(1000, 0.006)
    assert detectable_by_mcnemar(1000, 0.0) >= 6 / 1000
    assert detectable_by_mcnemar(1000, 0.007) > detectable_by_mcnemar(1000, 0.0)


def test_a_stricter_level_asks_for_more_discordant_images() -> None:
    assert fewest_discordant(0.05 / 12) == 9  # 2/2⁹ = 0.0039
    assert detectable_by_mcnemar(8, 1.0, 0.05 / 12) is None
    assert detectable_by_mcnemar(1000, 0.1, 0.05 / 12) > detectable_by_mcnemar(1000, 0.1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_what_is_no_level_is_refused(alpha: float) -> None:
    for function in (detectable_difference, detectable_by_mcnemar):
        with pytest.raises(ValueError, match="no level"):
            function(100, 0.1, alpha)


def test_more_images_detect_less() -> None:
    found = [detectable_by_mcnemar(n, 0.1) for n in (100, 1000, 10_000)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("n", "std"), [(1, 0.1), (5, -0.1), (5, math.inf), (5, math.nan)])
def test_what_has_no_power_is_refused(n: int, std: float) -> None:
    with pytest.raises(ValueError, match=r"no spread|no standard deviation"):
        detectable_difference(n, std)


@pytest.mark.parametrize(("n", "discordant"), [(1, 0.1), (9, -0.1), (9, 1.1), (9, math.nan)])
def test_what_is_no_share_of_discordant_images_is_refused(n: int, discordant: float) -> None:
    with pytest.raises(ValueError, match=r"no spread|no share"):
        detectable_by_mcnemar(n, discordant)

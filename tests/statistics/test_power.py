"""Minimum detectable differences, against an integral, simulation and enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from bench.statistics.power import (
    detectable_by_mcnemar,
    detectable_difference,
    fewest_discordant,
    power_of_mcnemar,
)


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


def enumerated_power(n: int, discordant: float, difference: float, alpha: float) -> float:
    """Over every number of lost and gained images that there can be."""
    share = [(discordant - difference) / 2, (discordant + difference) / 2, 1 - discordant]
    found = 0.0
    for n_regressed in range(n + 1):
        for n_improved in range(n_regressed + 1, n + 1 - n_regressed):
            if stats.binomtest(n_regressed, n_regressed + n_improved, 0.5).pvalue <= alpha:
                found += stats.multinomial.pmf([n_regressed, n_improved, n - n_regressed - n_improved], n, share)
    return found


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 8])
@pytest.mark.parametrize(("discordant", "difference"), [(0.02, 0.01), (0.3, 0.2), (0.3, -0.1), (0.4, 0.4), (1.0, 0.3)])
def test_the_power_of_mcnemars_test_is_the_enumerated_one(discordant: float, difference: float, alpha: float) -> None:
    expected = enumerated_power(40, discordant, difference, alpha)
    assert power_of_mcnemar(40, discordant, difference, alpha) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("n", "discordant"), [(40, 0.4), (40, 1.0), (60, 0.25)])
def test_at_the_detectable_difference_mcnemar_finds_four_of_five(n: int, discordant: float) -> None:
    found = detectable_by_mcnemar(n, discordant)
    assert found is not None
    assert found < discordant
    assert enumerated_power(n, discordant, found, 0.05) == pytest.approx(0.8, abs=1e-6)


def test_many_discordant_images_by_connors_approximation() -> None:
    assert detectable_by_mcnemar(100_000, 0.1) == pytest.approx(2.8016 * math.sqrt(0.1 / 100_000), rel=5e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 8])
@pytest.mark.parametrize(("n", "discordant"), [(200, 0.0), (200, 0.02), (200, 0.0345), (40, 0.15)])
def test_no_difference_is_larger_than_the_share_that_differs(n: int, discordant: float, alpha: float) -> None:
    """Even all of these images in one direction are found too rarely: so many more must be lost, with none gained."""
    found = detectable_by_mcnemar(n, discordant, alpha)
    assert found is not None
    assert found >= discordant
    enough = [
        stats.binomtest(0, n_regressed, 0.5).pvalue <= alpha if n_regressed else False for n_regressed in range(n + 1)
    ]
    assert stats.binom.pmf(np.arange(n + 1), n, found) @ enough == pytest.approx(0.8, abs=1e-6)


def test_below_six_discordant_images_nothing_is_found() -> None:
    assert fewest_discordant() == 6
    assert stats.binomtest(0, 5, 0.5).pvalue > 0.05 >= stats.binomtest(0, 6, 0.5).pvalue
    assert detectable_by_mcnemar(5, 0.2) is None
    assert detectable_by_mcnemar(1000, 0.0) == detectable_by_mcnemar(1000, 0.007)
    assert detectable_by_mcnemar(1000, 0.008) > detectable_by_mcnemar(1000, 0.0)


def test_a_stricter_level_asks_for_more_discordant_images() -> None:
    assert fewest_discordant(0.05 / 12) == 9  # 2/2⁹ = 0.0039
    assert detectable_by_mcnemar(8, 1.0, 0.05 / 12) is None
    assert detectable_by_mcnemar(1000, 0.1, 0.05 / 12) > detectable_by_mcnemar(1000, 0.1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_what_is_no_level_is_refused(alpha: float) -> None:
    for function in (detectable_difference, detectable_by_mcnemar):
        with pytest.raises(ValueError, match="not a level"):
            function(100, 0.1, alpha)


def test_more_images_detect_less() -> None:
    found = [detectable_by_mcnemar(n, 0.1) for n in (100, 1000, 10_000)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("n", "std"), [(1, 0.1), (5, -0.1), (5, math.inf), (5, math.nan)])
def test_what_has_no_power_is_refused(n: int, std: float) -> None:
    with pytest.raises(ValueError, match=r"no standard deviation|not a standard deviation"):
        detectable_difference(n, std)


@pytest.mark.parametrize(("n", "discordant"), [(1, 0.1), (9, -0.1), (9, 1.1), (9, math.nan)])
def test_what_is_no_share_of_discordant_images_is_refused(n: int, discordant: float) -> None:
    with pytest.raises(ValueError, match=r"no standard deviation|not a share"):
        detectable_by_mcnemar(n, discordant)


def test_a_difference_without_images_that_differ_is_refused() -> None:
    with pytest.raises(ValueError, match="is impossible with a share"):
        power_of_mcnemar(100, 0.1, 0.2)

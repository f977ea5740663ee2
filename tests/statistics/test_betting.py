"""Betting sequences: against fractions computed by hand, and by what they promise, simulated over many tables."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.statistics.betting import MOST_LOSS, RATES, anytime_bounds, exceeds, log_wealth

TABLES, IMAGES, ALPHA = 10_000, 200, 0.05
#: Chance of a simulated rate above α by three standard errors is about 1 in 1,000.
LIMIT = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / TABLES)

Floats = NDArray[np.float64]


def population(n_regressed: int, n_improved: int, n: int = IMAGES) -> Floats:
    return np.array([1.0] * n_regressed + [-1.0] * n_improved + [0.0] * (n - n_regressed - n_improved))


def orders(values: Floats, seed: int, tables: int = TABLES) -> Floats:
    """The same images in independent random orders, (tables, n)."""
    return np.random.default_rng(seed).permuted(np.tile(values, (tables, 1)), axis=1)


def draws(shares: tuple[float, float], seed: int, n: int = IMAGES, tables: int = TABLES) -> Floats:
    """Independent images, lost and gained with the given probabilities, (tables, n)."""
    lost, gained = shares
    values = np.array([1.0, -1.0, 0.0])
    return np.random.default_rng(seed).choice(values, (tables, n), p=[lost, gained, 1 - lost - gained])


def exact_wealth(differences: list[int], mean: Fraction, n: int | None) -> Fraction:
    """The definition, in exact fractions."""
    total = Fraction(0)
    for rate in map(Fraction, RATES):
        wealth, seen = Fraction(1), 0
        for i, x in enumerate(differences):
            left = Fraction(1) if n is None else Fraction(n - i)
            m = mean if n is None else (n * mean - seen) / left
            bet = min(rate if n is None else rate * n / left, Fraction(MOST_LOSS) / (1 + m))
            wealth *= 1 + bet * (x - m)
            seen += x
        total += wealth
    return total / len(RATES)


@pytest.mark.parametrize("n", [None, 12])
def test_the_wealth_is_that_of_the_definition(n: int | None) -> None:
    differences = [1, 0, -1, 1, 1, 0, 0, 1]
    found = log_wealth(np.array(differences, dtype=float), 0.125, n)
    for used in range(1, len(differences) + 1):
        wanted = exact_wealth(differences[:used], Fraction(1, 8), n)
        assert found[used - 1] == pytest.approx(math.log(wanted), abs=1e-12)


@pytest.mark.parametrize("n", [None, 6])
def test_the_expected_wealth_under_the_hypothesis_is_one(n: int | None) -> None:
    """Exactly: over all orders of 6 images, or over all tables of 6 independent images."""
    from itertools import permutations, product

    if n is None:
        tables = [(t, 0.25 ** sum(map(abs, t)) * 0.5 ** t.count(0)) for t in product((1, 0, -1), repeat=6)]
        mean = 0.0
    else:
        tables = [(t, 1 / 720) for t in permutations((1, 1, 0, 0, 0, -1))]
        mean = 1 / 6
    wealth = np.exp(log_wealth(np.array([t for t, _ in tables], dtype=float), mean, n))
    for used in range(6 if n is None else 5):  # the last image of a population leaves no chance
        assert np.array([p for _, p in tables]) @ wealth[:, used] == pytest.approx(1, abs=1e-9)


def test_the_wealth_falls_with_the_mean() -> None:
    """So that the bounds are found by bisection."""
    x = orders(population(12, 4), seed=0, tables=20)
    for n in (None, IMAGES):
        wealth = np.stack([log_wealth(x, mean, n) for mean in np.linspace(-1, 1, 81)])
        with np.errstate(invalid="ignore"):  # infinite minus infinite
            assert not (np.diff(wealth, axis=0) > 1e-9).any()


@pytest.mark.parametrize(("n_regressed", "n_improved"), [(2, 0), (8, 6), (40, 38), (20, 0), (0, 0), (3, 13)])
def test_no_order_of_the_images_is_a_false_alarm_in_more_than_alpha(n_regressed: int, n_improved: int) -> None:
    """The mean is exactly the hypothesis. Every table stops at its first significant look, or never."""
    values = population(n_regressed, n_improved)
    x = orders(values, seed=1)
    assert exceeds(x, values.mean(), ALPHA, IMAGES)[:, -1].mean() <= LIMIT
    assert exceeds(-x, -values.mean(), ALPHA, IMAGES)[:, -1].mean() <= LIMIT


@pytest.mark.parametrize("shares", [(0.01, 0.0), (0.03, 0.03), (0.06, 0.01), (0.3, 0.25), (0.0, 0.0)])
def test_no_independent_images_are_a_false_alarm_in_more_than_alpha(shares: tuple[float, float]) -> None:
    x, mean = draws(shares, seed=2), shares[0] - shares[1]
    assert exceeds(x, mean, ALPHA)[:, -1].mean() <= LIMIT
    assert exceeds(-x, -mean, ALPHA)[:, -1].mean() <= LIMIT


@pytest.mark.parametrize(("n_regressed", "n_improved"), [(2, 0), (12, 2), (40, 38)])
def test_the_sequence_covers_the_mean_at_every_n_at_once(n_regressed: int, n_improved: int) -> None:
    """Both bounds, at all n: at most 2α of the tables ever miss. At the last image, the mean is known exactly."""
    values = population(n_regressed, n_improved)
    x, mean = orders(values, seed=3), values.mean()
    missed = exceeds(x, mean, ALPHA, IMAGES) | exceeds(-x, -mean, ALPHA, IMAGES)
    by_n = missed.mean(axis=0)
    assert by_n.max() == by_n[-1] <= 2 * LIMIT
    assert anytime_bounds(x[0], ALPHA, IMAGES) == pytest.approx((mean, mean))


@pytest.mark.parametrize(("used", "n"), [(30, 60), (60, 60), (45, None), (1, 60)])
def test_the_bounds_are_the_ends_of_what_is_not_excluded(used: int, n: int | None) -> None:
    """Against a grid of all possible means."""
    x = orders(population(9, 2, 60), seed=4, tables=1)[0, :used]
    grid = np.arange(-60, 61) / 60
    kept = [m for m in grid if not (exceeds(x, m, 0.1, n)[-1] or exceeds(-x, -m, 0.1, n)[-1])]
    low, high = anytime_bounds(x, 0.1, n)
    if n is not None:
        assert (low, high) == pytest.approx((kept[0], kept[-1]))
    else:
        assert low <= kept[0] < low + 1 / 60
        assert high - 1 / 60 < kept[-1] <= high


def test_shares_of_several_cells_are_bounded_by_multiples_of_their_parts() -> None:
    x = np.array([0.25, -0.5, 0.0, 0.75])
    assert anytime_bounds(x, 0.1, 4, 4) == pytest.approx((0.125, 0.125))
    assert anytime_bounds(x[:3], 0.001, 4, 4) == pytest.approx(((-0.25 - 1) / 4, (-0.25 + 1) / 4))


def test_peeking_at_an_interval_for_a_fixed_number_of_images_would_miss_far_more() -> None:
    """The reason for the betting sequence: the normal interval, looked at after each of 200 images from the 20th."""
    x = draws((0.1, 0.1), seed=5)
    counts = np.arange(1, IMAGES + 1)
    z = x.cumsum(axis=1) / np.sqrt(np.maximum((x**2).cumsum(axis=1), 1))
    assert (z[:, counts >= 20] > 1.645).any(axis=1).mean() > 3 * ALPHA
    assert exceeds(x, 0.0, ALPHA)[:, -1].mean() <= LIMIT


@pytest.mark.parametrize(
    ("differences", "alpha", "n", "why"),
    [
        ([1.5], 0.05, None, "not in"),
        ([math.nan], 0.05, None, "not in"),
        ([0.0, 0.0], 0.05, 1, "more than the population"),
        ([0.0], 0.5, None, "not a level"),
        ([0.0], 0.0, None, "not a level"),
    ],
)
def test_what_is_no_sequence_is_refused(differences: list[float], alpha: float, n: int | None, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        exceeds(np.array(differences), 0.0, alpha, n)

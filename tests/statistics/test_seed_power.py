"""Power of sign flips over seeds, against a closed form and simulations of the test itself."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from bench.statistics.seed_power import detectable_by_sign_flips
from bench.statistics.seeds import sign_flip_p

MANY = 10**9  # images: one of them is nothing


def power(seeds: int, difference: float, std: float, alpha: float, tables: int) -> float:
    """Return the share of normal differences of this mean that all 2^S signs, taken one by one, call significant."""
    signs = np.array(list(itertools.product([1, -1], repeat=seeds)))
    drawn = np.random.default_rng(7).normal(difference, std, size=(tables, seeds))
    sums = np.abs(drawn @ signs.T)
    return float((((sums >= sums[:, :1] - 1e-12).mean(axis=1)) <= alpha).mean())


@pytest.mark.parametrize(("seeds", "alpha"), [(6, 0.05), (8, 0.05 / 6), (10, 0.05 / 20), (5, 0.1)])
def test_where_only_one_sign_is_enough_all_seeds_must_have_it(seeds: int, alpha: float) -> None:
    """P(all S normal differences are above 0) = Φ(d)^S."""
    assert 2 * (2 / 2**seeds) > alpha >= 2 / 2**seeds
    expected = 0.03 * stats.norm.ppf(0.8 ** (1 / seeds))
    assert detectable_by_sign_flips(seeds, 0.03, MANY, alpha) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("seeds", "alpha"), [(7, 0.05), (8, 0.05), (9, 0.05), (9, 0.05 / 12), (10, 0.05), (12, 0.05 / 40), (12, 0.05)]
)
def test_the_sign_flips_find_four_of_five(seeds: int, alpha: float) -> None:
    found = detectable_by_sign_flips(seeds, 0.02, MANY, alpha)
    assert found is not None
    assert power(seeds, found, 0.02, alpha, tables=4000) == pytest.approx(0.8, abs=0.022)


def test_beyond_what_is_enumerated_too() -> None:
    """By the test itself, with its drawn flips; 40 tables leave ±0.13."""
    found = detectable_by_sign_flips(18, 0.02, MANY, 0.05)
    assert found is not None
    drawn = np.random.default_rng(3).normal(found, 0.02, size=(40, 18))
    assert np.mean([sign_flip_p(row) <= 0.05 for row in drawn]) == pytest.approx(0.8, abs=0.13)


@pytest.mark.parametrize(("seeds", "alpha", "idle"), [(6, 0.05, 0), (7, 0.05, 1), (8, 0.05, 2), (10, 0.05, 4)])
def test_seeds_that_agreed_do_not_make_every_difference_a_finding(seeds: int, alpha: float, idle: int) -> None:
    """60 images gained each with probability δ: 80 % of such tables have p ≤ 0.05, by counting the idle seeds."""
    found = detectable_by_sign_flips(seeds, 0.0, 60, alpha)
    assert found is not None
    for zeros in range(seeds):
        differences = np.array([0.0] * zeros + [1.0] * (seeds - zeros))
        assert (sign_flip_p(differences) <= alpha) == (zeros <= idle)
    assert stats.binom.cdf(idle, seeds, (1 - found) ** 60) == pytest.approx(0.8)


def test_the_larger_of_spread_and_single_images_counts() -> None:
    by_images, by_spread = detectable_by_sign_flips(6, 0.0, 60), detectable_by_sign_flips(6, 0.2, 60)
    assert by_images is not None
    assert by_spread is not None
    assert by_images < by_spread == detectable_by_sign_flips(6, 0.2, MANY)
    assert detectable_by_sign_flips(6, 0.001, 60) == by_images


def test_too_few_seeds_and_too_wide_a_spread_find_nothing() -> None:
    assert detectable_by_sign_flips(5, 0.01, 60, 0.05) is None
    assert detectable_by_sign_flips(6, 0.01, 60, 0.05 / 2) is None
    assert detectable_by_sign_flips(6, 0.6, 60, 0.05) is None


@pytest.mark.parametrize(
    ("seeds", "std", "images", "alpha"),
    [(1, 0.1, 9, 0.05), (6, -0.1, 9, 0.05), (6, math.nan, 9, 0.05), (6, 0.1, 0, 0.05), (6, 0.1, 9, 0.0)],
)
def test_what_has_no_power_is_refused(seeds: int, std: float, images: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"no standard deviation|not a standard deviation|not a level"):
        detectable_by_sign_flips(seeds, std, images, alpha)

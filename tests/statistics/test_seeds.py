"""Spread, sign flips and the two-level bootstrap, against textbooks, enumeration and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.statistics.seeds import (
    MOST_EXACT,
    sampling_error,
    sign_flip_p,
    smallest_p,
    spread,
    two_level_interval,
)

#: Darwin's maize, crossed less self-fertilised, in eighths of an inch: Fisher 1935, The Design of Experiments, §21.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def enumerated(differences: list[float]) -> float:
    """The share of all sign flips whose sum is as far from 0."""
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(total >= abs(sum(differences)) - 1e-9 for total in sums) / len(sums)


def test_a_spread_by_hand() -> None:
    """Mean 2, standard deviation 1; Student's quantile of two degrees of freedom is 4.30265."""
    found = spread(np.array([1.0, 2.0, 3.0]))
    assert (found.mean, found.std) == (2.0, 1.0)
    assert (found.low, found.high) == pytest.approx((2 - 4.30265 / math.sqrt(3), 2 + 4.30265 / math.sqrt(3)), abs=1e-5)


def test_equal_seeds_have_no_spread() -> None:
    assert spread(np.array([0.5, 0.5])) == (0.5, 0.0, 0.5, 0.5)


def test_a_sampling_error_by_hand() -> None:
    assert sampling_error(np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(math.sqrt((1 / 3) / 4))


def test_sign_flips_are_fishers() -> None:
    """863 of the 32,768 sums are as large as the observed one, and as many as small."""
    assert sign_flip_p(np.array(DARWIN)) == pytest.approx(2 * 863 / 32768)


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_sign_flips_are_all_of_them(seeds: int) -> None:
    differences = np.random.default_rng(seeds).normal(0.3, 1, size=seeds)
    assert sign_flip_p(differences) == pytest.approx(enumerated(list(differences)))


def test_no_difference_has_p_one() -> None:
    assert sign_flip_p(np.zeros(4)) == 1.0
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0


@pytest.mark.parametrize("seeds", [2, 3, 6, 10])
def test_the_smallest_p_is_reached_by_equal_signs_alone(seeds: int) -> None:
    differences = np.arange(1.0, seeds + 1)
    assert sign_flip_p(differences) == sign_flip_p(-differences) == smallest_p(seeds) == 2 / 2**seeds
    differences[0] = -differences[0]
    assert sign_flip_p(differences) > smallest_p(seeds)


def test_beyond_the_exact_the_flips_are_drawn_and_the_same_each_time() -> None:
    differences = np.random.default_rng(0).normal(0.5, 1, size=MOST_EXACT + 4)
    assert sign_flip_p(differences) == sign_flip_p(differences)
    assert sign_flip_p(differences) == pytest.approx(enumerated_by_sums(differences), rel=0.1)
    assert sign_flip_p(np.ones(MOST_EXACT + 4)) == smallest_p(MOST_EXACT + 4) == 2 / 2**MOST_EXACT


def enumerated_by_sums(differences: np.ndarray) -> float:
    """All sums of signs by doubling, for more of them than a loop would see in time."""
    sums = np.zeros(1)
    for d in differences:
        sums = np.concatenate([sums + d, sums - d])
    return float((np.abs(sums) >= abs(differences.sum()) - 1e-9).mean())


def test_one_seed_is_the_bootstrap_over_images() -> None:
    """100 images, 30 gained and 10 lost: the binomial-like error of the mean is √(0.36/100)."""
    table = np.array([[1] * 30 + [-1] * 10 + [0] * 60])
    low, high = two_level_interval(table, np.random.default_rng(0), resamples=20_000)
    assert (low, high) == pytest.approx((0.2 - 1.96 * 0.06, 0.2 + 1.96 * 0.06), abs=0.012)


def test_seeds_alone_are_drawn_where_images_agree() -> None:
    """Two seeds, +1 and −1 on every image: a quarter of the draws has only the one, a quarter only the other."""
    table = np.array([[1.0] * 50, [-1.0] * 50])
    assert two_level_interval(table, np.random.default_rng(0)) == (-1.0, 1.0)


def test_an_image_is_drawn_for_all_seeds_at_once() -> None:
    """Ten equal seeds say no more than one. Images drawn for each seed apart would give a third of the width."""
    row = np.array([1] * 30 + [-1] * 10 + [0] * 60)
    one = two_level_interval(row[np.newaxis], np.random.default_rng(0), resamples=20_000)
    ten = two_level_interval(np.tile(row, (10, 1)), np.random.default_rng(1), resamples=20_000)
    assert ten == pytest.approx(one, abs=0.011)


def test_both_levels_add_up() -> None:
    """Additive effects without an interaction: the variance is that of the seeds' mean and of the images' mean."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=40), rng.normal(size=60)
    table = a[:, np.newaxis] + b[np.newaxis]
    low, high = two_level_interval(table, rng, resamples=20_000)
    error = math.sqrt(a.var() / 40 + b.var() / 60)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.04)


def test_the_interval_covers_the_mean_over_seeds_and_images() -> None:
    """20 seeds and 100 images of an additive model, 300 times: about 95 %, a little less for so many seeds."""
    covered = []
    for trial in range(300):
        rng = np.random.default_rng(trial)
        table = 0.3 + 0.4 * rng.normal(size=(20, 1)) + rng.normal(size=(1, 100))
        low, high = two_level_interval(table, rng, resamples=500)
        covered.append(low <= 0.3 <= high)
    assert np.mean(covered) == pytest.approx(0.93, abs=0.035)


def test_the_same_generator_gives_the_same_interval_in_pieces_too(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(0).integers(-1, 2, size=(3, 200))
    whole = two_level_interval(table, np.random.default_rng(5))
    assert whole == two_level_interval(table, np.random.default_rng(5))
    monkeypatch.setattr("bench.statistics.seeds.CHUNK", 1000)
    assert two_level_interval(table, np.random.default_rng(5)) == pytest.approx(whole, abs=0.01)


@pytest.mark.parametrize("values", [np.array([1.0]), np.array([]), np.array([1.0, np.nan]), np.ones((2, 2))])
def test_what_has_no_spread_is_refused(values: np.ndarray) -> None:
    for function in (spread, sampling_error, sign_flip_p):
        with pytest.raises(ValueError, match=r"two|finite numbers"):
            function(values)


@pytest.mark.parametrize("table", [np.ones(3), np.ones((0, 3)), np.ones((3, 0)), np.array([[1.0, np.nan]])])
def test_what_is_no_table_of_differences_is_refused(table: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite numbers in 2 dimensions"):
        two_level_interval(table, np.random.default_rng(0))


def test_no_seeds_have_no_smallest_p() -> None:
    with pytest.raises(ValueError, match="0 seeds"):
        smallest_p(0)

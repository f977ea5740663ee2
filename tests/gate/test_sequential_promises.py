"""Verdicts of the sequential check over 10,000 simulated tables: false alarms, and its price beside a fixed number."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.gate.sequential import decisions
from bench.gate.verdict import Verdict
from bench.statistics.accuracy_drop import verdict_bounds

TABLES, IMAGES, ALPHA, TOLERANCE = 10_000, 200, 0.05, 0.02
LIMIT = ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / TABLES)  # three standard errors of a simulated rate
#: The sequential check needs at most this many times the images of the check of a fixed number, for the same power.
FACTOR = 1.6

Floats = NDArray[np.float64]


def orders(n_regressed: int, n_improved: int, seed: int) -> Floats:
    """All images of a test set with this drop, in independent random orders, (tables, n)."""
    values = np.array([1.0] * n_regressed + [-1.0] * n_improved + [0.0] * (IMAGES - n_regressed - n_improved))
    return np.random.default_rng(seed).permuted(np.tile(values, (TABLES, 1)), axis=1)


def draws(lost: float, gained: float, n: int, seed: int) -> Floats:
    """Independent images, lost and gained with these probabilities, (tables, n)."""
    return np.random.default_rng(seed).choice([1.0, -1.0, 0.0], (TABLES, n), p=[lost, gained, 1 - lost - gained])


def shares(x: Floats, alpha: float = ALPHA, tolerance: float = TOLERANCE) -> tuple[float, float]:
    """Shares of the tables in which FAIL, and PASS, is decided at any image: stopping at the first significant look."""
    fails, passes = decisions(x, 1, alpha=alpha, tolerance=tolerance)
    return float(fails[:, -1].mean()), float(passes[:, -1].mean())


@pytest.mark.parametrize("n_improved", [0, 30])
def test_a_drop_equal_to_the_tolerance_fails_in_at_most_alpha(n_improved: int) -> None:
    assert shares(orders(n_improved + 4, n_improved, seed=0))[0] <= LIMIT


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_no_true_drop_fails_in_at_most_alpha(share: float) -> None:
    """As of the check of a fixed number: over images like these, not only over those of the test set."""
    assert shares(draws(share, share, IMAGES, seed=1))[0] <= LIMIT


@pytest.mark.parametrize("n_improved", [0, 30])
def test_one_image_more_than_the_tolerance_passes_in_at_most_alpha(n_improved: int) -> None:
    assert shares(orders(n_improved + 5, n_improved, seed=2))[1] <= LIMIT


@pytest.mark.parametrize("gained", [0.0, 0.03])
def test_a_true_drop_above_the_tolerance_passes_in_at_most_alpha(gained: float) -> None:
    assert shares(draws(gained + TOLERANCE + 1e-6, gained, IMAGES, seed=3))[1] <= LIMIT


def test_the_drop_over_all_images_decides_and_chance_alone_never_does() -> None:
    """3 of 100 images lost: more than 2 points, as every one of the images says, and yet within chance (p = 1/8)."""
    x = np.zeros(100)
    x[[4, 40, 80]] = 1
    fails, passes = decisions(x, 1, alpha=ALPHA, tolerance=TOLERANCE)
    assert not fails.any()
    assert not passes.any()
    x[::5] = 1
    assert decisions(x, 1, alpha=ALPHA, tolerance=TOLERANCE)[0][-1]
    assert not decisions(x, 1, alpha=ALPHA, tolerance=x.mean())[0].any()


@cache
def fixed_verdict(n_regressed: int, n_improved: int, n: int, alpha: float, tolerance: float) -> Verdict:
    """The rule of the check of a fixed number, without its special case of no change."""
    low, high = verdict_bounds(n_regressed, n_improved, n, alpha)
    if low > 0 and (n_regressed - n_improved) / n > tolerance:
        return Verdict.FAIL
    return Verdict.PASS if high <= tolerance else Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("lost", "gained", "n", "alpha", "tolerance", "wanted"),
    [
        (0.10, 0.00, 90, 0.01, 0.01, Verdict.FAIL),
        (0.12, 0.02, 80, 0.05, 0.01, Verdict.FAIL),
        (0.02, 0.02, 200, 0.05, 0.05, Verdict.PASS),
    ],
)
def test_the_price_of_looking_is_a_factor_of_the_images(
    lost: float, gained: float, n: int, alpha: float, tolerance: float, wanted: Verdict
) -> None:
    x = draws(lost, gained, n, seed=4)
    counts = zip((x > 0).sum(axis=1).tolist(), (x < 0).sum(axis=1).tolist(), strict=True)
    power = np.mean([fixed_verdict(b, c, n, alpha, tolerance) is wanted for b, c in counts])
    assert 0.5 < power < 0.95  # else the comparison says nothing
    found = shares(draws(lost, gained, round(FACTOR * n), seed=5), alpha, tolerance)[wanted is Verdict.PASS]
    assert found >= power - 0.015
    assert shares(draws(lost, gained, n, seed=6), alpha, tolerance)[wanted is Verdict.PASS] < power  # it has a price


@pytest.mark.parametrize(("drop", "most"), [(10, 0.12), (5, 0.25), (3, 0.45)])
def test_a_clear_drop_is_decided_after_a_part_of_the_images(drop: int, most: float) -> None:
    """1,000 images, a tolerance of one point, level 0.01, and no image gained: the median number of images used."""
    x = np.zeros((1_000, 1_000))
    x[:, : 10 * drop] = 1
    fails, passes = decisions(np.random.default_rng(7).permuted(x, axis=1), 1, alpha=0.01, tolerance=0.01)
    assert fails[:, -1].all()
    assert not passes.any()
    assert np.median(fails.argmax(axis=1) + 1) <= most * 1_000

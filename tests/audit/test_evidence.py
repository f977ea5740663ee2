"""Comparison of two vectors of outcomes, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.audit.checks import any_of, beyond, change, mde, only_by, robust_accuracy


def broken(*indices: int, n: int = 100) -> np.ndarray:
    vector = np.zeros(n, dtype=bool)
    vector[list(indices)] = True
    return vector


def test_the_fall_is_the_difference_of_the_robust_accuracies() -> None:
    before, after = broken(0, 1, 2), broken(1, 2, 3, 4, 5, 6)
    found = change(before, after)
    assert (found.n_regressed, found.n_improved) == (4, 1)
    assert found.points == robust_accuracy(before) - robust_accuracy(after) == 3.0


@pytest.mark.parametrize(("n_regressed", "n_improved"), [(8, 0), (8, 2), (20, 5), (1, 1), (0, 6), (0, 0)])
def test_the_lower_bound_is_mcnemars(n_regressed: int, n_improved: int) -> None:
    """The bound is above 0 exactly where McNemar's exact test, which is binomial, says so at 5 %, one-sided."""
    before = broken(*range(n_improved))
    after = broken(*range(50, 50 + n_regressed))
    found = change(before, after)
    certain = (
        n_regressed > 0
        and stats.binomtest(n_regressed, n_regressed + n_improved, 0.5, alternative="greater").pvalue < 0.05
    )
    assert (found.lower > 0) == certain
    assert found.lower <= found.points
    if n_regressed + n_improved:
        low = (
            stats.binomtest(n_regressed, n_regressed + n_improved, alternative="greater")
            .proportion_ci(0.95, "exact")
            .low
        )
        assert found.lower == pytest.approx((2 * low - 1) * (n_regressed + n_improved))


def test_what_joins_takes_no_image_back() -> None:
    found = beyond(broken(0, 1, 2), broken(2, 3, 4, 5, 6, 7, 8, 9))
    assert (found.n_regressed, found.n_improved, found.points) == (7, 0, 7.0)
    assert found.lower == change(broken(), broken(*range(7))).lower, "the flag goes by the same bound"
    low = stats.binomtest(7, 100, alternative="greater").proportion_ci(0.95, "exact").low
    assert found.least == pytest.approx(100 * low)


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("fall", [0.01, 0.2, 0.5])
def test_what_is_said_of_a_fall_covers_it(n: int, fall: float) -> None:
    """Exactly, over every number of images that may be lost; the bound of the flag does not."""
    nothing, chances = np.zeros(n, dtype=bool), stats.binom.pmf(np.arange(n + 1), n, fall)
    falls = [beyond(nothing, np.arange(n) < n_regressed) for n_regressed in range(n + 1)]
    assert sum(p for p, found in zip(chances, falls, strict=True) if found.least <= 100 * fall) >= 0.95
    if fall >= 0.2 and n == 200:
        assert sum(p for p, found in zip(chances, falls, strict=True) if found.lower <= 100 * fall) < 0.9


@pytest.mark.parametrize(("n_regressed", "n_improved"), [(0.01, 0.01), (0.1, 0.02), (0.5, 0.1), (0.3, 0.0)])
def test_it_covers_one_that_is_not_nested(n_regressed: float, n_improved: float) -> None:
    """Exactly, over all counts of both kinds."""
    n, covered = 50, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            p = stats.multinomial.pmf([b, c, n - b - c], n, [n_regressed, n_improved, 1 - n_regressed - n_improved])
            if p > 1e-7:
                i = np.arange(n)
                covered += p * (change((i >= b) & (i < b + c), i < b).least <= 100 * (n_regressed - n_improved) + 1e-9)
    assert covered >= 0.95


def test_what_only_the_weaker_breaks() -> None:
    found = only_by(broken(0, 1, 2, 3), broken(2, 3, 4, 5, 6))
    assert (found.images, found.points) == (2, 2.0)
    low = stats.binomtest(2, 100, alternative="greater").proportion_ci(0.95, "exact").low
    assert found.lower == pytest.approx(100 * low)


def test_the_worst_case_is_taken_image_by_image() -> None:
    assert any_of(broken(0), broken(1, 2)).sum() == 3
    with pytest.raises(ValueError, match="no outcomes"):
        any_of()


@pytest.mark.parametrize("other", [broken(n=99), broken(n=0), broken()[None]])
def test_outcomes_of_other_images_are_not_compared(other: np.ndarray) -> None:
    with pytest.raises(ValueError, match="they must be equal"):
        change(other, broken(n=0) if not other.size else broken())
    with pytest.raises(ValueError, match="they must be equal"):
        beyond(other, broken(n=0) if not other.size else broken())
    with pytest.raises(ValueError, match="they must be equal"):
        only_by(other, broken(n=0) if not other.size else broken())


@pytest.mark.parametrize("n", [3, 5, 64, 200, 1000])
def test_the_smallest_fall_that_flags(n: int) -> None:
    """All changes have one sign, so that the bound is that of all successes, 0.05^(1/b)."""
    flagging = [b for b in range(1, n + 1) if 100 * (2 * 0.05 ** (1 / b) - 1) * b / n > 1]
    assert mde(n, n) == (pytest.approx(100 * flagging[0] / n) if flagging else None)


def test_what_is_wrong_already_cannot_fall() -> None:
    """On 200 images 7 must fall for a flag; a model that is right on only 6 of them can never be flagged."""
    assert mde(200, 7) == mde(200, 200) == 3.5
    assert change(broken(n=200), broken(*range(6), n=200)).lower <= 1
    assert mde(200, 6) is None
    assert mde(200, 0) is None

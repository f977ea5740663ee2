"""McNemar's exact test and the interval of a paired difference, against the binomial and published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.statistics.paired import compare, difference_interval

COUNTS = st.integers(0, 30)


def verdicts(both: int, n_regressed: int, n_improved: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * (both + n_regressed) + [False] * (n_improved + neither)
    second = [True] * both + [False] * n_regressed + [True] * n_improved + [False] * neither
    order = np.random.default_rng(both + n_regressed).permutation(len(first))
    return np.array(first, dtype=bool)[order], np.array(second, dtype=bool)[order]


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_p_is_the_binomial_tests_on_the_discordant_images(
    both: int, n_regressed: int, n_improved: int, neither: int
) -> None:
    if both + n_regressed + n_improved + neither == 0:
        return
    found = compare(*verdicts(both, n_regressed, n_improved, neither))
    expected = stats.binomtest(n_regressed, n_regressed + n_improved, 0.5).pvalue if n_regressed + n_improved else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert (found.n_regressed, found.n_improved, found.n) == (
        n_regressed,
        n_improved,
        both + n_regressed + n_improved + neither,
    )


def test_five_lost_and_none_gained_by_hand() -> None:
    found = compare(*verdicts(10, 5, 0, 5))
    assert found.p == pytest.approx(2 / 32)
    assert found.difference == -0.25
    assert found.low < -0.25 < found.high


def test_images_on_which_both_agree_do_not_change_p() -> None:
    assert compare(*verdicts(0, 9, 2, 0)).p == compare(*verdicts(500, 9, 2, 400)).p


def test_the_interval_is_the_published_one() -> None:
    """Airway hyper-responsiveness before and after transplantation: Fagerland et al. 2014, tables I and V."""
    assert difference_interval(7, 1, 21) == pytest.approx((-0.508, -0.013), abs=5e-4)


def test_the_interval_keeps_its_width_where_nothing_is_discordant() -> None:
    low, high = difference_interval(0, 0, 100)
    assert low == -high
    assert high == pytest.approx(1.959964 * np.sqrt(2 / 102 / 102), rel=1e-6)


def test_the_interval_ends_within_what_a_difference_can_be() -> None:
    assert difference_interval(3, 0, 3)[0] == -1.0
    assert difference_interval(0, 3, 3)[1] == 1.0


def test_the_interval_covers_as_often_as_it_says() -> None:
    """40 of 400 images lost, 60 gained, in the mean: of 2000 draws about 95 % cover the true 0.05."""
    draws = np.random.default_rng(0).multinomial(400, [0.1, 0.15, 0.75], size=2000)
    ends = [difference_interval(int(n_regressed), int(n_improved), 400) for n_regressed, n_improved, _ in draws]
    assert np.mean([low <= 0.05 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.ones(3, bool), np.ones(4, bool)),
        (np.ones(0, bool), np.ones(0, bool)),
        (np.ones(3), np.ones(3, bool)),
        (np.ones((3, 1), bool), np.ones((3, 1), bool)),
    ],
)
def test_what_is_no_pair_of_verdicts_is_refused(first: np.ndarray, second: np.ndarray) -> None:
    with pytest.raises(ValueError, match="outcomes"):
        compare(first, second)


@pytest.mark.parametrize(("n_regressed", "n_improved", "n"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_counts_that_cannot_be_are_refused(n_regressed: int, n_improved: int, n: int) -> None:
    with pytest.raises(ValueError, match="not counts of pairs"):
        difference_interval(n_regressed, n_improved, n)

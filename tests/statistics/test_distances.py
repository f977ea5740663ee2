"""Distances with censoring, against hand-made cases and a distribution whose median is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.statistics.distances import area_under_curve, median_distance, robust_accuracy, smallest_distances

NAN = math.nan
#: Two attacks, at 0.1 and at 0.2, on five images: wrong from the start; broken at 0.05; by both; by the second; never.
TABLE = np.array([[0, 0.05, 0.1, NAN, NAN], [0, NAN, 0.08, 0.2, NAN]])
BUDGETS = np.array([0.1, 0.2])


def exponential(n: int, budget: float, seed: int) -> np.ndarray:
    """Distances of median log 2, unknown beyond the budget."""
    distance = np.random.default_rng(seed).exponential(size=n)
    return np.where(distance <= budget, distance, NAN)[np.newaxis]


def test_the_smallest_of_all_attacks_and_what_survived_at_the_largest_budget() -> None:
    found = smallest_distances(TABLE, BUDGETS)
    assert found.distance.tolist() == [0, 0.05, 0.08, 0.2, 0.2]
    assert found.observed.tolist() == [True, True, True, True, False]
    assert found.budget == 0.2


def test_rounding_beyond_the_budget_is_cut() -> None:
    found = smallest_distances(np.array([[0.1 + 1e-7], [NAN]]), BUDGETS)
    assert robust_accuracy(found, np.array([0.1])).tolist() == [0.0]


def test_accuracy_at_each_budget_and_the_area_by_hand() -> None:
    """0.8 at 0, 0.4 at 0.1, 0.2 at 0.2: (0.6·0.1 + 0.3·0.1)/0.2."""
    found = smallest_distances(TABLE, BUDGETS)
    assert robust_accuracy(found, np.array([0, 0.1, 0.2])) == pytest.approx([0.8, 0.4, 0.2])
    assert area_under_curve(found, BUDGETS) == pytest.approx(0.45)
    assert area_under_curve(found, BUDGETS[::-1]) == pytest.approx(0.45)
    assert area_under_curve(found, np.array([])) == pytest.approx(0.5)  # a line from 0.8 to 0.2


def test_the_area_lies_between_a_sieve_and_a_rock() -> None:
    assert area_under_curve(smallest_distances(np.full((1, 3), NAN), np.array([0.1])), np.array([0.1])) == 1.0
    assert area_under_curve(smallest_distances(np.zeros((1, 3)), np.array([0.1])), np.array([0.1])) == 0.0


def test_a_median_by_hand() -> None:
    """Half of five distances (0, .05, .08, .2 and one beyond) are not above .08."""
    assert median_distance(smallest_distances(TABLE, BUDGETS)).value == 0.08


def test_censoring_keeps_the_median_of_an_exponential() -> None:
    """A third of the images survive. Without them the median would be about 0.41; its error is 1/(2 f √n), f = 1/2."""
    found = median_distance(smallest_distances(exponential(4000, 1.1, seed=0), np.array([1.1])))
    assert found.value == pytest.approx(math.log(2), abs=0.05)
    assert found.low < math.log(2) < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 / math.sqrt(4000), rel=0.3)


def test_the_interval_of_the_median_covers() -> None:
    found = [median_distance(smallest_distances(exponential(100, 1.5, seed), np.array([1.5]))) for seed in range(300)]
    assert np.mean([m.low <= math.log(2) <= m.high for m in found]) == pytest.approx(0.95, abs=0.03)


def test_a_median_beyond_the_budget_is_not_known() -> None:
    found = median_distance(smallest_distances(exponential(400, 0.5, seed=0), np.array([0.5])))
    assert (found.value, found.low, found.high) == (math.inf, 0.5, math.inf)
    assert median_distance(smallest_distances(np.full((1, 6), NAN), np.array([0.5]))) == (math.inf, 0.5, math.inf)


def test_a_half_that_may_be_reached_has_a_lower_end() -> None:
    """Seven of fifteen are broken, one by one: the median is beyond, but might lie at the fourth."""
    distance = np.array([[*np.arange(1, 8) / 10, *[NAN] * 8]])
    found = median_distance(smallest_distances(distance, np.array([1.0])))
    assert (found.value, found.high) == (math.inf, math.inf)
    assert 0.1 < found.low < 0.7


def test_a_curve_that_falls_through_the_half_in_one_step_is_sure_of_it() -> None:
    distance = np.array([[0.0, *[0.1] * 98, NAN]])
    assert median_distance(smallest_distances(distance, np.array([0.1]))) == (0.1, 0.1, 0.1)


@pytest.mark.parametrize("n", [12, 60, 100, 500])
def test_where_exactly_half_survive_there_is_no_median(n: int) -> None:
    """In whichever steps the others broke: a product of shares would come to a half only up to rounding."""
    for steps in range(1, n // 2 + 1):
        distance = np.array([[*(1 + np.arange(n // 2) * steps // (n // 2)), *[NAN] * (n // 2)]], dtype=float)
        assert median_distance(smallest_distances(distance, np.array([n]))).value == math.inf
        distance[0, -1] = n
        assert median_distance(smallest_distances(distance, np.array([n]))).value == n


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_than_six_images_bound_no_median(n: int) -> None:
    """Even the outermost of five miss it in 2/2⁵ of cases, one on each side."""
    assert median_distance(smallest_distances(np.full((1, n), 0.01), np.array([0.1]))) == (0.01, 0.0, math.inf)
    assert 2 / 2**5 > 0.05 >= 2 / 2**6


def test_the_interval_is_of_the_outermost_images_that_cover() -> None:
    """Bounds are the 6th and 15th of 20 ordered images: P(5 or fewer of 20 below the median) = 0.0207, of 6 0.0577."""
    distance = np.arange(1.0, 21)[np.newaxis]
    assert median_distance(smallest_distances(distance, np.array([20.0]))) == (11.0, 6.0, 15.0)
    distance[0, 14:] = NAN
    assert median_distance(smallest_distances(distance, np.array([20.0]))) == (11.0, 6.0, math.inf)


def test_the_interval_covers_where_the_attacks_stop_at_a_few_budgets() -> None:
    """Three distances with shares 0.495, 0.3 and 0.1; the rest survives: the median is the second."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        distance = rng.choice([1.0, 2.0, 3.0, NAN], p=[0.495, 0.3, 0.1, 0.105], size=(1, 60))
        found = median_distance(smallest_distances(distance, np.array([3.0])))
        covered.append(found.low <= 2 <= found.high)
    assert np.mean(covered) >= 0.94


@pytest.mark.parametrize(
    ("distances", "budgets"),
    [
        (np.ones(3), np.ones(3)),
        (np.ones((2, 3)), np.ones(3)),
        (np.ones((1, 0)), np.ones(1)),
        (np.ones((1, 3)), np.zeros(1)),
        (np.ones((1, 3)), np.array([math.inf])),
        (-np.ones((1, 3)), np.ones(1)),
        (np.full((1, 3), math.inf), np.ones(1)),
    ],
)
def test_what_is_no_table_of_distances_is_refused(distances: np.ndarray, budgets: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"budget|distance"):
        smallest_distances(distances, budgets)


@pytest.mark.parametrize("budget", [-0.1, 0.21, NAN])
def test_nobody_knows_the_accuracy_beyond_the_largest_budget(budget: float) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 0\.2"):
        robust_accuracy(smallest_distances(TABLE, BUDGETS), np.array([budget]))

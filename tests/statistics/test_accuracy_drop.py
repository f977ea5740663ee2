"""Bounds of a drop: against McNemar's test, against scipy, and by what they promise, summed over all tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.statistics.accuracy_drop import mean_bounds, verdict_bounds


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_low_is_positive_exactly_where_mcnemar_rejects(alpha: float) -> None:
    for changed in range(1, 40):
        for n_regressed in range(changed + 1):
            low, high = verdict_bounds(n_regressed, changed - n_regressed, 100, alpha)
            p = stats.binomtest(n_regressed, changed, 0.5, alternative="greater").pvalue
            assert (low > 0) == (p < alpha)
            assert low <= (2 * n_regressed - changed) / 100 <= high


def test_both_ends_by_the_beta_distribution() -> None:
    """Clopper and Pearson's ends are quantiles of beta distributions (Brown, Cai and DasGupta 2001, eq. 9)."""
    low, high = verdict_bounds(12, 3, 200, 0.02)
    assert low == pytest.approx((2 * stats.beta.ppf(0.02, 12, 4) - 1) * 15 / 200)
    assert high == pytest.approx(stats.beta.ppf(0.99, 13, 188) - stats.beta.ppf(0.01, 3, 198))


def test_without_a_change_the_upper_bound_is_that_of_no_loss_in_n() -> None:
    low, high = verdict_bounds(0, 0, 299, 0.02)
    assert low == 0
    assert high == pytest.approx(1 - 0.01 ** (1 / 299))


@pytest.mark.parametrize(("n_regressed", "n_improved"), [(0.12, 0.0), (0.12, 0.02), (0.1, 0.1), (0.3, 0.05)])
def test_the_upper_bound_misses_a_true_drop_in_at_most_alpha_of_all_tables(
    n_regressed: float, n_improved: float
) -> None:
    """Exactly, by the probability of every table of 40 images."""
    n, alpha, missed = 40, 0.05, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            probability = stats.multinomial.pmf(
                [b, c, n - b - c], n, [n_regressed, n_improved, 1 - n_regressed - n_improved]
            )
            if probability > 1e-7 and verdict_bounds(b, c, n, alpha).high < n_regressed - n_improved:
                missed += probability
    assert 0 < missed <= alpha


@pytest.mark.parametrize(
    "arguments", [(-1, 0, 10, 0.01), (6, 5, 10, 0.01), (0, 0, 0, 0.01), (1, 1, 10, 0), (1, 1, 10, 0.5)]
)
def test_what_is_no_table_is_refused(arguments: tuple[int, int, int, float]) -> None:
    with pytest.raises(ValueError, match=r"not counts|not a level"):
        verdict_bounds(*arguments)


def test_means_of_one_seed_are_the_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.random((1, 50)), rng.random((1, 50))
    differences = (before - after)[0]
    wanted = stats.t.interval(0.9, 49, loc=differences.mean(), scale=stats.sem(differences))
    assert mean_bounds(before, after, 0.05) == pytest.approx(wanted)


def test_seeds_that_agree_on_every_image_but_spread_are_welchs_interval() -> None:
    """If each seed has one value for all images, Welch's t over seeds is left."""
    before, after = np.array([0.6, 0.7, 0.9, 0.5, 0.8]), np.array([0.4, 0.5, 0.3, 0.6, 0.2, 0.4])
    wanted = stats.ttest_ind(before, after, equal_var=False).confidence_interval(0.98)
    found = mean_bounds(np.tile(before[:, None], 30), np.tile(after[:, None], 30), 0.01)
    assert found == pytest.approx((wanted.low, wanted.high))


def test_where_nothing_varies_the_bounds_are_those_of_no_loss_in_n() -> None:
    """As exact as for images that are right or wrong: with no loss among n the share that is lost is ≤ 1 − α^(1/n)."""
    table = np.full((1, 299), 0.5)
    found = mean_bounds(table, table, 0.01)
    assert found.high == pytest.approx(stats.beta.ppf(0.99, 1, 299))
    assert found.low == -found.high


def test_more_seeds_of_the_same_spread_narrow_the_bounds() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 2, (5, 100)) * 1.0, rng.integers(0, 2, (5, 100)) * 1.0
    widths = [float(np.diff(mean_bounds(before, after, 0.01, seeds))[0]) for seeds in (5, 10, 100)]
    assert widths[0] == float(np.diff(mean_bounds(before, after, 0.01))[0])
    assert widths[0] > widths[1] > widths[2] > 0


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.1])
def test_two_draws_of_one_recipe_are_told_apart_in_at_most_alpha_of_cases(spread: float) -> None:
    """Five seeds each, whose accuracies spread by ``spread``, on 80 images of different difficulty."""
    rng, alpha, alarms, trials = np.random.default_rng(3), 0.05, 0, 2000
    for _ in range(trials):
        difficulty = rng.uniform(0, 1, 80)
        shift = rng.normal(0, spread, (2, 5, 1))
        tables = (rng.random((2, 5, 80)) < np.clip(difficulty + shift, 0, 1)).astype(float)
        alarms += mean_bounds(tables[0], tables[1], alpha).low > 0
    assert alarms / trials <= alpha + 3 * (alpha * (1 - alpha) / trials) ** 0.5


def test_shapes_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="with the same two or more images"):
        mean_bounds(np.zeros((2, 5)), np.zeros((2, 6)), 0.01)

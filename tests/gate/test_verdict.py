"""The three verdicts: by their rule, and by how often they are wrong on simulated runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bench.gate.verdict import ImageEvidence, SeedEvidence, ShareEvidence, Verdict, judge, needed

ALPHA = 0.01


def verdict(n_regressed: int, n_improved: int, n: int = 1000, tolerance: float = 0.01) -> Verdict:
    return judge(
        ImageEvidence(n_regressed, n_improved, n, right=n - n_improved), alpha=ALPHA, tolerance=tolerance
    ).verdict


def share(tables: np.ndarray, wanted: Verdict, n: int = 1000, tolerance: float = 0.01) -> float:
    """Return the share of ``tables`` (runs, [lost, gained]) with this verdict; each kind of table is judged once."""
    kinds, counts = np.unique(tables, axis=0, return_counts=True)
    found = [verdict(int(b), int(c), n, tolerance) is wanted for b, c in kinds]
    return float(counts[found].sum() / counts.sum())


def test_nothing_changed_passes_however_few_the_images() -> None:
    found = judge(ImageEvidence(0, 0, 3, right=3), alpha=ALPHA, tolerance=0.0)
    assert (found.verdict, found.why) == (Verdict.PASS, "no image changed")


def test_a_drop_beyond_chance_and_tolerance_fails() -> None:
    assert verdict(40, 2) is Verdict.FAIL


def test_a_drop_within_the_tolerance_never_fails() -> None:
    """Surely lost, but no more than may be: 8 of 1000 at a tolerance of a point."""
    assert stats.binomtest(8, 8, 0.5, alternative="greater").pvalue < ALPHA
    assert verdict(8, 0) is Verdict.UNDECIDED
    assert verdict(8, 0, tolerance=0.02) is Verdict.PASS


def test_a_large_drop_by_chance_does_not_fail() -> None:
    """Three of ten lost is 30 points, and no evidence."""
    assert verdict(3, 0, n=10) is Verdict.UNDECIDED


def test_equal_losses_and_gains_are_no_proof_that_nothing_was_lost() -> None:
    assert verdict(50, 50) is Verdict.UNDECIDED
    assert verdict(50, 50, tolerance=0.04) is Verdict.PASS


def test_gains_stand_against_losses() -> None:
    """34 lost and 10 gained is more than chance; the drop is 2.4 points, not 3.4."""
    found = judge(ImageEvidence(34, 10, 1000, right=990), alpha=ALPHA, tolerance=0.03)
    assert found.drop == pytest.approx(0.024)
    assert found.low > 0
    assert found.verdict is Verdict.UNDECIDED


def test_gains_pass() -> None:
    assert verdict(0, 30) is Verdict.PASS


def test_false_alarms_are_at_most_alpha_on_simulated_outcome_tables() -> None:
    """A model that lost nothing: of 10,000 tables with up to 15 % of the images changed by chance, FAIL marks ≤ α."""
    rng, trials = np.random.default_rng(0), 10_000
    changed = rng.binomial(200, rng.uniform(0, 0.15, trials))
    n_regressed = rng.binomial(changed, 0.5)
    alarms = share(np.stack([n_regressed, changed - n_regressed], axis=1), Verdict.FAIL, n=200, tolerance=0.0)
    assert 0 < alarms <= ALPHA


@pytest.mark.parametrize(("drop", "power"), [(0.02, 0.55), (0.03, 0.93), (0.05, 0.999)])
def test_power_on_1000_images_of_which_3_in_100_change_by_chance(drop: float, power: float) -> None:
    """Power as in results/README.md: how often a true drop fails a gate of 1,000 images and a point of tolerance."""
    tables = np.random.default_rng(1).multinomial(1000, [0.015 + drop, 0.015, 0.97 - drop], size=2_000)
    assert share(tables[:, :2], Verdict.FAIL) >= power


@pytest.mark.parametrize("tolerance", [0.01, 0.03])
def test_a_true_drop_just_beyond_the_tolerance_passes_in_at_most_alpha_of_cases(tolerance: float) -> None:
    drop = tolerance + 1e-6
    tables = np.random.default_rng(2).multinomial(1000, [0.005 + drop, 0.005, 0.99 - drop], size=4_000)
    assert share(tables[:, :2], Verdict.PASS, tolerance=tolerance) <= ALPHA


@pytest.mark.parametrize(
    ("n_regressed", "n_improved", "tolerance"), [(12, 4, 0.005), (8, 0, 0.01), (50, 50, 0.01), (3, 2, 0.0015)]
)
def test_the_number_that_is_needed_is_the_first_that_decides(
    n_regressed: int, n_improved: int, tolerance: float
) -> None:
    evidence = ImageEvidence(n_regressed, n_improved, 1000, right=1000 - n_improved)
    enough = needed(evidence, alpha=ALPHA, tolerance=tolerance)
    assert enough is not None

    def decided(n: int) -> bool:
        scaled = ImageEvidence(round(n_regressed * n / 1000), round(n_improved * n / 1000), n, right=n)
        low, high = scaled.bounds(ALPHA, n)
        return (low > 0 and evidence.drop > tolerance) or high <= tolerance

    assert decided(enough)
    assert not decided(enough - 1)


def test_where_the_drop_is_the_tolerance_no_number_is_enough() -> None:
    assert needed(ImageEvidence(10, 0, 1000, right=1000), alpha=ALPHA, tolerance=0.01) is None
    found = judge(ImageEvidence(10, 0, 1000, right=1000), alpha=ALPHA, tolerance=0.01)
    assert found.why.startswith("no feasible number of images")


def test_shares_of_several_cells() -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 76, 300) / 75
    assert judge(ShareEvidence(before, before.copy()), alpha=ALPHA, tolerance=0.0).why == "no image changed"
    assert judge(ShareEvidence(before, before - 0.05), alpha=ALPHA, tolerance=0.01).verdict is Verdict.FAIL
    assert (
        judge(ShareEvidence(before, before + rng.normal(0, 0.01, 300)), alpha=ALPHA, tolerance=0.01).verdict
        is Verdict.PASS
    )
    noisy = ShareEvidence(before, before + rng.normal(0, 0.3, 300))
    assert judge(noisy, alpha=ALPHA, tolerance=0.001).verdict is Verdict.UNDECIDED


def test_trainings_fail_only_beyond_the_spread_of_seeds() -> None:
    """Ten points between two recipes whose seeds spread by twenty are nothing; by one point, they are."""
    rng = np.random.default_rng(0)

    def table(accuracies: list[float]) -> np.ndarray:
        return (rng.random((5, 500)) < np.array(accuracies)[:, None]).astype(float)

    wide = SeedEvidence(table([0.9, 0.5, 0.7, 0.8, 0.6]), table([0.8, 0.4, 0.6, 0.7, 0.5]))
    assert judge(wide, alpha=ALPHA, tolerance=0.01).verdict is Verdict.UNDECIDED
    narrow = SeedEvidence(table([0.8, 0.81, 0.8, 0.79, 0.8]), table([0.7, 0.71, 0.7, 0.69, 0.7]))
    found = judge(narrow, alpha=ALPHA, tolerance=0.01)
    assert found.verdict is Verdict.FAIL
    assert "seeds" in judge(wide, alpha=ALPHA, tolerance=0.01).why

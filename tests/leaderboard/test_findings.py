"""Test the choice of the deciding test of a comparison, and its finding in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from records import cell_record, run_record, samples_of, store_with

from bench.leaderboard.comparison_report import deciding, finding
from bench.leaderboard.write_tables import write_tables
from bench.results.store import Store
from bench.statistics.power import detectable_by_mcnemar

FGSM = "fgsm@linf-0.1"
HALF = [True] * 20 + [False] * 20


def n_improved(images: Mapping[int, int]) -> dict[tuple[str, int], dict[str, list[bool]]]:
    """Clean cells of both variants by seed; the baseline has half of 40 right, the other so many more."""
    cells = {}
    for seed, more in images.items():
        cells["baseline", seed] = {"clean": HALF}
        cells["lpc", seed] = {"clean": [True] * (20 + more) + [False] * (20 - more)}
    return cells


@pytest.mark.parametrize(
    ("smallest", "p_variant", "p_checkpoint", "test"),
    [
        (0.01, 0.01, 0.9, "p_variant"),
        (0.01, 1.0, 0.001, "p_variant"),  # as clear as McNemar's may be, it was not asked
        (0.0101, 0.0101, 0.5, "p_checkpoint"),
        (1.0, None, 0.051, "p_checkpoint"),
        (1.0, None, None, None),
        (0.25, 0.25, None, None),
    ],
)
def test_the_number_of_seeds_decides_which_test_a_row_has(
    smallest: float, p_variant: float | None, p_checkpoint: float | None, test: str | None
) -> None:
    record = {"p_variant": p_variant, "p_variant_smallest": smallest, "p_checkpoint": p_checkpoint}
    assert deciding(record, 0.01) == test


@pytest.mark.parametrize(
    ("test", "p", "changes", "expected"),
    [
        ("p_variant", 0.05, {}, "lower"),
        ("p_variant", 0.051, {}, "no difference found; 7.5 points would have been"),
        ("p_checkpoint", 0.05, {}, "higher, these weights"),
        ("p_checkpoint", 0.051, {}, "no difference found; 2.5 points would have been, these weights"),
        (None, 0.0, {}, "untested: too few trainings"),
        ("p_checkpoint", 0.05, {"flags": "randomised;order"}, "higher (upper bound), these weights"),
        ("p_checkpoint", 0.05, {"flags_reference": "weaker_attack_stronger"}, "higher, these weights"),
        ("p_variant", 0.05, {"flags_reference": "weaker_attack_stronger"}, "lower (baseline: upper bound)"),
        ("p_variant", 0.05, {"flags": "weaker_attack_stronger"}, "lower"),
        ("p_variant", 0.05, {"flags": "weaker_attack_stronger", "diff": 1.0}, "higher (upper bound)"),
        ("p_checkpoint", 0.05, {"flags": "weaker_attack_stronger", "metric": "clean"}, "higher, these weights"),
    ],
)
def test_findings_in_words(test: str | None, p: float, changes: dict[str, Any], expected: str) -> None:
    """A flagged accuracy that seems higher gives no finding."""
    record = {
        "p_variant_holm": p, "p_checkpoint_holm": p, "diff": -1.0, "n_regressed": 3, "n_improved": 9, "mde": 2.5,
        "mde_seeds": 7.5, "metric": FGSM, "flags": None, "flags_reference": None, "reference": "baseline",
    } | changes  # fmt: skip
    assert finding(record, test, [0]) == expected


def other_recipe(record: Any) -> Any:
    """Return the run with a recipe of two epochs in place of one."""
    spec = dataclasses.replace(record.spec, recipe=dataclasses.replace(record.spec.recipe, epochs=2))
    return dataclasses.replace(record, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha, epochs=2)


@pytest.mark.parametrize(("seeds", "expected"), [(6, "no difference found"), (7, "higher")])
def test_tests_over_seeds_and_of_weights_are_one_family(tmp_path: Path, seeds: int, expected: str) -> None:
    """A recipe of one seed stands beside another's: by itself 2/2⁶ of six seeds would do, as one of two it does not."""
    store = store_with(tmp_path, n_improved({seed: 2 + seed for seed in range(seeds)}))
    for variant in ("baseline", "lpc"):
        run = other_recipe(run_record(variant))
        store.write_run(run, None)
        store.write_cell(cell_record(run, "clean", HALF), samples_of(HALF))
    table = write_tables(store).comparison.set_index("seeds")
    assert table.loc[seeds, "finding"].startswith(expected)
    assert list(table["p_variant_holm"].dropna()) == ([2 * 2 / 2**7] if seeds == 7 else [])
    assert table[["p_variant_holm", "p_checkpoint_holm"]].notna().sum(axis=1).tolist() == [1, 1]
    assert table.loc[1, "mde"] == 100 * detectable_by_mcnemar(40, 0, 0.05 / 2)


def test_attack_seeds_on_one_set_of_weights_are_no_trainings(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for (variant, seed), attacks in n_improved({seed: 12 + seed for seed in range(6)}).items():
        run = dataclasses.replace(run_record(variant, seed), weights_sha=f"of {variant}")
        store.write_run(run, None)
        store.write_cell(cell_record(run, "clean", attacks["clean"]), samples_of(attacks["clean"]))
    (row,) = [row for _, row in write_tables(store).comparison.iterrows()]
    assert row[["p_variant", "p_variant_holm", "mde_seeds"]].isna().all()
    assert row["note"] == "no p_variant: the seeds have the same weights"
    assert row["finding"] == "higher, these weights (seed 0)"

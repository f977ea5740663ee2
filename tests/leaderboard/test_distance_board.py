"""Distances on the leaderboard, and the chance over seeds beside that over images, from hand-made records."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest
from records import cell_record, run_record, samples_of
from scipy import stats

from bench.leaderboard.write_tables import rebuild
from bench.results.per_image import Sample
from bench.results.store import Store

Distances = list[float | None]


def write(
    store: Store, attack: str, eps: float, distances: Distances, *, seed: int = 0, norm: str = "linf", first: int = 0
) -> None:
    """A cell whose images, called ``first`` and on, were broken at these distances."""
    run = run_record(seed=seed)
    store.write_run(run, None)
    record = cell_record(run, attack, [d is None for d in distances])
    assert record.spec.attack is not None
    made = dataclasses.replace(record.spec.attack, eps=eps, norm=norm)
    spec = dataclasses.replace(record.spec, attack=made)
    samples = [Sample(str(first + i), 1, int(d != 0), int(d is None), d) for i, d in enumerate(distances)]
    store.write_cell(dataclasses.replace(record, spec=spec, cell_id=spec.cell_id), samples)


def test_the_attacks_of_a_norm_are_pooled_image_by_image(tmp_path: Path) -> None:
    """Smallest distances 0, .04, .1, .123456 and beyond .2: accuracies .8 at 0, .4 at .1, .2 at .2."""
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [0.0, 0.1, 0.1, None, None])
    write(store, "ddn-20", 0.2, [0.0, 0.04, 0.15, 0.123456, None])
    write(store, "fgsm", 1.0, [0.0, 1.0, 1.0, None, None], norm="l2")
    row = rebuild(store).iloc[0]
    assert row["median_distance@linf"] == 0.1
    assert row["median_distance@linf_n"] == 5
    assert row["auc@linf"] == pytest.approx(100 * (0.6 + 0.3) / 2)
    assert row["auc@l2"] == pytest.approx(100 * (0.8 + 0.4) / 2)
    assert row["median_distance@l2"] == 1.0
    assert "auc@l1" not in row


def test_only_images_that_all_attacks_were_given_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [None, None, None, 0.1])
    write(store, "pgd-20", 0.1, [0.02, 0.03], first=2)
    row = rebuild(store).iloc[0]
    assert (row["median_distance@linf_n"], row["median_distance@linf"], row["auc@linf"]) == (2, 0.03, 50.0)


def test_seeds_are_averaged_and_not_pooled(tmp_path: Path) -> None:
    """Medians .02 and .04. Sixteen images together would have .04 or .02, but not their mean."""
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [0.02] * 8)
    write(store, "fgsm", 0.1, [0.04] * 6 + [None] * 2, seed=1)
    row = rebuild(store).iloc[0]
    assert row["median_distance@linf"] == pytest.approx(0.03)
    assert row["auc@linf"] == pytest.approx(100 * (0.5 + 0.625) / 2)
    assert row["median_distance@linf_lo"] == pytest.approx(0.03)


def test_a_median_beyond_the_budget_is_empty_and_its_lower_end_is_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [0.05, *[None] * 30])
    write(store, "fgsm", 0.1, [0.05] * 30 + [None], seed=1)
    row = rebuild(store).iloc[0]
    assert pd.isna(row["median_distance@linf"])
    assert pd.isna(row["median_distance@linf_hi"])
    assert row["median_distance@linf_lo"] == pytest.approx((0.1 + 0.05) / 2)


def test_a_failed_attack_has_no_part_in_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [0.1, 0.1])
    failed = cell_record(run_record(), "pgd-20", [True, True])
    store.write_cell(dataclasses.replace(failed, status="failed", reason="attack_error", n_correct=None), None)
    row = rebuild(store).iloc[0]
    assert (row["auc@linf"], row["median_distance@linf"]) == (50.0, 0.1)


def test_nothing_attacked_has_no_columns_and_a_row_without_attacks_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = run_record("lpc")
    store.write_run(run, None)
    store.write_cell(cell_record(run, "clean", [True]), samples_of([True]))
    assert not [column for column in rebuild(store) if "distance" in column or "auc" in column]
    write(store, "fgsm", 0.1, [0.1])
    board = rebuild(store).set_index("variant")
    assert pd.isna(board.loc["lpc", "auc@linf"])
    assert pd.isna(board.loc["lpc", "median_distance@linf_n"])


def test_the_file_has_distances_always_and_to_five_decimals(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, "fgsm", 8 / 255, [8 / 255] * 6 + [None] * 3)
    rebuild(store)
    row = pd.read_csv(tmp_path / "leaderboard.csv").iloc[0]
    assert row["median_distance@linf"] == 0.03137
    assert row["median_distance@linf_lo"] == 0.03137
    assert row["auc@linf"] == 66.67
    assert "fgsm@linf-8/255_lo" not in row


def test_two_kinds_of_chance_stand_apart(tmp_path: Path) -> None:
    """Seeds at 100 % and 80 % of ten images: over seeds Student's of two, over images that of ten means 1 and 0.5."""
    store = Store(tmp_path)
    for seed, correct in enumerate(([True] * 10, [True] * 8 + [False] * 2)):
        run = run_record(seed=seed)
        store.write_run(run, None)
        store.write_cell(cell_record(run, "clean", correct), samples_of(correct))
    rebuild(store, intervals=True)
    row = pd.read_csv(tmp_path / "leaderboard.csv").iloc[0]
    low, high = stats.t.interval(0.95, 1, loc=90, scale=10)
    assert (row["clean_t_lo"], row["clean_t_hi"]) == pytest.approx((low, high), abs=0.006)
    assert row["clean_std"] == 14.14
    assert row["clean_se"] == pytest.approx(100 * math.sqrt((8 * 0.01 + 2 * 0.16) / 9 / 10), abs=0.006)
    rebuild(store)
    assert not {"clean_t_lo", "clean_t_hi", "clean_se", "clean_std"} & set(pd.read_csv(tmp_path / "leaderboard.csv"))


def test_a_single_seed_and_a_single_image_have_no_spread(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [0.1])
    row = rebuild(store, intervals=True).iloc[0]
    assert row[["fgsm@linf-0.1_std", "fgsm@linf-0.1_t_lo", "fgsm@linf-0.1_t_hi", "fgsm@linf-0.1_se"]].isna().all()


def test_half_of_the_images_that_survive_leave_no_median(tmp_path: Path) -> None:
    """Six broken one by one, and six not: a product of eleven shares is a little below a half."""
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [*(i / 100 for i in range(1, 7)), *[None] * 6])
    row = rebuild(store).iloc[0]
    assert pd.isna(row["median_distance@linf"])
    assert row["median_distance@linf_lo"] == 0.03  # the third of twelve: P(2 or fewer of 12) = 0.019


def test_a_single_image_bounds_no_median(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write(store, "fgsm", 0.1, [0.05])
    row = rebuild(store).iloc[0]
    assert (row["median_distance@linf"], row["median_distance@linf_lo"]) == (0.05, 0.0)
    assert pd.isna(row["median_distance@linf_hi"])

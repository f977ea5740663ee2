"""comparison.csv from hand-made records: every number by hand, or by scipy on numbers found by hand."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparisons import compared, seeds_of, verdicts
from records import audit_record, cell_record, run_record, samples_of, store_with
from scipy import stats

from bench.core.columns import COMPARISON_COLUMNS
from bench.leaderboard.comparison_report import comparison_markdown
from bench.leaderboard.report import records
from bench.leaderboard.write_tables import rebuild, write_tables
from bench.statistics.power import detectable_by_mcnemar
from bench.statistics.seed_power import detectable_by_sign_flips

FGSM = "fgsm@linf-0.1"


def test_one_seed_by_hand(tmp_path: Path) -> None:
    """Twenty of 40 images are right; 12 of them are lost and 2 others gained: p = 2·(1 + 14 + 91)/2¹⁴."""
    row = compared(store_with(tmp_path, seeds_of({3: (12, 2)}))).loc["clean"]
    assert (row["n"], row["seeds"], row["n_regressed"], row["n_improved"]) == (40, 1, 12, 2)
    assert (row["acc"], row["acc_reference"], row["diff"]) == (25.0, 50.0, -25.0)
    assert row["p_checkpoint"] == pytest.approx(212 / 2**14)
    assert row["p_checkpoint_holm"] == row["p_checkpoint"]
    assert row["interval"] == "images"
    more, less = 3 / 42, 13 / 42  # Bonett and Price
    half = 1.959964 * math.sqrt((more + less - (more - less) ** 2) / 42)
    assert row["diff_lo"] == pytest.approx(100 * (more - less - half), abs=1e-4)
    assert row["diff_hi"] == pytest.approx(100 * (more - less + half), abs=1e-4)
    assert row["mde"] == 100 * detectable_by_mcnemar(40, 14 / 40)
    assert row[["p_variant", "p_variant_holm", "std_seeds", "mde_seeds"]].isna().all()
    assert row["p_variant_smallest"] == 1.0
    assert row["note"] == "no p_variant: there is one seed"
    assert row["finding"] == "lower, these weights"


def test_seeds_are_never_pooled_into_mcnemar(tmp_path: Path) -> None:
    """Seed 0 has 4 lost and none gained; 8 and 12 lost of the other seeds have no part in its p."""
    row = compared(store_with(tmp_path, seeds_of({0: (4, 0), 1: (8, 0), 2: (12, 0)}))).loc["clean"]
    assert (row["n_regressed"], row["n_improved"], row["seeds"]) == (4, 0, 3)
    assert row["p_checkpoint"] == 2 / 2**4
    assert row["diff"] == pytest.approx(-20)
    assert row["std_seeds"] == pytest.approx(10)
    assert row["p_variant"] == row["p_variant_smallest"] == 0.25
    assert row[["p_variant_holm", "mde_seeds"]].isna().all(), "three seeds find nothing, and decide nothing"
    assert row["p_checkpoint_holm"] == row["p_checkpoint"]
    assert row["interval"] == "seeds+images"
    assert pd.isna(row["note"])
    assert row["finding"].startswith("no difference found; ")
    assert row["finding"].endswith(" points would have been, these weights (seed 0)")


def test_the_interval_is_over_seeds_and_images(tmp_path: Path) -> None:
    """Against a resampling by loops, rows and columns drawn by index; two images more, one lost and one gained."""
    cells = seeds_of({0: (4, 2), 1: (8, 1), 2: (1, 3)})
    row = compared(store_with(tmp_path, cells)).loc["clean"]
    pairs = [(cells["lpc", s]["clean"], cells["baseline", s]["clean"]) for s in range(3)]
    table = np.array([np.array(ours, dtype=int) - np.array(theirs, dtype=int) for ours, theirs in pairs])
    table, rng = np.hstack([table, [[-1, 1]] * 3]), np.random.default_rng(1)
    means = [table[np.ix_(rng.integers(3, size=3), rng.integers(42, size=42))].mean() for _ in range(4000)]
    assert (row["diff_lo"], row["diff_hi"]) == pytest.approx(tuple(100 * np.quantile(means, [0.025, 0.975])), abs=1.5)
    again = compared(store_with(tmp_path, cells)).loc["clean"]
    assert (row["diff_lo"], row["diff_hi"]) == (again["diff_lo"], again["diff_hi"])


def test_six_seeds_of_one_sign_are_a_finding_about_the_recipe(tmp_path: Path) -> None:
    """The first seed alone has p 0.5 and another sign would not be told from it."""
    row = compared(store_with(tmp_path, seeds_of({seed: (0, 2 + seed) for seed in range(6)}))).loc["clean"]
    assert row["p_checkpoint"] == 0.5
    assert row["p_variant"] == row["p_variant_holm"] == 2 / 2**6
    assert pd.isna(row["p_checkpoint_holm"]), "a row has one test"
    assert row["finding"] == "higher"


def test_seeds_that_contradict_each_other_are_none(tmp_path: Path) -> None:
    """The first seed loses 12 images at p = 0.0005, and the others gain as many: nothing of the recipe."""
    cells = seeds_of({seed: (12, 0) if seed % 2 else (0, 12) for seed in range(6)})
    row = compared(store_with(tmp_path, cells)).loc["clean"]
    assert row["p_checkpoint"] == 2 / 2**12
    assert row["p_variant"] == 1.0
    mde = 100 * detectable_by_sign_flips(6, 0.3 * math.sqrt(6 / 5), 40)
    assert row["mde_seeds"] == pytest.approx(mde)
    assert row["finding"] == f"no difference found; {mde:.1f} points would have been"


def test_seeds_that_all_agree_do_not_find_a_difference_of_zero_points(tmp_path: Path) -> None:
    """A finding needs every seed to gain at least one of 60 images: (1 − (1 − δ)⁶⁰)⁶ = 0.8."""
    row = compared(store_with(tmp_path, seeds_of(dict.fromkeys(range(6), (0, 0)), n=60))).loc["clean"]
    assert (row["p_variant"], row["std_seeds"]) == (1.0, 0.0)
    assert row["mde_seeds"] == pytest.approx(100 * (1 - (1 - 0.8 ** (1 / 6)) ** (1 / 60)))
    assert row["finding"] == "no difference found; 5.4 points would have been"


@pytest.mark.parametrize("seeds", [1, 2, 6])
def test_images_that_all_agree_leave_an_interval(tmp_path: Path, seeds: int) -> None:
    """Not one of 200 images differs: Bonett and Price's interval of one seed is ±1.96·√2/202."""
    row = compared(store_with(tmp_path, seeds_of(dict.fromkeys(range(seeds), (0, 0)), n=200))).loc["clean"]
    half = 100 * 1.959964 * math.sqrt(2) / 202
    assert row["diff"] == 0
    assert -1.3 * half < row["diff_lo"] <= -half + 1e-5
    assert half - 1e-5 <= row["diff_hi"] < 1.3 * half


def test_holm_goes_over_the_whole_table(tmp_path: Path) -> None:
    """Two metrics of two variants, of which three differ: p·4, p·3, p·2 and 1, and never less than the one before."""
    base, n_regressed = verdicts(20, 20), [False] * 12 + verdicts(8, 20)
    cells = {
        ("baseline", 0): {"clean": base, "fgsm": base},
        ("lpc", 0): {"clean": [False] * 6 + verdicts(14, 20), "fgsm": n_regressed},
        ("other", 0): {"clean": [False] * 7 + verdicts(13, 20), "fgsm": base},
    }
    table = write_tables(store_with(tmp_path, cells)).comparison.set_index(["variant", "metric"])
    assert table["p_checkpoint"].to_dict() == {
        ("lpc", "clean"): 2 / 2**6, ("lpc", FGSM): 2 / 2**12, ("other", "clean"): 2 / 2**7, ("other", FGSM): 1.0,
    }  # fmt: skip
    assert table["p_checkpoint_holm"].to_dict() == pytest.approx({
        ("lpc", "clean"): 4 / 2**6, ("lpc", FGSM): 8 / 2**12, ("other", "clean"): 6 / 2**7, ("other", FGSM): 1.0,
    })  # fmt: skip
    mde = 100 * stats.beta.ppf(0.8, 8, 33)  # P(8 or more of 40 lost) = 0.8: 2/2⁸ is the first p below 0.05/4
    assert table["finding"].to_dict() == {
        ("lpc", "clean"): f"no difference found; {mde:.1f} points would have been, these weights",
        ("lpc", FGSM): "lower, these weights",
        ("other", "clean"): "lower, these weights",
        ("other", FGSM): f"no difference found; {mde:.1f} points would have been, these weights",
    }


def test_sign_flips_that_cannot_reach_the_level_decide_nothing(tmp_path: Path) -> None:
    """6 seeds could bring one comparison to 0.031, but each of two only to 0.062: the weights of seed 0 are asked."""
    cells = seeds_of({seed: (0, 10 + seed) for seed in range(6)})
    both = {key: {"clean": found["clean"], "fgsm": found["clean"]} for key, found in cells.items()}
    table = compared(store_with(tmp_path, both))
    assert table["p_variant_holm"].isna().all()
    assert list(table["p_checkpoint_holm"]) == [4 / 2**10] * 2
    assert list(table["finding"]) == ["higher, these weights (seed 0)"] * 2


def test_the_finding_of_weights_goes_by_their_own_sign(tmp_path: Path) -> None:
    """Seed 0 gains 12 images, and the mean over the seeds is a loss."""
    row = compared(store_with(tmp_path, seeds_of({0: (0, 12), 1: (20, 0), 2: (20, 0)}, n=80))).loc["clean"]
    assert row["diff"] < 0
    assert row["finding"] == "higher, these weights (seed 0)"


def test_on_a_few_images_nothing_would_have_been_found(tmp_path: Path) -> None:
    row = compared(store_with(tmp_path, seeds_of({0: (1, 1)}, n=4))).loc["clean"]
    assert pd.isna(row["mde"])
    assert row["finding"] == "no difference found; none would have been, these weights"


def test_one_image_is_compared_without_a_spread(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"fgsm": [True]}, ("lpc", 0): {"fgsm": [False]}})
    row = compared(store).loc[FGSM]
    assert (row["n"], row["p_checkpoint"], row["diff"]) == (1, 1.0, -100.0)
    assert pd.isna(row["mde"])


def test_only_common_images_are_compared(tmp_path: Path) -> None:
    cells = {
        ("baseline", 0): {"fgsm": [False, True, True, True]},
        ("lpc", 0): {"fgsm": [True, True]},
    }
    row = compared(store_with(tmp_path, cells)).loc[FGSM]
    assert (row["n"], row["acc"], row["acc_reference"], row["diff"]) == (2, 100.0, 50.0, 50.0)


def test_nothing_is_compared_without_a_baseline(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("lpc", 0): {"clean": [True] * 4}, ("other", 0): {"clean": [True] * 4}})
    tables = write_tables(store)
    assert tables.comparison.empty
    assert list(tables.comparison.columns) == list(COMPARISON_COLUMNS)
    assert comparison_markdown(tables.comparison) == ""
    assert not (tmp_path / "comparison.csv").exists()


def test_a_table_of_what_is_gone_goes_too(tmp_path: Path) -> None:
    store = store_with(tmp_path, seeds_of({0: (1, 0)}))
    rebuild(store)
    assert (tmp_path / "comparison.csv").exists()
    store.write_run(dataclasses.replace(run_record(), weights_sha="new"), None)
    rebuild(store)
    assert not (tmp_path / "comparison.csv").exists()


def test_other_seeds_are_not_compared(tmp_path: Path) -> None:
    cells = seeds_of({0: (1, 0), 1: (1, 0)})
    del cells["baseline", 1]
    assert write_tables(store_with(tmp_path, cells)).comparison.empty


def test_a_failed_cell_is_not_compared_and_takes_no_other_with_it(tmp_path: Path) -> None:
    cells = seeds_of({0: (1, 0)})
    store = store_with(tmp_path, {key: {**found, "fgsm": found["clean"]} for key, found in cells.items()})
    good = cell_record(run_record("lpc"), "fgsm", cells["lpc", 0]["clean"])
    store.write_cell(dataclasses.replace(good, status="failed", reason="attack_error", n_correct=None), None)
    assert list(compared(store).index) == ["clean"]


def test_flags_and_the_audit_stand_beside_the_numbers(tmp_path: Path) -> None:
    cells = seeds_of({0: (1, 0), 1: (1, 0)})
    store = store_with(tmp_path, cells)
    flags = {("lpc", 0): ("zero_gradient",), ("lpc", 1): ("randomised",), ("baseline", 1): ("randomised",)}
    for (variant, seed), names in flags.items():
        correct = cells[variant, seed]["clean"]
        cell = dataclasses.replace(cell_record(run_record(variant, seed), "clean", correct), flags=names)
        store.write_cell(cell, samples_of(correct))
    store.write_audit(audit_record(run_record("lpc", 0)))
    assert write_tables(store).comparison["audit"].isna().all(), "one of two seeds is no audit of the variant"
    masked = audit_record(run_record("lpc", 1), scale_masking=7.5)
    store.write_audit(masked)
    tables = write_tables(store)
    (row,) = tables.comparison.to_dict("records")
    assert (row["flags"], row["flags_reference"]) == ("randomised;zero_gradient", "randomised")
    assert row["audit"] == "scale_masking=7.5pt"
    line = comparison_markdown(tables.comparison).splitlines()[2]
    assert "| 50.0 ⚑randomised " in line
    assert "| 47.5 ⚑randomised ⚑zero_gradient " in line
    assert line.rstrip("| ").endswith("scale_masking=7.5pt")


def test_the_file_is_the_table_rounded(tmp_path: Path) -> None:
    store = store_with(tmp_path, seeds_of({0: (12, 2), 1: (9, 1), 2: (7, 0)}, n=60))
    (row,) = records(write_tables(store).comparison)
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert list(table.columns) == list(COMPARISON_COLUMNS)
    assert row["p_checkpoint"] == table["p_checkpoint"][0] == 0.01294  # 212/2¹⁴ = 0.012939…
    assert row["diff"] == table["diff"][0] == -13.89
    assert (row["note"], row["audit"], row["n_regressed"]) == (None, None, 12)


def test_the_printed_table(tmp_path: Path) -> None:
    cells = seeds_of({seed: (0, 12 + seed) for seed in range(3)}, n=400)
    text = comparison_markdown(write_tables(store_with(tmp_path, cells)).comparison)
    head, _, line = text.splitlines()[:3]
    names = ["variant", "metric", "baseline", "accuracy", "difference", "lowest known"]
    names += ["p (checkpoint)", "p (variant)", "finding", "audit"]
    assert [cell.strip() for cell in head.strip("|").split("|")] == names
    found = [cell.strip() for cell in line.strip("|").split("|")]
    assert found[:4] == ["tiny:lpc", "clean", "50.0", "53.2"]
    assert found[4].startswith("+3.2 [+")
    assert found[6:9] == ["0.00049", "0.25 (≥ 0.25)", "higher, these weights (seed 0)"]


def test_from_eight_seeds_on_the_smallest_p_is_left_out(tmp_path: Path) -> None:
    store = store_with(tmp_path, seeds_of(dict.fromkeys(range(8), (0, 2))))
    text = comparison_markdown(write_tables(store).comparison)
    assert "| 0.0078 " in text
    assert "(≥" not in text


def test_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    comparison = write_tables(store_with(tmp_path, seeds_of({0: (1, 0)}))).comparison
    other = comparison.assign(config_sha="othersha")
    text = comparison_markdown(pd.concat([comparison, other], ignore_index=True))
    assert "| tiny:lpc:othersha " in text
    assert "othersha" not in comparison_markdown(comparison)


def test_below_the_board_and_in_the_json(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store_with(tmp_path, seeds_of({0: (12, 2)}))
    shown = bench("leaderboard", "--results", tmp_path).out
    board, comparison, caption = shown.strip().split("\n\n")
    assert board.startswith("| rank")
    assert comparison.startswith("| variant")
    assert "Holm" in caption
    content = json.loads(bench("leaderboard", "--results", tmp_path, "--json").out)
    assert [row["finding"] for row in content["comparison"]] == ["lower, these weights"]
    assert {row["variant"] for row in content["leaderboard"]} == {"baseline", "lpc"}


def test_a_board_without_a_baseline_is_printed_alone(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store_with(tmp_path, {("lpc", 0): {"clean": [True] * 4}})
    assert "p (checkpoint)" not in bench("leaderboard", "--results", tmp_path).out
    assert json.loads(bench("leaderboard", "--results", tmp_path, "--json").out)["comparison"] == []

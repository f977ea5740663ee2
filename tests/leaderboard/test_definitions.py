"""One name on the board may stand for several attacks: their numbers are neither compared nor ranked together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import cell_record, run_record, samples_of

from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import TrainSpec
from bench.leaderboard.comparison_report import comparison_markdown
from bench.leaderboard.write_tables import Tables, write_tables
from bench.results.store import Store
from bench.statistics.power import detectable_by_mcnemar

FGSM = "fgsm@linf-0.1"
MORE, FEWER = [True] * 30 + [False] * 10, [True] * 10 + [False] * 30
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "version 2, baseline's 1"),
    ({"backend": "reference"}, "backend reference, baseline's native"),
    ({"precision": "bf16"}, "precision bf16, baseline's fp32"),
    ({"code_sha": "abc"}, "code_sha abc, baseline's none"),
    ({"params": {"steps": 5}}, "steps 5, baseline's none"),
]


def attacked(run: RunRecord, correct: list[bool], **changes: Any) -> EvalRecord:
    record = cell_record(run, "fgsm", correct)
    assert record.spec.attack is not None
    spec = dataclasses.replace(record.spec, attack=dataclasses.replace(record.spec.attack, **changes))
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


def write(store: Store, run: RunRecord, correct: list[bool], **changes: Any) -> None:
    store.write_run(run, None)
    store.write_cell(cell_record(run, "clean", MORE), samples_of(MORE))
    store.write_cell(attacked(run, correct, **changes), samples_of(correct))


def tables(folder: Path, *rows: tuple[str, int, list[bool], dict[str, Any]]) -> Tables:
    store = Store(folder)
    for variant, seed, correct, changes in rows:
        write(store, run_record(variant, seed), correct, **changes)
    return write_tables(store)


@pytest.mark.parametrize(("changes", "why"), CHANGES)
def test_other_attacks_of_one_name_have_no_difference_and_say_why(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    found = tables(tmp_path, ("baseline", 0, MORE, {}), ("lpc", 0, FEWER, changes))
    board, comparison = found.board.set_index("variant"), found.comparison.set_index("metric")
    assert pd.isna(board.loc["lpc", f"{FGSM}_diff"])
    assert board.loc["lpc", "clean_diff"] == 0, "clean cells are compared as ever"
    row = comparison.loc[FGSM]
    assert row[["n", "acc", "diff", "diff_lo", "n_regressed", "p_checkpoint", "p_checkpoint_holm", "mde"]].isna().all()
    assert (row["finding"], row["note"]) == ("not compared: measured otherwise", f"no difference: {why}")
    assert comparison.loc["clean", "mde"] > 0
    assert f"not compared: measured otherwise (no difference: {why})" in comparison_markdown(found.comparison)


def test_what_is_not_compared_is_no_test(tmp_path: Path) -> None:
    """The clean comparison beside it is one of one, not of two."""
    alone = tables(tmp_path / "alone", ("baseline", 0, MORE, {}), ("lpc", 0, FEWER, {"version": 2}))
    both = tables(tmp_path / "both", ("baseline", 0, MORE, {}), ("lpc", 0, FEWER, {}))
    mde = [found.comparison.set_index("metric").loc["clean", "mde"] for found in (alone, both)]
    assert mde == [100 * detectable_by_mcnemar(40, 0, level) for level in (0.05, 0.05 / 2)]


def test_seeds_that_were_attacked_otherwise_are_not_compared(tmp_path: Path) -> None:
    """Each pair is of one version, but the mean over the seeds is of none."""
    rows = [(variant, seed, MORE, {"version": 1 + seed}) for variant in ("baseline", "lpc") for seed in (0, 1)]
    found = tables(tmp_path, *rows).comparison.set_index("metric")
    assert found.loc[FGSM, "note"] == "no difference: version 1 and 2, baseline's 1 and 2"


@pytest.mark.parametrize(("changes", "ranks"), [
    ({}, {"baseline": 1, "lpc": 3, "other": 1}),
    ({"version": 2}, {"lpc": 1}),
    ({"precision": "bf16"}, {"baseline": 1, "other": 1}),
    ({"backend": "reference"}, {"baseline": 1, "other": 1}),
    ({"code_sha": "abc"}, {"baseline": 1, "other": 1}),
])  # fmt: skip
def test_only_rows_that_went_through_one_attack_have_places(
    tmp_path: Path, changes: dict[str, Any], ranks: dict[str, int]
) -> None:
    """The newest version counts, a search in full precision before bf16, then the attack that most rows have."""
    found = tables(tmp_path, ("baseline", 0, MORE, {}), ("lpc", 0, FEWER, changes), ("other", 0, MORE, {}))
    assert found.board.set_index("variant")["rank"].dropna().to_dict() == ranks


@pytest.mark.parametrize("newer", ["baseline", "lpc"])
def test_of_as_many_rows_of_either_attack_the_newer_cells_have_places(tmp_path: Path, newer: str) -> None:
    store = Store(tmp_path)
    for variant, changes in {"baseline": {}, "lpc": {"backend": "reference"}}.items():
        run = run_record(variant)
        write(store, run, MORE, **changes)
        year = "2027" if variant == newer else "2026"
        made = dataclasses.replace(attacked(run, MORE, **changes), created=f"{year}-06-01T00:00:00+00:00")
        store.write_cell(made, samples_of(MORE))
    assert write_tables(store).board.set_index("variant")["rank"].dropna().to_dict() == {newer: 1}


def test_more_images_of_another_attack_take_no_place_away(tmp_path: Path) -> None:
    few = MORE[:20]
    board = tables(tmp_path, ("baseline", 0, MORE, {}), ("lpc", 0, few, {"version": 2})).board.set_index("variant")
    assert board["rank"].dropna().to_dict() == {"lpc": 1}


def test_a_row_whose_seeds_were_attacked_otherwise_has_no_place(tmp_path: Path) -> None:
    rows = [("baseline", 0, MORE, {"version": 2}), ("lpc", 0, MORE, {}), ("lpc", 1, MORE, {"version": 2})]
    board = tables(tmp_path, *rows).board.set_index("variant")
    assert board["rank"].dropna().to_dict() == {"baseline": 1}


def test_the_baseline_of_another_version_of_the_training_is_none(tmp_path: Path) -> None:
    """Its weights differ for no idea's sake; beside the one of this version it is not asked, whichever comes first."""
    current = TrainSpec.version
    for name, versions in {"alone": (2,), "before": (2, current), "other": (1, current)}.items():
        store = Store(tmp_path / name)
        write(store, run_record("lpc"), MORE)
        for version in versions:
            record = run_record()
            assert record.spec is not None
            spec = dataclasses.replace(record.spec, version=version)
            run = dataclasses.replace(record, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha)
            write(store, run, MORE if version == current else FEWER)
        found = write_tables(store)
        of_lpc = found.board.set_index("variant").loc["lpc", f"{FGSM}_diff"]
        assert found.comparison.empty if name == "alone" else list(found.comparison["diff"]) == [0, 0]
        assert pd.isna(of_lpc) if name == "alone" else of_lpc == 0

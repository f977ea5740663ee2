"""comparison.csv on corrupted images, from hand-made records."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparisons import Verdicts, compared, effect, verdicts
from records import cell_record, run_record, samples_of

from bench.core.records import EvalRecord
from bench.core.specs import CorruptionSpec
from bench.leaderboard.corruption_cells import STANDARD_KINDS
from bench.leaderboard.write_tables import write_tables
from bench.results.store import Store


def corrupted(run: Any, kind: str, severity: int, correct: Verdicts, profile: str = "cifar") -> EvalRecord:
    record = cell_record(run, "clean", correct)
    corruption = CorruptionSpec(kind=kind, severity=severity, source="generated", profile=profile)
    spec = dataclasses.replace(record.spec, corruption=corruption)
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


def store_of_corruptions(tmp_path: Path, seeds: int, right: Mapping[str, Callable[[int, int], Verdicts]]) -> Store:
    """75 cells a run; ``right`` gives by variant the verdicts of a seed at a severity."""
    store = Store(tmp_path)
    for variant, of in right.items():
        for seed in range(seeds):
            run = run_record(variant, seed)
            store.write_run(run, None)
            for kind in STANDARD_KINDS:
                for severity in range(1, 6):
                    found = of(seed, severity)
                    store.write_cell(corrupted(run, kind, severity, found), samples_of(found))
    return store


def test_corruptions_are_compared_by_their_images_means(tmp_path: Path) -> None:
    """Image 0 is lost from severity 1 on, image 1 from 3 on, image 2 never: differences −1, −0.6 and 0."""
    gone = {1: [False, True, True], 2: [False, True, True]}
    right = {"baseline": lambda *_: [True] * 3, "lpc": lambda _, severity: gone.get(severity, [False, False, True])}
    row = compared(store_of_corruptions(tmp_path, 1, right)).loc["corruptions_acc"]
    assert row["diff"] == pytest.approx(-160 / 3)
    assert (row["acc_reference"], row["n"]) == (100.0, 3)
    assert row[["n_regressed", "n_improved", "p_checkpoint", "p_checkpoint_holm", "p_variant"]].isna().all()
    assert row["note"].startswith("no p_checkpoint: McNemar's test is of verdicts")
    assert row["finding"] == "untested: too few trainings"
    assert row["interval"] == "images"
    draws = [np.mean(found) for found in itertools.product([-1, -0.6, 0, -1, 1], repeat=5)]  # one more lost and gained
    expected = 100 * np.quantile(draws, [0.025, 0.975])
    assert (row["diff_lo"], row["diff_hi"]) == pytest.approx(tuple(expected), abs=4)
    assert pd.isna(row["mde"])  # 0.5·d of three images is more than a whole


def test_corruptions_over_six_seeds_are_decided_by_the_seeds(tmp_path: Path) -> None:
    right = {"baseline": lambda *_: verdicts(5, 5), "lpc": lambda seed, _: verdicts(6 + seed % 2, 4 - seed % 2)}
    row = compared(store_of_corruptions(tmp_path, 6, right)).loc["corruptions_acc"]
    assert row["diff"] == pytest.approx(15)
    assert (row["p_variant"], row["finding"]) == (2 / 2**6, "higher")
    assert row["mde"] == pytest.approx(100 * effect(10) * math.sqrt(0.1 * 0.9 * 10 / 9), rel=1e-3)  # of seed 0


def test_other_corrupted_images_are_not_compared(tmp_path: Path) -> None:
    """Equal images give no detectable difference of their means."""
    right = {name: lambda *_: verdicts(3, 1) for name in ("baseline", "lpc")}
    store = store_of_corruptions(tmp_path, 1, right)
    assert pd.isna(compared(store).loc["corruptions_acc", "mde"])
    assert "corruptions_acc" in compared(store).index
    for cell in store.cells(run_record("lpc").run_id):
        spec = dataclasses.replace(cell.spec, corruption=dataclasses.replace(cell.spec.corruption, seed=1))
        newer = dataclasses.replace(cell, spec=spec, cell_id=spec.cell_id, created="2027-01-01T00:00:00+00:00")
        store.write_cell(newer, samples_of(verdicts(3, 1)))
    (row,) = write_tables(store).comparison.to_dict("records")
    assert row["finding"] == "not compared: measured otherwise"
    assert row["note"] == "no difference: seed 1, baseline's 0"


@pytest.mark.parametrize("other", ["baseline", "lpc"])
def test_frost_of_photographs_is_not_compared_with_frost_of_a_texture(tmp_path: Path, other: str) -> None:
    """The photographs were installed between two runs: the frost of the later one is another cell."""
    right = {name: lambda *_: verdicts(3, 1) for name in ("baseline", "lpc")}
    store = store_of_corruptions(tmp_path, 1, right)
    for cell in store.cells(run_record(other).run_id):
        if cell.spec.corruption.kind == "frost":
            corruption = dataclasses.replace(cell.spec.corruption, files_sha="ab12")
            spec = dataclasses.replace(cell.spec, corruption=corruption)
            assert spec.cell_id != cell.cell_id
            newer = dataclasses.replace(cell, spec=spec, cell_id=spec.cell_id, created="2027-01-01T00:00:00+00:00")
            store.write_cell(newer, samples_of(verdicts(3, 1)))
    (row,) = write_tables(store).comparison.to_dict("records")
    assert row["finding"] == "not compared: measured otherwise"
    ours, theirs = ("ab12", "none") if other == "lpc" else ("none", "ab12")
    assert row["note"] == f"no difference: files_sha {ours}, baseline's {theirs}"

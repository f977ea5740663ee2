"""Verdicts depend neither on batch size, order, threads nor hash seed. The comparison of tables notices if they do."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import determinism
import pytest
from column_differences import OUTCOMES, breaks_promise, differences, kind_of

ROOT = Path(__file__).parents[2]
ROWS = [
    {"run_id": "a", "cell_id": "1", "attack": "fgsm", "acc": "0.5", "max_distance": "0.1", "time_s": "1", "flags": ""},
    {"run_id": "a", "cell_id": "2", "attack": "pgd", "acc": "0.25", "max_distance": "0.1", "time_s": "2", "flags": ""},
]
SAMPLES = [
    {"sample_id": "x", "label": "3", "adv_pred": "4", "distance": "0.1"},
    {"sample_id": "y", "label": "3", "adv_pred": "3", "distance": ""},
]


def write(folder: Path, rows: list[dict[str, str]], samples: list[dict[str, str]]) -> Path:
    (folder / "runs" / "a" / "cells").mkdir(parents=True)
    complete = [{"norm": "", "eps": "", "corruption": "", "severity": "", "protocol": "", **row} for row in rows]
    complete = [{"dataset": "d", "model": "m", "variant": "v", "seed": "0", **row} for row in complete]
    for name, table in (("results.csv", complete), (f"runs/a/cells/{rows[0]['cell_id']}.samples.csv", samples)):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    return folder


@pytest.mark.parametrize(
    ("change", "sample", "broken"),
    [
        ({"time_s": "9", "cell_id": "7"}, {}, set()),
        ({"max_distance": "0.1000001"}, {}, set()),
        ({"max_distance": "0.11"}, {}, {"max_distance"}),
        ({"max_distance": ""}, {}, {"max_distance"}),
        ({"acc": "0.50000001"}, {}, {"acc"}),
        ({"flags": "transfer"}, {}, {"flags"}),
        ({"attack": "mim"}, {}, {"rows"}),
        ({}, {"adv_pred": "3"}, {"adv_pred"}),
        ({}, {"distance": "0.1000001"}, set()),
        ({}, {"sample_id": "z"}, {"rows"}),
    ],
)
def test_differences(change: dict[str, str], sample: dict[str, str], broken: set[str], tmp_path: Path) -> None:
    """Only times, settings and roundings may differ. The order of rows does not matter."""
    before = write(tmp_path / "before", ROWS, SAMPLES)
    after = write(tmp_path / "after", [ROWS[0] | change, ROWS[1]], [SAMPLES[1], SAMPLES[0] | sample])
    found = differences(before, after)
    assert {column for (_, column), entry in found.items() if breaks_promise(column, entry)} == broken
    assert {column for _, column in found} >= {*change, *sample} - {"attack", "sample_id"}


def test_classes_of_columns() -> None:
    names = ("acc", "weights_sha", "flags", "n", "distance", "time_s", "hardware", "clean_std", "max_distance")
    assert [kind_of(name) for name in names] == [
        "verdict", "verdict", "verdict", "verdict", "rounding", "time", "setting", "verdict", "rounding",
    ]  # fmt: skip


def test_verdicts_depend_neither_on_batch_size_nor_on_order(run: Callable[..., Any], tmp_path: Path) -> None:
    """Two runs of one grid, each with trainings of its own."""
    attacks = ["fgsm", "autoattack-apgd-ce+square-i3-s10"]
    grid = ("--severities", "3", "--no-diagnose", "--limit", "40", "--epochs", "1")
    first, second = tmp_path / "first", tmp_path / "second"
    corrupted = ("--corruptions", "fog")
    assert run(*grid, *corrupted, "--variants", "baseline,lpc", "--attacks", ",".join(attacks), results=first).code == 0
    other = ("--batch-size", "7", "--variants", "lpc,baseline", "--attacks", ",".join(attacks[::-1]))
    assert run(*grid, *corrupted, *other, results=second).code == 0
    found = differences(first, second)
    assert [name for name, entry in found.items() if breaks_promise(name[1], entry)] == []
    assert ("results.csv", "batch_size") in found
    assert (OUTCOMES, "adv_pred") not in found


@pytest.mark.slow
def test_fresh_processes(tmp_path: Path) -> None:
    """Another number of threads, hash seed, order and batch size at once, on the same weights, with the audit."""
    command = [sys.executable, str(ROOT / "tools" / "determinism.py"), "--out", str(tmp_path / "out"), "--short"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "| results.csv: batch_size" in (tmp_path / "out" / "determinism.md").read_text()


def test_a_broken_promise_is_reported() -> None:
    entry = determinism.Difference(1, 0.5)
    found = {"again": {("results.csv", "acc"): entry}, "2 threads in training": {("results.csv", "acc"): entry}}
    assert determinism.broken_promises(found) == ["again: results.csv, acc: 5.0e-01 (1 rows)"]

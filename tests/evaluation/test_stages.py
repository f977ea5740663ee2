"""The stages of an ensemble in its row: images and passes of every stage, which add up to those of the cell."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.evaluation import attack_runner
from bench.results.store import Store

Bench = Callable[..., Any]
TINY = ("--models", "tiny", "--limit", "60", "--train-limit", "all", "--epochs", "4", "--eps", "0.1", "--no-diagnose")
STAGES = {
    "robust": ["cr", "pma", "apgd-ce", "apgd-t", "fab-t", "square"],
    "robust-fast": ["cr", "pma"],
    "autoattack-apgd-ce+square-i6-s40": ["apgd-ce", "square"],
    "apgd-ce": [],
}


@pytest.mark.parametrize("batches", [1, 3])
def test_the_stages_add_up(
    bench: Bench, plugin: Path, tmp_path: Path, batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one call of the attack, and in several, whose counts are added."""
    if batches > 1:
        monkeypatch.setattr(attack_runner, "CALL_BYTES", 60 * 4 * 3 * 64 // batches)
    attacks = ("--attacks", ",".join(STAGES), "--attack-limit", "robust=60")
    arguments = [*TINY, "--plugin", plugin, "--variants", "baseline", "--audit", "none", "--corruptions", "none"]
    assert bench("run", *arguments, *attacks, "--results", tmp_path).code == 0
    store = Store(tmp_path)
    (run,) = store.runs()
    cells = {c.spec.attack.name: c for c in store.cells(run.run_id) if c.spec.attack}
    for name, stages in STAGES.items():
        cell, found = cells[name], cells[name].stages
        assert [stage.name for stage in found] == stages[: len(found)]
        assert bool(found) == bool(stages)
        if not found:
            continue
        assert found[0].n_attacked == cell.n_attacked
        for earlier, later in itertools.pairwise(found):
            assert later.n_attacked == earlier.n_attacked - earlier.n_broken
        assert found[-1].n_attacked - found[-1].n_broken == cell.n_correct
        assert sum(stage.n_forwards for stage in found) == cell.n_forwards
        assert sum(stage.n_backwards for stage in found) == cell.n_backwards
    fast, whole = cells["robust-fast"], cells["robust"]
    assert fast.stages == whole.stages[:2]
    assert whole.n_correct is not None
    assert fast.n_correct is not None
    assert whole.n_correct <= fast.n_correct
    with (tmp_path / "results.csv").open() as file:
        rows = {row["attack"]: row for row in csv.DictReader(file)}
    assert rows["apgd-ce"]["stages"] == ""
    assert re.fullmatch(r"cr \d+/\d+ \(\d+\+\d+\); pma \d+/\d+ \(\d+\+\d+\)", rows["robust-fast"]["stages"])
    assert "upper bound" in rows["robust-fast"]["notes"]
    assert "upper bound" not in rows["robust"]["notes"]

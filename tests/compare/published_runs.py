"""Hand-made runs on whole test splits, for tests of what may stand beside published numbers."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from records import cell_record, run_record, samples_of

from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import AttackSpec, CorruptionSpec, Norm
from bench.leaderboard.corruption_cells import STANDARD_KINDS
from bench.leaderboard.rows import BoardRow, board_rows
from bench.results.outcomes import Outcome, Outcomes
from bench.results.per_image import Sample
from bench.results.store import Store

MODEL_INFO = Path(__file__).parents[3] / "shared" / "reference" / "robustbench" / "model_info"
needs_robustbench = pytest.mark.skipif(not MODEL_INFO.exists(), reason="needs RobustBench's tables in ../shared")

N = 10_000
COUNTS = st.integers(0, N)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]).filter(str.isprintable), min_size=1, max_size=20)


def run_on(dataset: str = "cifar10", variant: str = "baseline", seed: int = 0) -> RunRecord:
    run = run_record(variant, seed)
    assert run.spec is not None
    spec = dataclasses.replace(run.spec, data=dataclasses.replace(run.spec.data, name=dataset, num_classes=10))
    return dataclasses.replace(run, dataset=dataset, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha)


def attack(name: str = "autoattack", *, norm: Norm = "linf", eps: float = 8 / 255, **others: Any) -> AttackSpec:
    return AttackSpec(name=name, norm=norm, eps=eps, **others)


def cell(
    run: RunRecord, made: AttackSpec | CorruptionSpec | None, right: int, *, n: int = N, official: bool = True,
    protocol: str = "standard", **others: Any,
) -> EvalRecord:  # fmt: skip
    """An ok cell with ``right`` of ``n`` images, of 10,000."""
    found = cell_record(run, "clean", [])
    spec = dataclasses.replace(
        found.spec,
        attack=made if isinstance(made, AttackSpec) else None,
        corruption=made if isinstance(made, CorruptionSpec) else None,
        protocol=protocol,
        limit=None if n == N else n,
    )
    counts = {"n": n, "n_test": N, "n_correct": right, "n_attacked": n}
    return dataclasses.replace(found, spec=spec, cell_id=spec.cell_id, official=official, **counts, **others)


def corruptions(run: RunRecord, right: int, *, source: Any = "official", **others: Any) -> list[EvalRecord]:
    """The 75 standard cells, all alike."""
    specs = [
        CorruptionSpec(kind=kind, severity=severity, source=source, profile="cifar")
        for kind in STANDARD_KINDS
        for severity in range(1, 6)
    ]
    return [cell(run, spec, right, **others) for spec in specs]


def stored(folder: Path, *cells: EvalRecord, runs: tuple[RunRecord, ...]) -> Store:
    store = Store(folder)
    for run in runs:
        store.write_run(run, None)
    for record in cells:
        store.write_cell(record, _samples(record))
    return store


def _samples(record: EvalRecord) -> list[Sample] | None:
    """Return the outcomes of an attack; None for a clean or corrupted cell, or for one that is not ok or has no count.

    The first images are right, so that a stronger attack breaks every image that a weaker one breaks.
    """
    if record.spec.attack is None or record.status != "ok" or record.n_correct is None:
        return None
    return _outcomes(record.n, record.n_correct)


@functools.cache
def _outcomes(n: int, right: int) -> list[Sample]:
    return samples_of([i < right for i in range(n)])


class MadeOutcomes(Outcomes):
    """Outcomes of cells that are not stored, made as :func:`stored` makes them: the first images are right."""

    def __init__(self) -> None:
        super().__init__(Store(Path("not-there")), cells=[])

    def of(self, cell: EvalRecord) -> Outcome:
        return _outcome(cell.n, cell.n_correct or 0)


@functools.cache
def _outcome(n: int, right: int) -> Outcome:
    correct = np.arange(n) < right
    return Outcome(_ids(n), correct, np.where(correct, np.nan, 0.1), np.ones(n, dtype=np.int64))


@functools.cache
def _ids(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def row_of(run: RunRecord, *cells: EvalRecord) -> BoardRow:
    (row,) = board_rows([(run, record) for record in cells])
    return row


RUN, LPC = run_on(), run_on(variant="lpc")


def whole(folder: Path, *, official: bool = True) -> Store:
    """Two networks on 10,000 images: if official, 3rd and 10th of 11 under attack, and one 6th of 7 corrupted."""
    cells = [
        cell(RUN, None, 8700, official=official), cell(RUN, attack(), 5800, official=official),
        cell(LPC, None, 9500, official=official), cell(LPC, attack(), 100, official=official),
        *corruptions(RUN, 8000, official=official),
    ]  # fmt: skip
    return stored(folder, *cells, runs=(RUN, LPC))

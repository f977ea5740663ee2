"""Count the reads of stored cells per command: reading is most of their time in a large results folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import cell_record, limited, run_record, samples_of

from bench.core.records import EvalRecord
from bench.leaderboard.write_tables import write_tables
from bench.results.store import Store

RIGHT = [True, True, False]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two runs with two cells each, on the whole test split."""
    made = Store(tmp_path)
    for run in (run_record("baseline"), run_record("lin_pen")):
        made.write_run(run, None)
        for cell in (cell_record(run, "clean", RIGHT), cell_record(run, "fgsm", RIGHT)):
            made.write_cell(cell, samples_of(RIGHT))
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, store: Store) -> Counter[str]:
    """The number of cells read, by run id."""
    found: Counter[str] = Counter()
    read = Store.read_cell

    def counting(self: Store, run_id: str, cell_id: str) -> EvalRecord | None:
        found[run_id] += 1
        return read(self, run_id, cell_id)

    monkeypatch.setattr(Store, "read_cell", counting)
    return found


def add_limited(store: Store) -> None:
    """Add a limited cell to each run, whose sampling is compared with that of the other cells."""
    for run in store.runs():
        store.write_cell(limited(cell_record(run, "pgd", RIGHT), 3, 1), samples_of(RIGHT))


def test_the_tables_read_every_cell_once(store: Store, reads: Counter[str]) -> None:
    add_limited(store)
    write_tables(store)
    assert list(reads.values()) == [3, 3]


@pytest.mark.parametrize("arguments", [
    ("compare",), ("compare", "tiny:lin_pen"),
    *(("export", "tiny:lin_pen", "--allow-protocol-mismatch", "--format", form) for form in ("timm", "huggingface")),
])  # fmt: skip
def test_compare_and_export_read_every_cell_once(
    store: Store, reads: Counter[str], bench: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    add_limited(store)
    assert bench(*arguments, "--results", store.root).code == 0
    assert list(reads.values()) == [3, 3]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_show_reads_the_cells_of_its_run_once(
    store: Store, reads: Counter[str], bench: Callable[..., Any], form: tuple[str, ...]
) -> None:
    assert bench("show", "tiny:lin_pen", "--results", store.root, *form).code == 0
    assert reads == {run_record("lin_pen").run_id: 2}

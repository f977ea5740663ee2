"""Images of several cells, put side by side by their names."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from records import cell_record, remove_images, repeat_an_image, replace_outcomes, run_record, samples_of, store_with

from bench.core.errors import BenchError
from bench.leaderboard.write_tables import write_tables
from bench.results.outcomes import Outcome, Outcomes, common_images, verdicts
from bench.results.per_image import Sample, dump_samples
from bench.results.store import Store


def outcome(ids: str, correct: list[bool]) -> Outcome:
    none = np.full(len(correct), math.nan)
    labels = np.zeros(len(correct), dtype=np.int64)
    return Outcome(tuple(ids), np.array(correct), none, labels)


def test_images_are_found_by_name_and_not_by_place() -> None:
    first, second = outcome("abc", [True, False, True]), outcome("dcba", [True, False, True, False])
    ids = common_images([first, second])
    assert ids == ("a", "b", "c")
    assert verdicts([first], ids).tolist() == [1, 0, 1]
    assert verdicts([second], ids).tolist() == [0, 1, 0]
    assert verdicts([first, second], ids).tolist() == [0.5, 0.5, 0.5]


def test_what_only_one_holds_is_left_out() -> None:
    assert common_images([outcome("abc", [True] * 3), outcome("bd", [True] * 2)]) == ("b",)
    assert common_images([outcome("a", [True]), outcome("b", [True])]) == ()


def test_a_cell_is_read_once_and_equal_lists_are_one(tmp_path: Path) -> None:
    store, run = Store(tmp_path), run_record()
    store.write_run(run, None)
    made = (cell_record(run, name, [True, False]) for name in ("clean", "fgsm"))
    cells = [store.write_cell(cell, samples_of([True, False])) for cell in made]
    outcomes = Outcomes(store)
    first, second = map(outcomes.of, cells)
    assert first.ids is second.ids
    assert outcomes.of(cells[0]) is first
    assert first.correct.tolist() == [True, False]
    assert math.isnan(first.distance[0])
    assert first.distance[1] == 0.1


def test_images_that_contradict_their_cell_are_an_error(tmp_path: Path) -> None:
    store, run = Store(tmp_path), run_record()
    cell = cell_record(run, "clean", [True, True])
    with pytest.raises(BenchError, match="its record says 2 of 2"):
        store.write_cell(cell, [Sample("0", 1, 1, 0, 0.0)])
    store.write_cell(cell, samples_of([True, True]))
    with pytest.raises(BenchError, match="its record says 2 of 2"):
        Outcomes(store).of(replace_outcomes(store, cell, dump_samples(samples_of([True]))))


@pytest.mark.parametrize(("damage", "words"), [
    (remove_images, r"cells.*\.json is inconsistent: it has status ok but no images"),
    (repeat_an_image, r"samples\.csv contains an image twice"),
])  # fmt: skip
def test_tables_are_not_made_of_cells_without_images_or_with_copies(
    tmp_path: Path, damage: Callable[[Store], None], words: str
) -> None:
    right = [True, True, True, False]
    store = store_with(tmp_path, {("baseline", 0): {"clean": right, "fgsm": right}})
    write_tables(store)
    damage(store)
    with pytest.raises(BenchError, match=words):
        write_tables(store)


def test_such_cells_are_not_written(tmp_path: Path) -> None:
    store, run = Store(tmp_path), run_record()
    store.write_run(run, None)
    with pytest.raises(BenchError, match="it has status ok but no images"):
        store.write_cell(cell_record(run, "fgsm", []), [])
    with pytest.raises(BenchError, match="contains an image twice"):
        store.write_cell(cell_record(run, "fgsm", [True, True]), samples_of([True]) * 2)
    assert not list(tmp_path.glob("runs/*/cells/*"))


def test_outcomes_that_another_process_replaces_are_not_called_damaged(tmp_path: Path) -> None:
    """The advice to delete damaged files would delete the new results."""
    store, run = Store(tmp_path), run_record()
    store.write_run(run, None)
    read = store.write_cell(cell_record(run, "fgsm", [True, False]), samples_of([True, False]))
    store.write_cell(cell_record(run, "fgsm", [False, False]), samples_of([False, False]))
    with pytest.raises(BenchError, match="replaced by another process while it was read; repeat the command"):
        store.read_samples(read)

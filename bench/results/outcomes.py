"""Per-image outcomes of cells as arrays. Each cell is read from disk only once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bench.core.records import EvalRecord
from bench.data.sampling import sampling_version
from bench.results.results_csv import Cell, all_cells
from bench.results.store import Store
from bench.runtime.input_files import exists

Ids = tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """Per-image outcomes of one ok cell, in the stored order of its images. The arrays are read-only."""

    ids: Ids
    correct: NDArray[np.bool_]  # (images,)
    distance: NDArray[np.float64]  # (images,): NaN if correctly classified, 0 if misclassified without an attack
    labels: NDArray[np.int64]  # (images,)

    def __post_init__(self) -> None:
        """Make the arrays read-only, because all metrics and tables share them."""
        for array in (self.correct, self.distance, self.labels):
            array.flags.writeable = False

    def places(self, ids: Ids) -> NDArray[np.intp] | slice:
        """Return the indices of the images ``ids``. Raises KeyError for an image without an outcome."""
        if ids is self.ids:
            return slice(None)
        index = {name: i for i, name in enumerate(self.ids)}
        return np.asarray([index[name] for name in ids], dtype=np.intp)


class Outcomes:
    """Cached outcomes of a store, by cell. Cells on the same images share one tuple of ids, to save memory."""

    def __init__(self, store: Store, cells: Sequence[Cell] | None = None) -> None:
        """Create an empty cache. ``cells`` are all cells of the store; by default they are read on demand."""
        self._store = store
        self._given = cells
        self._found: dict[tuple[str, str], Outcome] = {}
        self._ids: dict[Ids, Ids] = {}
        self._samplings: dict[str, int] = {}

    def of(self, cell: EvalRecord) -> Outcome:
        """Return the outcomes of an ok cell. Raises BenchError if they do not match the counts of the cell."""
        key = cell.spec.run_id, cell.cell_id
        if key not in self._found:
            self._found[key] = self._read(cell)
        return self._found[key]

    def sampling(self, data_sha: str) -> int:
        """Return the version of the current sampling for this test split.

        The version depends on whether all classes have the same number of images. This is determined from a stored cell
        on the complete split. Without such a cell, the newest version of any stored cell is returned.
        """
        if data_sha not in self._samplings:
            cells = self._by_split[data_sha]
            versions = [cell.spec.sampling for cell in cells if cell.spec.limit is not None]
            complete = next((c for c in cells if self._is_whole_split(c)), None) if versions else None
            versions += [] if complete is None else [sampling_version(self.of(complete).labels)]
            self._samplings[data_sha] = max(versions, default=1)
        return self._samplings[data_sha]

    @cached_property
    def _by_split(self) -> Mapping[str, Sequence[EvalRecord]]:
        by_split: dict[str, list[EvalRecord]] = defaultdict(list)
        for _, cell in all_cells(self._store) if self._given is None else self._given:
            by_split[cell.spec.data_sha].append(cell)
        return by_split

    def _is_whole_split(self, cell: EvalRecord) -> bool:
        stored = exists(self._store.samples_path(cell.spec.run_id, cell.cell_id))
        return cell.spec.limit is None and cell.status == "ok" and stored

    def _read(self, cell: EvalRecord) -> Outcome:
        samples = self._store.read_samples(cell)
        ids = tuple(sample.sample_id for sample in samples)
        return Outcome(
            ids=self._ids.setdefault(ids, ids),
            correct=np.asarray([sample.correct for sample in samples], dtype=np.bool_),
            labels=np.asarray([sample.label for sample in samples], dtype=np.int64),
            distance=np.asarray([np.nan if s.distance is None else s.distance for s in samples], dtype=np.float64),
        )


def common_images(outcomes: Sequence[Outcome]) -> Ids:
    """Return the images that all outcomes have in common; see :func:`common_ids`."""
    return common_ids([outcome.ids for outcome in outcomes])


def common_ids(id_lists: Iterable[Ids]) -> Ids:
    """Return the ids that all lists have in common, in the order of the smallest list.

    If all lists contain the complete smallest list, this object is returned, so that callers can compare by ``is``.
    """
    distinct = list({id(ids): ids for ids in id_lists}.values())
    smallest = min(distinct, key=len)
    other_sets = [set(ids) for ids in distinct if ids is not smallest]
    common = tuple(name for name in smallest if all(name in ids for ids in other_sets))
    return smallest if len(common) == len(smallest) else common


def verdicts(outcomes: Sequence[Outcome], ids: Ids) -> NDArray[np.float64]:
    """Return the share of outcomes in which each image of ``ids`` is correctly classified: (images,), in [0, 1]."""
    total = np.zeros(len(ids))
    for outcome in outcomes:
        total += outcome.correct[outcome.places(ids)]
    return total / len(outcomes)

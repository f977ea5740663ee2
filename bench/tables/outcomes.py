"""What became of every image of a cell, as arrays; each cell is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.specs import EvalRecord
from bench.store import Store

Ids = tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """The images of one ok cell, in its order."""

    ids: Ids
    correct: NDArray[np.bool_]  # (images,)
    distance: NDArray[np.float64]  # (images,): NaN where the image survived, 0 where it was wrong from the start

    def places(self, ids: Ids) -> NDArray[np.intp] | slice:
        """Where these images stand; all of them are here."""
        if ids is self.ids:
            return slice(None)
        place = {name: i for i, name in enumerate(self.ids)}
        return np.asarray([place[name] for name in ids], dtype=np.intp)


class Outcomes:
    """The outcomes in a store, by cell. Equal lists of images are one object, so that many cells take little room."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[tuple[str, str], Outcome] = {}
        self._ids: dict[Ids, Ids] = {}

    def of(self, cell: EvalRecord) -> Outcome:
        """Raises BenchError when the images are not those that the cell counted."""
        key = cell.spec.run_id, cell.cell_id
        if key not in self._found:
            self._found[key] = self._read(cell)
        return self._found[key]

    def _read(self, cell: EvalRecord) -> Outcome:
        samples = self._store.read_samples(cell)
        ids = tuple(sample.sample_id for sample in samples)
        return Outcome(
            ids=self._ids.setdefault(ids, ids),
            correct=np.asarray([sample.correct for sample in samples], dtype=np.bool_),
            distance=np.asarray([np.nan if s.distance is None else s.distance for s in samples], dtype=np.float64),
        )


def common_images(outcomes: Sequence[Outcome]) -> Ids:
    """The images that all of them hold, in the order of the smallest."""
    lists = list({id(outcome.ids): outcome.ids for outcome in outcomes}.values())
    smallest = min(lists, key=len)
    others = [set(ids) for ids in lists if ids is not smallest]
    common = tuple(name for name in smallest if all(name in ids for ids in others))
    return smallest if len(common) == len(smallest) else common


def verdicts(outcomes: Sequence[Outcome], ids: Ids) -> NDArray[np.float64]:
    """(images,): the share of the outcomes in which each of these images is right."""
    total = np.zeros(len(ids))
    for outcome in outcomes:
        total += outcome.correct[outcome.places(ids)]
    return total / len(outcomes)

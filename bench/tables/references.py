"""A row of the board beside its paired reference, image by image.

The paired reference is the row of another variant, ``baseline`` unless another is asked for, whose training differs in
the variant alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.specs import EvalRecord
from bench.core.vocabulary import BASELINE
from bench.tables.board import BoardRow
from bench.tables.corruption_cells import standard_cells
from bench.tables.outcomes import Outcomes, common_images, verdicts


def reference_of(row: BoardRow, group: Sequence[BoardRow], against: str = BASELINE) -> BoardRow | None:
    """The row of the variant ``against`` whose training differs in the variant alone; of several one of the same width.

    None for a row of that variant itself, and without such a row.
    """
    ours = row.run.spec
    if row.run.variant == against or ours is None:
        return None
    found = [
        other
        for other in group
        if (theirs := other.run.spec) is not None
        and other.run.variant == against
        and dataclasses.replace(theirs, seed=ours.seed).is_like(ours)
    ]
    return min(found, key=lambda other: other.run.latent_dim != row.run.latent_dim, default=None)


def same_split(row: BoardRow, rows: Sequence[BoardRow]) -> list[BoardRow]:
    """The rows on the test split of ``row``, itself among them."""
    return [r for r in rows if (r.run.dataset, r.data_sha) == (row.run.dataset, row.data_sha)]


def parts_of(row: BoardRow, metric: str) -> list[str]:
    """The columns that a metric is the mean over; none where the corruptions' mean is not to be had."""
    return [metric] if metric != CORRUPTIONS_ACC else standard_cells(row) or []


def other_weights(row: BoardRow, metric: str) -> bool:
    """Whether every seed is a training of its own, and not another attack on the same weights."""
    parts = parts_of(row, metric)
    return bool(parts) and len({cell.weights_sha for cell in row.cells[parts[0]].values()}) == len(row.seeds)


@dataclass(frozen=True)
class Pairs:
    """One metric of a row and of its reference on the images that both hold: shares of right verdicts.

    Of a single column they are 0 or 1, of the corruptions' mean anything between.
    """

    seeds: tuple[int, ...]
    ours: NDArray[np.float64]  # (seeds, images)
    theirs: NDArray[np.float64]  # (seeds, images)
    trainings: bool  # whether the seeds of both are trainings of their own

    @property
    def differences(self) -> NDArray[np.float64]:
        """(seeds, images), in [−1, 1]."""
        return self.ours - self.theirs


def pairs_of(row: BoardRow, reference: BoardRow | None, metric: str, outcomes: Outcomes) -> Pairs | None:
    """None unless both have an accuracy, the same seeds, one way of measuring, and common images."""
    if reference is None or not _both_have(row, reference, metric) or unlike(row, reference, metric):
        return None
    seeds, parts = tuple(sorted(row.seeds)), parts_of(row, metric)
    ours, theirs = ([[outcomes.of(r.cells[p][s]) for p in parts] for s in seeds] for r in (row, reference))
    ids = common_images([outcome for found in (*ours, *theirs) for outcome in found])
    if not ids:
        return None
    return Pairs(
        seeds,
        np.stack([verdicts(o, ids) for o in ours]),
        np.stack([verdicts(o, ids) for o in theirs]),
        other_weights(row, metric) and other_weights(reference, metric),
    )


def _both_have(row: BoardRow, reference: BoardRow, metric: str) -> bool:
    """Whether both have an accuracy, of the same seeds."""
    parts = parts_of(row, metric)
    known = all(r.mean(part) is not None for part in parts for r in (row, reference))
    return bool(parts) and known and row.seeds == reference.seeds


def unlike(row: BoardRow, reference: BoardRow, metric: str) -> str:
    """What was measured otherwise in two rows that both have an accuracy, with both sides; empty if nothing was.

    One name may stand for attacks of other versions, backends, precisions, numbers or plug-ins, and for other corrupted
    images. All seeds of both have to be of one kind, or the mean of neither is one attack's.
    """
    for part in parts_of(row, metric) if _both_have(row, reference, metric) else ():
        ours, theirs = ([_measured(cell) for cell in r.cells[part].values()] for r in (row, reference))
        for name in dict.fromkeys(name for found in (*ours, *theirs) for name in found):
            sides = [sorted({str(found.get(name, "")) or "none" for found in side}) for side in (ours, theirs)]
            if len({*sides[0], *sides[1]}) > 1:
                return f"{name} {' and '.join(sides[0])}, {reference.run.variant}'s {' and '.join(sides[1])}"
    return ""


def _measured(cell: EvalRecord) -> dict[str, Any]:
    """Everything that defines what the images went through."""
    made = cell.spec.attack or cell.spec.corruption
    found = {} if made is None else dataclasses.asdict(made)
    numbers = found.pop("params", {})
    return {"protocol": cell.spec.protocol, **found, **numbers}

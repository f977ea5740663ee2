"""Pair a leaderboard row with its reference, per image.

The paired reference is a row of another variant, ``baseline`` by default, whose training differs only in the variant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.records import EvalRecord
from bench.core.vocabulary import BASELINE
from bench.leaderboard.corruption_cells import standard_cells
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcomes, common_images, verdicts
from bench.results.paired_baseline import is_paired


def reference_of(row: BoardRow, group: Sequence[BoardRow], against: str = BASELINE) -> BoardRow | None:
    """Return the row of the variant ``against`` whose training differs only in the variant.

    See :mod:`bench.results.paired_baseline`. Among several, one of the same latent width is preferred. None if no row
    matches, or if ``row`` is of that variant itself.
    """
    if row.run.variant == against:
        return None
    found = [other for other in group if other.run.variant == against and is_paired(row.run, other.run)]
    return min(found, key=lambda other: other.run.latent_dim != row.run.latent_dim, default=None)


def same_split(row: BoardRow, rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Return the rows on the test split of ``row``, including ``row`` itself."""
    return [r for r in rows if (r.run.dataset, r.data_sha) == (row.run.dataset, row.data_sha)]


def parts_of(row: BoardRow, metric: str) -> list[str]:
    """Return the columns that a metric averages over; empty if the mean over corruptions is not available."""
    return [metric] if metric != CORRUPTIONS_ACC else standard_cells(row) or []


def other_weights(row: BoardRow, metric: str) -> bool:
    """Check whether every seed has its own weights, and is not only another attack seed on the same weights."""
    parts = parts_of(row, metric)
    return bool(parts) and len({cell.weights_sha for cell in row.cells[parts[0]].values()}) == len(row.seeds)


@dataclass(frozen=True)
class Pairs:
    """One metric of a row and of its reference on their common images, as the share of correct predictions per image.

    The share is 0 or 1 for a single column, and between 0 and 1 for the mean over corruptions.
    """

    seeds: tuple[int, ...]
    ours: NDArray[np.float64]  # (seeds, images)
    theirs: NDArray[np.float64]  # (seeds, images)
    trainings: bool  # whether the seeds of both are separate trainings

    @property
    def differences(self) -> NDArray[np.float64]:
        """Differences of the shares: (seeds, images), in [−1, 1]."""
        return self.ours - self.theirs


def pairs_of(row: BoardRow, reference: BoardRow | None, metric: str, outcomes: Outcomes) -> Pairs | None:
    """Pair two rows; None unless both have accuracies, and have the same seeds, the same attacks and common images."""
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
    """Check whether both rows have the metric, and the same seeds."""
    parts = parts_of(row, metric)
    known = all(r.mean(part) is not None for part in parts for r in (row, reference))
    return bool(parts) and known and row.seeds == reference.seeds


def unlike(row: BoardRow, reference: BoardRow, metric: str) -> str:
    """Describe the first difference in how two rows were measured; empty without a difference or without an accuracy.

    Attacks with the same name may differ in version, backend, precision, parameters or plug-in, and corruptions in
    their images. All seeds of both rows must agree; otherwise a mean would mix several attacks.
    """
    for part in parts_of(row, metric) if _both_have(row, reference, metric) else ():
        drawn = [_samplings(r, part) for r in (row, reference)]
        if len({*drawn[0], *drawn[1]}) > 1:
            versions = [" and ".join(map(str, sorted(found))) or "none" for found in drawn]
            return f"sampling {versions[0]}, {reference.run.variant}'s {versions[1]}"
        ours, theirs = ([_measured(cell) for cell in r.cells[part].values()] for r in (row, reference))
        for name in dict.fromkeys(name for found in (*ours, *theirs) for name in found):
            sides = [sorted({str(found.get(name, "")) or "none" for found in side}) for side in (ours, theirs)]
            if len({*sides[0], *sides[1]}) > 1:
                return f"{name} {' and '.join(sides[0])}, {reference.run.variant}'s {' and '.join(sides[1])}"
    return ""


def _samplings(row: BoardRow, part: str) -> set[int]:
    """Return the versions by which the images of limited cells were drawn."""
    return {cell.spec.sampling for cell in row.cells[part].values() if cell.spec.limit is not None}


def _measured(cell: EvalRecord) -> dict[str, Any]:
    """Return every parameter that defines the attack or the corruption."""
    made = cell.spec.attack or cell.spec.corruption
    found = {} if made is None else dataclasses.asdict(made)
    numbers = found.pop("params", {})
    return {"protocol": cell.spec.protocol, **found, **numbers}

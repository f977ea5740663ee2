"""Pair a leaderboard row with its reference image by image.

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

    See :mod:`bench.results.paired_baseline`. If several rows match, a row with the same latent width is preferred. None
    if no row matches, or if ``row`` has the variant ``against`` itself.
    """
    if row.run.variant == against:
        return None
    candidates = [
        candidate for candidate in group if candidate.run.variant == against and is_paired(row.run, candidate.run)
    ]
    return min(candidates, key=lambda candidate: candidate.run.latent_dim != row.run.latent_dim, default=None)


def same_split(row: BoardRow, rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Return the rows on the test split of ``row``, including ``row`` itself."""
    return [r for r in rows if (r.run.dataset, r.data_sha) == (row.run.dataset, row.data_sha)]


def parts_of(row: BoardRow, metric: str) -> list[str]:
    """Return the columns that are averaged for a metric; empty if the mean over corruptions is not available."""
    return [metric] if metric != CORRUPTIONS_ACC else standard_cells(row) or []


def other_weights(row: BoardRow, metric: str) -> bool:
    """Check whether every seed has other weights, and is not only another attack seed for the same weights."""
    parts = parts_of(row, metric)
    return bool(parts) and len({cell.weights_sha for cell in row.cells[parts[0]].values()}) == len(row.seeds)


@dataclass(frozen=True)
class Pairs:
    """One metric of a row and its reference on their common images: the share of correct predictions per image.

    The share is 0 or 1 for a single column, and between 0 and 1 for the mean over corruptions.
    """

    seeds: tuple[int, ...]
    ours: NDArray[np.float64]  # (seeds, images)
    theirs: NDArray[np.float64]  # (seeds, images)
    trainings: bool  # True if the seeds of both rows are different trainings

    @property
    def differences(self) -> NDArray[np.float64]:
        """Differences of the shares: (seeds, images), in [−1, 1]."""
        return self.ours - self.theirs


def pairs_of(row: BoardRow, reference: BoardRow | None, metric: str, outcomes: Outcomes) -> Pairs | None:
    """Pair two rows. None unless both have accuracies, the same seeds, the same attacks and common images."""
    if reference is None or not _both_have(row, reference, metric) or unlike(row, reference, metric):
        return None
    seeds, parts = tuple(sorted(row.seeds)), parts_of(row, metric)
    row_outcomes, reference_outcomes = (
        [[outcomes.of(r.cells[p][s]) for p in parts] for s in seeds] for r in (row, reference)
    )
    ids = common_images(
        [outcome for seed_outcomes in (*row_outcomes, *reference_outcomes) for outcome in seed_outcomes]
    )
    if not ids:
        return None
    return Pairs(
        seeds,
        np.stack([verdicts(o, ids) for o in row_outcomes]),
        np.stack([verdicts(o, ids) for o in reference_outcomes]),
        other_weights(row, metric) and other_weights(reference, metric),
    )


def _both_have(row: BoardRow, reference: BoardRow, metric: str) -> bool:
    """Check whether both rows have the metric, and the same seeds."""
    parts = parts_of(row, metric)
    all_known = all(r.mean(part) is not None for part in parts for r in (row, reference))
    return bool(parts) and all_known and row.seeds == reference.seeds


def unlike(row: BoardRow, reference: BoardRow, metric: str) -> str:
    """Describe the first difference between the measurements of two rows; empty without one, or without an accuracy.

    Attacks with the same name may differ in version, backend, precision, parameters or plug-in, and corruptions in
    their images. All seeds of both rows must agree, because otherwise a mean would mix several attacks.
    """
    for part in parts_of(row, metric) if _both_have(row, reference, metric) else ():
        samplings = [_samplings(r, part) for r in (row, reference)]
        if len({*samplings[0], *samplings[1]}) > 1:
            versions = [" and ".join(map(str, sorted(values))) or "none" for values in samplings]
            return f"sampling {versions[0]}, {reference.run.variant}'s {versions[1]}"
        row_parameters, reference_parameters = (
            [_measured(cell) for cell in r.cells[part].values()] for r in (row, reference)
        )
        for name in dict.fromkeys(name for values in (*row_parameters, *reference_parameters) for name in values):
            both = [
                sorted({str(values.get(name, "")) or "none" for values in parameters})
                for parameters in (row_parameters, reference_parameters)
            ]
            if len({*both[0], *both[1]}) > 1:
                return f"{name} {' and '.join(both[0])}, {reference.run.variant}'s {' and '.join(both[1])}"
    return ""


def _samplings(row: BoardRow, part: str) -> set[int]:
    """Return the versions of the sampling of limited cells."""
    return {cell.spec.sampling for cell in row.cells[part].values() if cell.spec.limit is not None}


def _measured(cell: EvalRecord) -> dict[str, Any]:
    """Return all parameters that define the attack or the corruption of a cell."""
    definition = cell.spec.attack or cell.spec.corruption
    parameters = {} if definition is None else dataclasses.asdict(definition)
    numbers = parameters.pop("params", {})
    return {"protocol": cell.spec.protocol, **parameters, **numbers}

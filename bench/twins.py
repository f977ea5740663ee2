"""A row of the board beside the baseline it is compared with, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.board import BoardRow
from bench.core.columns import CORRUPTIONS_ACC
from bench.core.vocabulary import BASELINE
from bench.corruption_cells import standard_cells
from bench.outcomes import Outcomes, common_images, verdicts


def twin_of(row: BoardRow, group: Sequence[BoardRow]) -> BoardRow | None:
    """The baseline of the same data, backbone and recipe; None for the baseline itself or without one."""
    if row.run.variant == BASELINE or row.run.spec is None:
        return None
    for other in group:
        theirs, ours = other.run.spec, row.run.spec
        if theirs is None or other.run.variant != BASELINE:
            continue
        if (theirs.data, theirs.model, theirs.recipe) == (ours.data, ours.model, ours.recipe):
            return other
    return None


def parts_of(row: BoardRow, metric: str) -> list[str]:
    """The columns that a metric is the mean over; none where the corruptions' mean is not to be had."""
    return [metric] if metric != CORRUPTIONS_ACC else standard_cells(row) or []


@dataclass(frozen=True)
class Twins:
    """One metric of a row and of its baseline on the images that both hold: shares of right verdicts.

    Of a single column they are 0 or 1, of the corruptions' mean anything between.
    """

    seeds: tuple[int, ...]
    ours: NDArray[np.float64]  # (seeds, images)
    theirs: NDArray[np.float64]  # (seeds, images)

    @property
    def differences(self) -> NDArray[np.float64]:
        """(seeds, images), in [−1, 1]."""
        return self.ours - self.theirs


def twins(row: BoardRow, baseline: BoardRow | None, metric: str, outcomes: Outcomes) -> Twins | None:
    """None unless both have an accuracy, the same seeds, and common images that mean the same in both."""
    parts = parts_of(row, metric)
    if baseline is None or not parts or row.seeds != baseline.seeds:
        return None
    if any(r.mean(part) is None for r in (row, baseline) for part in parts) or not _same_corruptions(
        row, baseline, parts
    ):
        return None
    seeds = tuple(sorted(row.seeds))
    ours, theirs = ([[outcomes.of(r.cells[p][s]) for p in parts] for s in seeds] for r in (row, baseline))
    ids = common_images([outcome for found in (*ours, *theirs) for outcome in found])
    if not ids:
        return None
    return Twins(seeds, np.stack([verdicts(o, ids) for o in ours]), np.stack([verdicts(o, ids) for o in theirs]))


def _same_corruptions(row: BoardRow, baseline: BoardRow, parts: Sequence[str]) -> bool:
    """Other corrupted images have the same names."""
    return all(
        row.cells[part][seed].spec.corruption == baseline.cells[part][seed].spec.corruption
        for part in parts
        for seed in row.seeds
    )

"""Hand-made sides of a check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.core.specs import Scalar
from bench.gate.baseline import Baseline, CellOutcomes, RunOutcomes, encode, make_baseline
from bench.gate.snapshot import Snapshot


def cell(right: Sequence[int], *, parts: int = 1, images: str = "i", **definition: Scalar) -> CellOutcomes:
    counts = np.asarray(right, dtype=np.uint8)
    return CellOutcomes(
        n=len(counts), parts=parts, right=int(counts.sum()), images=images, definition=definition or {"version": 1},
        outcomes=encode(counts, parts),
    )  # fmt: skip


def run(seed: int = 0, weights: str = "w", data: str = "d", audit: str | None = "passed", flags: Sequence[str] = (),
        variant: str = "baseline", **cells: CellOutcomes) -> RunOutcomes:  # fmt: skip
    return RunOutcomes(
        dataset="digits", model="tiny", variant=variant, seed=seed, config_sha="c", data_sha=data,
        weights_sha=f"{weights}{seed}", audit=audit, flags=tuple(flags), cells=cells,
    )  # fmt: skip


def baseline(*runs: RunOutcomes, **tolerances: float) -> Baseline:
    return make_baseline(runs, tolerances)


def now(*runs: RunOutcomes, failures: dict[tuple[str, str], str] | None = None) -> Snapshot:
    return Snapshot(runs, failures or {})

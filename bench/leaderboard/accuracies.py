"""Accuracies of a leaderboard row: means over seeds, intervals, and paired differences from the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.core.columns import CORRUPTIONS_ACC
from bench.leaderboard.references import other_weights, pairs_of, parts_of
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcomes, common_images, verdicts
from bench.statistics.intervals import wilson_interval
from bench.statistics.seeds import sampling_error, spread


def accuracy_values(
    row: BoardRow, reference: BoardRow | None, metrics: Sequence[str], outcomes: Outcomes
) -> dict[str, Any]:
    """Return all accuracies of ``row`` in percent, with their METRIC_SUFFIXES columns.

    Differences are row minus ``reference``. They are None if either row is no better than chance.
    """
    values: dict[str, Any] = {}
    at_chance = bool(row.chance()) or (reference is not None and bool(reference.chance()))
    for metric in metrics:
        parts = parts_of(row, metric)
        mean, n = _mean(_by_seed(row, parts)), row.images(parts[0]) if parts else None
        if mean is None or n is None:
            values[f"{metric}_n"] = 0 if _attempted(row, metric) else None
            continue
        low, high = wilson_interval(mean * n, n)
        pair = None if at_chance else pairs_of(row, reference, metric, outcomes)
        over_seeds = _over_seeds(_by_seed(row, parts)) if other_weights(row, metric) else {}
        values |= {
            metric: _percent(mean),
            f"{metric}_n": n,
            f"{metric}_diff": None if pair is None else _percent(float(pair.differences.mean())),
            f"{metric}_flags": ";".join(sorted({flag for part in parts for flag in row.flags(part)})) or None,
            f"{metric}_lo": _percent(low),
            f"{metric}_hi": _percent(high),
            f"{metric}_se": _percent(_sampling_error(row, parts, outcomes)),
            **{f"{metric}{suffix}": _percent(value) for suffix, value in over_seeds.items()},
        }
    return values


def _attempted(row: BoardRow, metric: str) -> bool:
    """Check whether the metric was run without an accuracy, because a cell is not ok or the seeds differ."""
    columns = [metric] if metric != CORRUPTIONS_ACC else row.corrupted()
    columns_with_cells = (c for c in columns if row.cells.get(c) or row.superseded.get(c))
    return any(row.failed(column) or row.mean(column) is None for column in columns_with_cells)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _by_seed(row: BoardRow, parts: Sequence[str]) -> list[float]:
    """Return the metric of every seed as a fraction, the mean over its columns; empty if a column has no accuracy."""
    columns = [row.accuracies(part) for part in parts]
    return [sum(values) / len(values) for values in zip(*columns, strict=True)] if columns and all(columns) else []


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Return the standard deviation and Student's interval over seeds, by suffix; empty for a single seed."""
    if len(values) < 2:
        return {}
    statistics = spread(np.asarray(values))
    return {"_std": statistics.std, "_t_lo": statistics.low, "_t_hi": statistics.high}


def _sampling_error(row: BoardRow, parts: Sequence[str], outcomes: Outcomes) -> float | None:
    """Return the standard error over images of the mean over seeds and columns, as a fraction.

    None unless the cells have at least two images in common.
    """
    cell_outcomes = [outcomes.of(row.cells[part][seed]) for part in parts for seed in sorted(row.seeds)]
    ids = common_images(cell_outcomes)
    return sampling_error(verdicts(cell_outcomes, ids)) if len(ids) > 1 else None

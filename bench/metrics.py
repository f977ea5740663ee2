"""The metrics of a row of the board: means over seeds, intervals, and paired differences to the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from bench.board import BoardRow
from bench.core.specs import EvalRecord
from bench.core.vocabulary import CORRUPTIONS_ACC
from bench.corruption_cells import corruption_cells, standard_cells
from bench.samples import Sample
from bench.statistics.intervals import wilson_interval
from bench.store import Store


def metric_values(row: BoardRow, baseline: BoardRow | None, metrics: Sequence[str], store: Store) -> dict[str, Any]:
    """Every metric of ``row`` and what stands beside it, in percent; ``baseline`` is what it is compared with."""
    values: dict[str, Any] = {}
    for metric in metrics:
        parts = [metric] if metric != CORRUPTIONS_ACC else standard_cells(row) or []
        mean, n = _mean(_by_seed(row, parts)), row.images(parts[0]) if parts else None
        if mean is None or n is None:
            values[f"{metric}_n"] = 0 if _failed(row, metric) else None
            continue
        low, high = wilson_interval(mean * n, n)
        values |= {
            metric: _percent(mean),
            f"{metric}_n": n,
            f"{metric}_diff": _percent(_mean_difference(row, baseline, parts, store)),
            f"{metric}_flags": ";".join(sorted({flag for part in parts for flag in row.flags(part)})) or None,
            f"{metric}_lo": _percent(low),
            f"{metric}_hi": _percent(high),
            f"{metric}_std": _percent(_spread(_by_seed(row, parts))),
        }
    return values


def _failed(row: BoardRow, metric: str) -> bool:
    """Whether something that makes the metric was tried and is not ok."""
    return any(row.failed(c) for c in ([metric] if metric != CORRUPTIONS_ACC else corruption_cells(row)))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _by_seed(row: BoardRow, parts: Sequence[str]) -> list[float]:
    """The metric's value of every seed: the mean over its columns; empty when one of them has no accuracy."""
    columns = [row.accuracies(part) for part in parts]
    return [sum(values) / len(values) for values in zip(*columns, strict=True)] if columns and all(columns) else []


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation; None for a single value."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _mean_difference(
    row: BoardRow, baseline: BoardRow | None, parts: Sequence[str], store: Store
) -> float | None:
    """The mean over the columns of a metric; None unless all of them have a difference."""
    found = [_difference(row, baseline, part, store) for part in parts]
    known = [difference for difference in found if difference is not None]
    return _mean(known) if len(known) == len(found) else None


def _difference(row: BoardRow, baseline: BoardRow | None, metric: str, store: Store) -> float | None:
    """How far above the baseline, over the images that both have; None unless both have the same seeds."""
    if baseline is None or baseline.mean(metric) is None or row.seeds != baseline.seeds:
        return None
    ours, theirs = row.cells[metric], baseline.cells[metric]
    if any(ours[seed].spec.corruption != theirs[seed].spec.corruption for seed in row.seeds):
        return None  # other images under the same names
    differences = [_paired(store, ours[seed], theirs[seed]) for seed in sorted(row.seeds)]
    known = [difference for difference in differences if difference is not None]
    return sum(known) / len(known) if len(known) == len(row.seeds) else None


def _paired(store: Store, ours: EvalRecord, theirs: EvalRecord) -> float | None:
    """Difference of the accuracies over the images that both cells hold."""
    mine, reference = _verdicts(store.read_samples(ours)), _verdicts(store.read_samples(theirs))
    common = mine.keys() & reference.keys()
    return sum(mine[i] - reference[i] for i in common) / len(common) if common else None


def _verdicts(samples: Iterable[Sample]) -> dict[str, int]:
    return {sample.sample_id: int(sample.correct) for sample in samples}

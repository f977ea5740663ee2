"""The metrics of a row of the board: means over seeds, intervals, and paired differences to the baseline.

Leaderboard columns for distances, per norm: to the nearest adversarial image that any of the attacks found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.vocabulary import NORMS
from bench.leaderboard.references import other_weights, pairs_of, parts_of
from bench.leaderboard.rows import BoardRow, drawn_alike
from bench.results.outcomes import Outcome, Outcomes, common_images, verdicts
from bench.statistics.distances import Distances, area_under_curve, median_distance, smallest_distances
from bench.statistics.intervals import wilson_interval
from bench.statistics.seeds import sampling_error, spread


def metric_values(
    row: BoardRow, reference: BoardRow | None, metrics: Sequence[str], outcomes: Outcomes
) -> dict[str, Any]:
    """Every metric of ``row`` and what stands beside it, in percent; ``reference`` is what it is compared with.

    There is no difference where either is no better than chance.
    """
    values: dict[str, Any] = {}
    guessing = bool(row.chance()) or (reference is not None and bool(reference.chance()))
    for metric in metrics:
        parts = parts_of(row, metric)
        mean, n = _mean(_by_seed(row, parts)), row.images(parts[0]) if parts else None
        if mean is None or n is None:
            values[f"{metric}_n"] = 0 if _in_vain(row, metric) else None
            continue
        low, high = wilson_interval(mean * n, n)
        pair = None if guessing else pairs_of(row, reference, metric, outcomes)
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


def _in_vain(row: BoardRow, metric: str) -> bool:
    """Whether something that makes the metric was tried and has no accuracy: a cell is not ok, or seeds differ."""
    columns = [metric] if metric != CORRUPTIONS_ACC else row.corrupted()
    tried = (c for c in columns if row.cells.get(c) or row.outdone.get(c))
    return any(row.failed(column) or row.mean(column) is None for column in tried)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _by_seed(row: BoardRow, parts: Sequence[str]) -> list[float]:
    """The metric's value of every seed: the mean over its columns; empty when one of them has no accuracy."""
    columns = [row.accuracies(part) for part in parts]
    return [sum(values) / len(values) for values in zip(*columns, strict=True)] if columns and all(columns) else []


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Return standard deviation and Student's interval over seeds, by suffix of the column; empty for a single seed."""
    if len(values) < 2:
        return {}
    found = spread(np.asarray(values))
    return {"_std": found.std, "_t_lo": found.low, "_t_hi": found.high}


def _sampling_error(row: BoardRow, parts: Sequence[str], outcomes: Outcomes) -> float | None:
    """Return the standard error, over images, of the mean over seeds and columns, a fraction.

    None unless the cells have two images or more in common.
    """
    found = [outcomes.of(row.cells[part][seed]) for part in parts for seed in sorted(row.seeds)]
    ids = common_images(found)
    return sampling_error(verdicts(found, ids)) if len(ids) > 1 else None


def distance_columns(rows: Sequence[BoardRow]) -> list[str]:
    """The columns for the norms in which anything was attacked."""
    attacked = [norm for norm in NORMS if any(_columns(row, norm) for row in rows)]
    return [column for norm in attacked for column in _names(norm)]


def distance_values(row: BoardRow, outcomes: Outcomes) -> dict[str, Any]:
    """Medians in the norm, areas in percent; each the mean over seeds of one on the images common to all attacks."""
    return {name: value for norm in NORMS for name, value in _of_norm(row, norm, outcomes).items()}


def _columns(row: BoardRow, norm: str) -> dict[str, float]:
    """The columns of attacks in a norm that have an accuracy, and their budgets."""
    attacks = {column: next(iter(cells.values())).spec.attack for column, cells in row.cells.items()}
    return {
        column: attack.eps
        for column, attack in attacks.items()
        if attack is not None and attack.norm == norm and row.mean(column) is not None
    }


def _names(norm: str) -> tuple[str, ...]:
    median = f"median_distance@{norm}"
    return median, f"{median}_lo", f"{median}_hi", f"{median}_n", f"auc@{norm}"


def _of_norm(row: BoardRow, norm: str, outcomes: Outcomes) -> dict[str, Any]:
    known = _columns(row, norm)
    budgets = {column: known[column] for column in drawn_alike(row, list(known), outcomes)}
    found = [[outcomes.of(row.cells[column][seed]) for column in budgets] for seed in sorted(row.seeds)]
    ids = common_images([outcome for seed in found for outcome in seed]) if budgets else ()
    if not ids:
        return {}
    eps = np.asarray(list(budgets.values()))
    by_seed = [_pooled(seed, ids, eps) for seed in found]
    medians = zip(*(median_distance(distances) for distances in by_seed), strict=True)
    area = np.mean([area_under_curve(distances, eps) for distances in by_seed])
    values = [*(_known(ends) for ends in medians), len(ids), 100 * float(area)]
    return dict(zip(_names(norm), values, strict=True))


def _pooled(attacks: Sequence[Outcome], ids: tuple[str, ...], eps: np.ndarray[Any, Any]) -> Distances:
    return smallest_distances(np.stack([attack.distance[attack.places(ids)] for attack in attacks]), eps)


def _known(values: Sequence[float]) -> float | None:
    """The mean over seeds; None where one of them is beyond the largest budget."""
    mean = float(np.mean(values))
    return mean if math.isfinite(mean) else None

"""Metrics of a leaderboard row: means over seeds, intervals and paired differences from the reference.

Also the leaderboard columns of distances: per norm, to the nearest adversarial image found by any of the attacks.
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
    """Return each metric of ``row`` with its METRIC_SUFFIXES columns, in percent.

    Differences are from ``reference``. They are None if either row is no better than chance.
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
    """Check whether a cell of the metric was attempted without an accuracy: a cell is not ok, or the seeds differ."""
    columns = [metric] if metric != CORRUPTIONS_ACC else row.corrupted()
    tried = (c for c in columns if row.cells.get(c) or row.outdone.get(c))
    return any(row.failed(column) or row.mean(column) is None for column in tried)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _by_seed(row: BoardRow, parts: Sequence[str]) -> list[float]:
    """Return the metric of every seed: the mean over its columns, a fraction; empty if a column has no accuracy."""
    columns = [row.accuracies(part) for part in parts]
    return [sum(values) / len(values) for values in zip(*columns, strict=True)] if columns and all(columns) else []


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def _over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Return standard deviation and Student's interval over seeds, by column suffix; empty for a single seed."""
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
    """Return the distance columns of the attacked norms."""
    attacked = [norm for norm in NORMS if any(_columns(row, norm) for row in rows)]
    return [column for norm in attacked for column in _names(norm)]


def distance_values(row: BoardRow, outcomes: Outcomes) -> dict[str, Any]:
    """Return the distance columns of one row: medians in units of the norm, and areas under the curve in percent.

    Each value is a mean over seeds, on the images common to all attacks in the norm.
    """
    return {name: value for norm in NORMS for name, value in _of_norm(row, norm, outcomes).items()}


def _columns(row: BoardRow, norm: str) -> dict[str, float]:
    """Return the eps of the attack columns in ``norm`` that have an accuracy, by column."""
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
    """Return the mean over seeds; None if a value is beyond the largest budget (inf)."""
    mean = float(np.mean(values))
    return mean if math.isfinite(mean) else None

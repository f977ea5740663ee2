"""Leaderboard columns for distances, per norm: to the nearest adversarial image that any of the attacks found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.core.vocabulary import NORMS
from bench.leaderboard.drawing import drawn_alike
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcome, Outcomes, common_images
from bench.statistics.distances import Distances, area_under_curve, median_distance, smallest_distances


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

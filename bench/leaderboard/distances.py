"""Distances of a leaderboard row in one norm, per image to the nearest adversarial image of any attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.specs import Norm
from bench.leaderboard.rows import BoardRow, drawn_alike
from bench.results.outcomes import Ids, Outcome, Outcomes, common_images
from bench.statistics.distances import Distances, area_under_curve, median_distance, smallest_distances


@dataclass(frozen=True)
class NearestDistances:
    """Distances of all seeds on the images ``ids``, on which all attacks of the norm were run."""

    ids: Ids
    by_seed: Sequence[Distances]
    eps: NDArray[np.float64]  # budgets of the attacks

    def median(self) -> tuple[float | None, float | None, float | None]:
        """Return the median and its 95 % interval as means over seeds. A value above the largest budget is None."""
        value, low, high = zip(*(median_distance(distances) for distances in self.by_seed), strict=True)
        return _known(value), _known(low), _known(high)

    def area(self) -> float:
        """Return the area under the curve of accuracy over eps, divided by the largest eps, in percent."""
        return 100 * float(np.mean([area_under_curve(distances, self.eps) for distances in self.by_seed]))


def attack_budgets(row: BoardRow, norm: Norm) -> dict[str, float]:
    """Return the eps of the attack columns in ``norm`` that have an accuracy, by column."""
    attacks = {column: next(iter(cells.values())).spec.attack for column, cells in row.cells.items()}
    return {
        column: attack.eps
        for column, attack in attacks.items()
        if attack is not None and attack.norm == norm and row.mean(column) is not None
    }


def nearest_distances(row: BoardRow, norm: Norm, outcomes: Outcomes) -> NearestDistances | None:
    """Return the distances over all attacks in ``norm``; None if the attacks have no common images."""
    all_budgets = attack_budgets(row, norm)
    budgets = {column: all_budgets[column] for column in drawn_alike(row, list(all_budgets), outcomes)}
    by_seed = [[outcomes.of(row.cells[column][seed]) for column in budgets] for seed in sorted(row.seeds)]
    ids = common_images([outcome for seed in by_seed for outcome in seed]) if budgets else ()
    if not ids:
        return None
    eps = np.asarray(list(budgets.values()))
    return NearestDistances(ids, [_pooled(seed, ids, eps) for seed in by_seed], eps)


def _pooled(attacks: Sequence[Outcome], ids: Ids, eps: NDArray[np.float64]) -> Distances:
    return smallest_distances(np.stack([attack.distance[attack.places(ids)] for attack in attacks]), eps)


def _known(values: Sequence[float]) -> float | None:
    """Return the mean over seeds; None if a value is inf, that is, above the largest budget."""
    mean = float(np.mean(values))
    return mean if math.isfinite(mean) else None

"""How many points a metric may lose: asked for by metric, attack or family, the most particular name first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.errors import BenchError, unknown_name
from bench.core.vocabulary import CLEAN

CORRUPTIONS = "corruptions"
DEFAULT = {CLEAN: 0.5}  # points
OTHERWISE = 1.0
MOST = 100


def parse_tolerances(texts: Sequence[str]) -> dict[str, float]:
    """``["clean=0.5", "autoattack=1"]`` as points by name. Raises BenchError."""
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            points = float(value)
        except ValueError:
            points = math.nan
        if not name or not 0 <= points <= MOST:
            raise BenchError(f"tolerance {text!r} is not of the form NAME=POINTS, 0 to {MOST}, as in clean=0.5.")
        if name in found:
            raise BenchError(f"tolerance {name!r} is given twice.")
        found[name] = points
    return found


def check_tolerances(tolerances: Mapping[str, float], metrics: Iterable[str]) -> None:
    """Raises BenchError for a number of points that cannot be, and for a name that means none of the metrics.

    A misspelt tolerance would not be applied, and nobody would know.
    """
    known = {name for metric in metrics for name in names_of(metric)}
    for name, points in tolerances.items():
        if name not in known:
            raise unknown_name("tolerance", name, sorted(known), hint="It names what the baseline holds.")
        if isinstance(points, bool) or not isinstance(points, int | float) or not 0 <= points <= MOST:
            raise BenchError(f"tolerance {points!r} of {name} is not between 0 and {MOST} points.")


def names_of(metric: str) -> list[str]:
    """What a tolerance for ``metric`` may be called, the most particular first.

    >>> names_of("pgd-20@linf-8/255"), names_of("corruptions_acc")
    (['pgd-20@linf-8/255', 'pgd-20', 'pgd'], ['corruptions_acc', 'corruptions'])
    """
    attack = metric.partition("@")[0]
    family = CORRUPTIONS if metric == CORRUPTIONS_ACC or "@severity-" in metric else attack.partition("-")[0]
    return list(dict.fromkeys([metric, attack, family]))


def tolerance_of(metric: str, tolerances: Mapping[str, float]) -> float:
    """Points."""
    given = (tolerances[name] for name in names_of(metric) if name in tolerances)
    return next(given, DEFAULT.get(metric, OTHERWISE))

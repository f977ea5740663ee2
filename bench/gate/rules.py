"""Options of a gate: significance level, tolerances, floors and scope."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.core.columns import CORRUPTIONS_ACC
from bench.core.errors import BenchError, unknown_name
from bench.core.number_text import parse_number
from bench.core.vocabulary import CLEAN, DEFAULT_ALPHA, SCOPES
from bench.core.words import join
from bench.statistics.accuracy_drop import MOST_ALPHA

CORRUPTIONS = "corruptions"
DEFAULT = {CLEAN: 0.5}  # default tolerance by metric, in points
DEFAULT_OTHER = 1.0  # default tolerance of all other metrics, in points
MOST = 100  # maximum tolerance or floor
TOLERANCE, FLOOR = "tolerance", "floor"
UNITS = {TOLERANCE: "points", FLOOR: "percent"}


def parse_points(texts: Sequence[str], kind: str = TOLERANCE) -> dict[str, float]:
    """Parse texts such as ``["clean=0.5", "autoattack=1"]`` to numbers by name.

    Raise BenchError for an invalid form, a number out of range and a repeated name.
    """
    numbers: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            points = parse_number(value.strip())
        except ValueError:
            points = math.nan
        if not name or not _is_possible(points, kind):
            form = f"{kind} {text!r} is not of the form NAME={UNITS[kind].upper()}"
            raise BenchError(f"{form}, {_range(kind)}, as in clean={0.5 if kind == TOLERANCE else 80}.")
        if name in numbers:
            raise BenchError(f"{kind} {name!r} is given twice.")
        numbers[name] = points
    return numbers


def check_points(points: Mapping[str, float], metrics: Iterable[str], kind: str = TOLERANCE) -> None:
    """Raise BenchError for a number out of range, and for a name that matches none of the metrics.

    Otherwise a misspelt tolerance or floor would be ignored silently.
    """
    names = {name for metric in metrics for name in names_of(metric)}
    for name, value in points.items():
        if name not in names:
            raise unknown_name(kind, str(name), sorted(names), hint="Use a metric of the baseline.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_possible(value, kind):
            raise BenchError(f"{kind} {value!r} of {name} is not {_range(kind)} {UNITS[kind]}.")


def _is_possible(value: float, kind: str) -> bool:
    """Return whether ``value`` is in range. A floor of 0 is not in range, because it could never fail."""
    return 0 < value <= MOST if kind == FLOOR else 0 <= value <= MOST


def _range(kind: str) -> str:
    return f"{'above 0 and at most' if kind == FLOOR else 'between 0 and'} {MOST}"


def names_of(metric: str) -> list[str]:
    """Return the names by which a tolerance or a floor may refer to ``metric``, the most specific first.

    >>> names_of("pgd-20@linf-8/255"), names_of("corruptions_acc")
    (['pgd-20@linf-8/255', 'pgd-20', 'pgd'], ['corruptions_acc', 'corruptions'])
    """
    attack = metric.partition("@")[0]
    family = CORRUPTIONS if metric == CORRUPTIONS_ACC or "@severity-" in metric else attack.partition("-")[0]
    return list(dict.fromkeys([metric, attack, family]))


def tolerance_of(metric: str, tolerances: Mapping[str, float]) -> float:
    """Return the tolerance of ``metric`` in points: the value in ``tolerances``, or else the default."""
    explicit = named(metric, tolerances)
    return DEFAULT.get(metric, DEFAULT_OTHER) if explicit is None else explicit


def named(metric: str, points: Mapping[str, float]) -> float | None:
    """Return the number in ``points`` for the most specific name of ``metric``; None if no name occurs."""
    return next((points[name] for name in names_of(metric) if name in points), None)


Scope = Literal["recipe", "weights"]
RECIPE: Scope = "recipe"  # compare retrained weights over several trainings
WEIGHTS: Scope = "weights"  # compare two weight files image by image


@dataclass(frozen=True)
class Rules:
    """Options of a check. Raise BenchError for invalid values."""

    alpha: float = DEFAULT_ALPHA  # significance level of each one-sided test
    tolerances: Mapping[str, float] = field(default_factory=dict)  # allowed drop of accuracy in points, by metric
    floors: Mapping[str, float] = field(default_factory=dict)  # minimum accuracy in percent, by metric
    scope: Scope = RECIPE
    allow_inconclusive: bool = False  # True: NOT ENOUGH EVIDENCE passes; a check without any evidence still fails
    sequential: bool = False  # use the images in the order of the baseline, until the verdict is decided

    def __post_init__(self) -> None:
        for name, values in (("tolerance", self.tolerances), ("floor", self.floors)):
            if not isinstance(values, Mapping):
                raise BenchError(f"{name}={values!r} is not of the form {{'clean': 1}}, numbers by metric.")
        for metric, floor in self.floors.items():
            if isinstance(floor, int | float) and 0 < floor < 1:
                raise BenchError(f"floor {metric}={floor} is below 1 %; floors are percentages, such as {metric}=80.")
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 0 < self.alpha < MOST_ALPHA:
            raise BenchError(f"alpha {self.alpha} is not between 0 and {MOST_ALPHA}, the level of a one-sided test.")
        if self.scope not in SCOPES:
            raise BenchError(f"scope {self.scope!r} is not {join(SCOPES, 'or')}.")
        for name, flag in (("sequential", self.sequential), ("allow_inconclusive", self.allow_inconclusive)):
            if not isinstance(flag, bool):
                raise BenchError(f"{name} {flag!r} is not True or False.")

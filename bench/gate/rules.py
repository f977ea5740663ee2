"""Options of a gate: significance level, tolerances, floors and scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.core.errors import BenchError
from bench.core.vocabulary import DEFAULT_ALPHA, SCOPES
from bench.core.words import listed
from bench.statistics.accuracy_drop import MOST_ALPHA

Scope = Literal["recipe", "weights"]
RECIPE: Scope = "recipe"  # compare retrained weights over several trainings
WEIGHTS: Scope = "weights"  # compare two weight files image by image


@dataclass(frozen=True)
class Rules:
    """Options of a check. Raises BenchError for invalid values."""

    alpha: float = DEFAULT_ALPHA  # level of each one-sided test
    tolerances: Mapping[str, float] = field(default_factory=dict)  # allowed drop of accuracy in points, by metric
    floors: Mapping[str, float] = field(default_factory=dict)  # minimum accuracy in percent, by metric
    scope: Scope = RECIPE
    allow_inconclusive: bool = False  # pass NOT ENOUGH EVIDENCE; a line without any evidence still fails

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
            raise BenchError(f"scope {self.scope!r} is not {listed(SCOPES, 'or')}.")
        if not isinstance(self.allow_inconclusive, bool):
            raise BenchError(f"allow_inconclusive {self.allow_inconclusive!r} is not True or False.")

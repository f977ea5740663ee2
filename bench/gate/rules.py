"""What a gate is asked to do: its level, its tolerances and floors, and what it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from bench.core.errors import BenchError
from bench.core.words import listed
from bench.statistics.drops import MOST_ALPHA

Scope = Literal["recipe", "weights"]
RECIPE: Scope = "recipe"  # other weights are compared over several trainings
WEIGHTS: Scope = "weights"  # two files of weights are compared image by image
SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_ALPHA = 0.01


@dataclass(frozen=True)
class Rules:
    """The options of a check. Raises BenchError for values that cannot be."""

    alpha: float = DEFAULT_ALPHA  # level of each one-sided test
    tolerances: Mapping[str, float] = field(default_factory=dict)  # points of accuracy that may be lost, by metric
    floors: Mapping[str, float] = field(default_factory=dict)  # least accuracy in percent, by metric
    scope: Scope = RECIPE
    allow_inconclusive: bool = False  # NOT ENOUGH EVIDENCE passes where there is evidence

    def __post_init__(self) -> None:
        for name, values in (("tolerance", self.tolerances), ("floor", self.floors)):
            if not isinstance(values, Mapping):
                raise BenchError(f"{name}={values!r} is not of the form {{'clean': 1}}, numbers by metric.")
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 0 < self.alpha < MOST_ALPHA:
            raise BenchError(f"alpha {self.alpha} is not between 0 and {MOST_ALPHA}, the level of a one-sided test.")
        if self.scope not in SCOPES:
            raise BenchError(f"scope {self.scope!r} is not {listed(SCOPES, 'or')}.")
        if not isinstance(self.allow_inconclusive, bool):
            raise BenchError(f"allow_inconclusive {self.allow_inconclusive!r} is not True or False.")

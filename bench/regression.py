"""What the pytest fixture ``robustness`` does: it attacks a project's own models and asks the gate."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bench.api import evaluate
from bench.core.errors import BenchError, unknown_name
from bench.gate.baseline import make_baseline, read_baseline, write_baseline
from bench.gate.check import check, check_alpha, unchecked
from bench.gate.report import gate_markdown
from bench.gate.resolution import cannot_fail, too_fine
from bench.gate.snapshot import choose, take_snapshot
from bench.gate.tolerances import check_tolerances
from bench.gate.verdict import passed
from bench.store import Store

#: What the fixture decides by itself.
OURS = ("model", "name", "seed", "results")


@dataclass(frozen=True)
class Settings:
    """What a test's mark says. Raises BenchError for what cannot be meant."""

    baseline: Path
    tolerance: Mapping[str, float]  # points
    alpha: float
    allow_inconclusive: bool

    def __post_init__(self) -> None:
        if not isinstance(self.tolerance, Mapping):
            raise BenchError(f"tolerance={self.tolerance!r} is not of the form {{'clean': 1}}, points by metric.")
        check_alpha(self.alpha)


@dataclass
class Robustness:
    """Collects what a test asks for; :meth:`settle`, when the test is over, says what is wrong with it."""

    settings: Settings
    results: Path
    update: bool
    _models: dict[str, list[nn.Module]] = field(default_factory=dict)  # by name

    def __call__(self, model: nn.Module | Iterable[nn.Module], *, name: str = "model", **options: Any) -> None:
        """Attack ``model``; the test fails at its end unless everything it attacked passes.

        ``model`` is a module from images (N, 3, S, S) in [0, 1] to logits, or several such modules, trained on
        different seeds: new weights are compared with other weights over five trainings or more. ``name`` is how the
        baseline calls it, ``options`` are those of :func:`bench.api.evaluate`. What the test asks for and the baseline
        does not hold is a failure, too.
        """
        __tracebackhide__ = True
        problem = ""
        try:
            self._attack([model] if isinstance(model, nn.Module) else list(model), name, options)
        except BenchError as error:
            problem = str(error)
        if problem:  # outside of the handler, or pytest shows both errors
            pytest.fail(problem, pytrace=False)

    def _attack(self, models: list[nn.Module], name: str, options: Mapping[str, Any]) -> None:
        known = [key for key in inspect.signature(evaluate).parameters if key not in OURS]
        for option in options:
            if option not in known:
                raise unknown_name("option", option, known, hint="They are those of bench.api.evaluate.")
        if not models:
            raise BenchError(f"there is no model called {name!r}: the sequence is empty.")
        if any(one is not other for one, other in zip(models, self._models.setdefault(name, models), strict=False)):
            raise BenchError(f"two models are called {name!r}; give each of them a name=.")
        if not self.update and not self.settings.baseline.exists():  # known before the work
            raise BenchError(f"there is no {self.settings.baseline}; 'pytest --robustness-update' writes it.")
        for seed, one in enumerate(models):
            evaluate(one, name=name, seed=seed, results=self.results, **options)

    def settle(self) -> str:
        """Write the baseline, or check against it; what is wrong, empty if nothing is."""
        try:
            if not self._models:
                return "the test has not called its fixture, so that nothing was attacked."
            return self._write() if self.update else self._check()
        except BenchError as error:
            return str(error)

    def _write(self) -> str:
        runs = choose(take_snapshot(Store(self.results)), ())
        check_tolerances(self.settings.tolerance, [metric for run in runs for metric in run.cells])
        made = make_baseline(runs, self.settings.tolerance)
        write_baseline(self.settings.baseline, made)
        for sentence in (*cannot_fail(made), *too_fine(made, self.settings.alpha)):
            warnings.warn(sentence, stacklevel=2)
        return ""

    def _check(self) -> str:
        held, now = read_baseline(self.settings.baseline), take_snapshot(Store(self.results))
        lines = check(held, now, alpha=self.settings.alpha, tolerances=self.settings.tolerance)
        left = unchecked(held, now)
        if left:
            return f"not in {self.settings.baseline}: {', '.join(left)}; 'pytest --robustness-update' takes it in."
        fine = all(passed(line.verdict, self.settings.allow_inconclusive) for line in lines)
        return "" if fine else gate_markdown(lines, self.settings.alpha)

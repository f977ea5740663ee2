"""Pytest fixture ``robustness``: attack a project's own models and compare their outcomes with a baseline."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bench.api import evaluate
from bench.core.errors import BenchError, unknown_name
from bench.core.inert import terminal
from bench.gate.baseline import Baseline, RunOutcomes, make_baseline, read_baseline, write_baseline
from bench.gate.checks import AUDIT, GATE, Check, passed
from bench.gate.power import cannot_fail, too_fine
from bench.gate.report import gate_markdown, numbers
from bench.gate.rules import FLOOR, Rules, check_points
from bench.gate.run_checks import check, unchecked
from bench.gate.snapshot import Snapshot, choose, metrics_of, name_of, take_snapshot
from bench.results.store import Store
from bench.runtime.captured_warnings import warnings_do_not_raise
from bench.runtime.input_files import exists
from bench.runtime.progress import Progress

#: Parameters of bench.api.evaluate that the fixture sets itself.
OWN_OPTIONS = (
    "network", "model", "name", "variant", "seed", "normalize", "input_size", "class_names", "trust_normalization",
    "results", "failures", "progress",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Settings from the mark of a test."""

    baseline: Path
    rules: Rules


@dataclass
class Robustness:
    """Models and cells that a test attacks; :meth:`finalize` compares them with the baseline after the test."""

    settings: Settings
    results: Path
    update: bool
    finished: bool = False  # true if images were compared with the baseline, or a baseline was written
    uncompared: list[str] = field(default_factory=list)  # requested cells that could not be compared
    _settled: bool = False
    _models: dict[str, list[nn.Module]] = field(default_factory=dict)  # attacked models by name
    _problems: list[str] = field(default_factory=list)  # errors of calls, which the test may have caught
    _requested: list[tuple[str, str]] = field(default_factory=list)  # run id and cell id
    _numbers: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)

    def __call__(self, model: nn.Module | Iterable[nn.Module], *, name: str = "model", **options: Any) -> None:
        """Attack ``model``. The test fails at its end unless all checks pass.

        ``model`` is a module that maps images (N, 3, S, S) in [0, 1] to logits (N, K), or several modules trained with
        different seeds. Retrained weights need at least five trainings on each side, unless the mark has
        ``scope="weights"``. ``name`` is the name of the model in the baseline. ``options`` are options of
        :func:`bench.api.evaluate`. The test also fails if a requested cell is missing in the baseline.
        """
        __tracebackhide__ = True
        problem = ""
        try:
            with warnings_do_not_raise():
                self._attack([model] if isinstance(model, nn.Module) else list(model), name, options)
        except BenchError as error:
            problem = str(error)
        except BaseException as error:
            self._problems.append(f"an attack was interrupted: {type(error).__name__}: {error}")
            raise
        if problem:  # raised outside of the handler, because pytest would show both errors
            self._problems.append(problem)
            pytest.fail(terminal(problem), pytrace=False)

    def _attack(self, models: list[nn.Module], name: str, options: Mapping[str, Any]) -> None:
        if self._settled:
            raise BenchError("the test has finished, so nothing would be compared; call the fixture during the test.")
        if options.get("time_budget") is not None:
            raise BenchError(
                "time_budget= may end the attacks before all requested cells are compared; remove it, and shorten the "
                "test by limit= or attack_limit=."
            )
        accepted = [key for key in inspect.signature(evaluate).parameters if key not in OWN_OPTIONS]
        for option in options:
            if option not in accepted:
                raise unknown_name("option", option, accepted, hint="See the options of bench.api.evaluate.")
        if not models:
            raise BenchError(f"the sequence of models called {name!r} is empty; pass at least one model.")
        if any(
            module is not earlier
            for module, earlier in zip(models, self._models.setdefault(name, models), strict=False)
        ):
            raise BenchError(f"two models are called {name!r}; give each of them its own name=.")
        if not self.update and not exists(self.settings.baseline, "baseline"):  # fail before the attacks
            raise BenchError(
                f"the baseline {self.settings.baseline} does not exist; 'pytest --robustness-update' writes it."
            )
        for seed, module in enumerate(models):
            rows = evaluate(
                module, name=name, seed=seed, results=self.results, failures="ignore", progress=Progress(), **options
            )
            self._requested += zip(rows["run_id"], rows["cell_id"], strict=True)

    def finalize(self) -> str:
        """Write the baseline, or compare with the baseline. Return the first problem, or an empty string."""
        self._settled = True
        try:
            if self._problems:
                return self._problems[0]
            if not self._models:
                return "nothing was compared: the test has not called its fixture; call it with a model."
            with warnings_do_not_raise():
                return self._write() if self.update else self._check()
        except BenchError as error:
            return str(error)

    @property
    def attacked(self) -> bool:
        """True if the test called the fixture, successfully or not."""
        return bool(self._models or self._problems)

    def summary(self) -> dict[str, Any]:
        """Return JSON data for the summary of the session."""
        return {
            "baseline": str(self.settings.baseline),
            "compared": self.finished and not self.update,
            "written": self.finished and self.update,
            "numbers": self._numbers,
            "notes": self._notes,
        }

    def _write(self) -> str:
        rules, path = self.settings.rules, self.settings.baseline
        snapshot = take_snapshot(Store(self.results))
        missing = self._missing(snapshot)
        if missing:
            return _not_compared(missing)
        runs = choose(snapshot, ())
        metrics = [metric for run in runs for metric in run.cells]
        check_points(rules.tolerances, metrics)
        check_points(rules.floors, metrics, FLOOR)
        written = make_baseline(runs, rules.tolerances, rules.alpha)
        self._numbers = _changes(_readable(path), runs)
        write_baseline(path, written)
        self.finished = True
        chance = (f"{name} is {why}: its test fails." for name, why in snapshot.at_chance.items())
        self._notes = [*chance, *cannot_fail(written), *too_fine(written, rules.alpha)]
        return ""

    def _check(self) -> str:
        rules, path = self.settings.rules, self.settings.baseline
        baseline, now = read_baseline(path), take_snapshot(Store(self.results))
        lines, uncompared = check(baseline, now, rules), unchecked(baseline, now, rules)
        self._numbers = numbers(lines)
        self.finished = any(line.worst is not None for line in lines)
        missing = self._missing(now)
        without = (line for line in lines if line.worst is None and line.metric not in (AUDIT, GATE))
        self.uncompared = [*missing, *uncompared, *(f"{line.name} {line.metric}: {line.why}" for line in without)]
        if missing:
            return _not_compared(missing)
        added = [f"not in {path}: {', '.join(uncompared)}; 'pytest --robustness-update' adds it."] if uncompared else []
        if all(passed(line, rules) for line in lines):
            return "".join(added)
        return "\n\n".join([*added, gate_markdown(lines, rules), _advice(lines, rules, path)])

    def _missing(self, now: Snapshot) -> list[str]:
        """Return the requested cells for which ``now`` has neither an accuracy nor a failure."""
        store = Store(self.results)
        reported = {(name_of(run), metric) for run in now.runs for metric in run.cells} | {*now.failures, *now.replaced}
        missing = now.left_out()
        for run_id, cell_id in self._requested:
            run, cell = store.read_run(run_id), store.read_cell(run_id, cell_id)
            if run is None or cell is None:
                missing.append(f"cell {cell_id} of run {run_id}")
            elif not reported & {(name_of(run), metric) for metric in metrics_of(cell.spec.name)}:
                missing.append(f"{name_of(run)} {cell.spec.name}")
        return missing


def _not_compared(missing: Sequence[str]) -> str:
    return (
        f"requested but not compared: {', '.join(missing)}. Only one of several cells with the same name is used; "
        "give every call with different settings its own name=."
    )


def _advice(lines: Sequence[Check], rules: Rules, path: Path) -> str:
    """Return advice to the user on a failed check."""
    update = (
        f"If the change is intended, 'pytest --robustness-update' replaces {path.name} by the outcomes of the current "
        "model; commit it. Later tests compare with the new outcomes."
    )
    floor = "An accuracy below its floor remains a failure, because the floor is set in the mark of the test."
    below = [line.floor is not None for line in lines if not passed(line, rules)]
    return " ".join([*([] if all(below) else [update]), *([floor] if any(below) else [])])


def _readable(path: Path) -> Baseline | None:
    """Return the baseline that will be replaced; None if it is missing or unreadable."""
    try:
        return read_baseline(path)
    except BenchError:
        return None


def _changes(before: Baseline | None, runs: Sequence[RunOutcomes]) -> list[str]:
    """Return one line per new accuracy, with the accuracy that it replaces."""
    old = {(name_of(run), m): cell.accuracy for run in (before.runs if before else ()) for m, cell in run.cells.items()}
    return [
        f"{name_of(run)} {metric}: baseline {_shown(old.get((name_of(run), metric)))}, now {_shown(cell.accuracy)}"
        for run in runs
        for metric, cell in run.cells.items()
    ]


def _shown(accuracy: float | None) -> str:
    return "none" if accuracy is None else f"{100 * accuracy:.1f}"

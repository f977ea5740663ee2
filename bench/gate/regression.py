"""The pytest fixture ``robustness``: attack a project's own models and compare their outcomes with a baseline."""

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
from bench.gate.baseline import Baseline, RunOutcomes, make_baseline, read_baseline, write_baseline
from bench.gate.checks import AUDIT, GATE, Check, passed
from bench.gate.power import cannot_fail, too_fine
from bench.gate.report import gate_markdown, numbers
from bench.gate.rules import FLOOR, Rules, check_points
from bench.gate.run_checks import check, unchecked
from bench.gate.snapshot import Snapshot, choose, metrics_of, name_of, take_snapshot
from bench.results.store import Store
from bench.runtime.captured_warnings import warnings_do_not_raise
from bench.runtime.progress import Progress

#: What the fixture decides by itself.
OURS = (
    "network", "model", "name", "variant", "seed", "normalize", "input_size", "class_names", "trust_normalization",
    "results", "failures", "progress",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Settings in the mark of a test."""

    baseline: Path
    rules: Rules


@dataclass
class Robustness:
    """Collects what a test asks for; :meth:`finalize`, when the test is over, says what is wrong with it."""

    settings: Settings
    results: Path
    update: bool
    finished: bool = False  # whether images were compared with the baseline, or a baseline was written
    uncompared: list[str] = field(default_factory=list)  # what was asked for and could not be compared
    _settled: bool = False
    _models: dict[str, list[nn.Module]] = field(default_factory=dict)  # by name
    _problems: list[str] = field(default_factory=list)  # of calls, which the test may have caught
    _asked: list[tuple[str, str]] = field(default_factory=list)  # run id and cell id
    _numbers: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)

    def __call__(self, model: nn.Module | Iterable[nn.Module], *, name: str = "model", **options: Any) -> None:
        """Attack ``model``; the test fails at its end unless everything it attacked passes.

        ``model`` is a module from images (N, 3, S, S) in [0, 1] to logits, or several such modules, trained on
        different seeds: new weights are compared with other weights over five trainings or more, unless the mark says
        ``scope="weights"``. ``name`` is how the baseline calls it, ``options`` are those of
        :func:`bench.api.evaluate`. What the test asks for and the baseline does not hold is a failure, too.
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
        if problem:  # outside of the handler, or pytest shows both errors
            self._problems.append(problem)
            pytest.fail(problem, pytrace=False)

    def _attack(self, models: list[nn.Module], name: str, options: Mapping[str, Any]) -> None:
        if self._settled:
            raise BenchError("the test is over, so that nothing would be compared; call the fixture before its end.")
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
            rows = evaluate(
                one, name=name, seed=seed, results=self.results, failures="ignore", progress=Progress(), **options
            )
            self._asked += zip(rows["run_id"], rows["cell_id"], strict=True)

    def finalize(self) -> str:
        """Write the baseline, or check against it; what is wrong, empty if nothing is."""
        self._settled = True
        try:
            if self._problems:
                return self._problems[0]
            if not self._models:
                return "nothing was compared: the test has not called its fixture, so that nothing was attacked."
            with warnings_do_not_raise():
                return self._write() if self.update else self._check()
        except BenchError as error:
            return str(error)

    @property
    def attacked(self) -> bool:
        """Whether the test called the fixture, with success or without."""
        return bool(self._models or self._problems)

    def summary(self) -> dict[str, Any]:
        """JSON data for the end of the session."""
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
        lost = self._lost(snapshot)
        if lost:
            return _not_compared(lost)
        runs = choose(snapshot, ())
        metrics = [metric for run in runs for metric in run.cells]
        check_points(rules.tolerances, metrics)
        check_points(rules.floors, metrics, FLOOR)
        made = make_baseline(runs, rules.tolerances)
        self._numbers = _changes(_readable(path), runs)
        write_baseline(path, made)
        self.finished = True
        chance = (f"{name} is {why}: its test will fail." for name, why in snapshot.at_chance.items())
        self._notes = [*chance, *cannot_fail(made), *too_fine(made, rules.alpha)]
        return ""

    def _check(self) -> str:
        rules, path = self.settings.rules, self.settings.baseline
        held, now = read_baseline(path), take_snapshot(Store(self.results))
        lines, left = check(held, now, rules), unchecked(held, now, rules)
        self._numbers = numbers(lines)
        self.finished = any(line.worst is not None for line in lines)
        lost = self._lost(now)
        without = (line for line in lines if line.worst is None and line.metric not in (AUDIT, GATE))
        self.uncompared = [*lost, *left, *(f"{line.name} {line.metric}: {line.why}" for line in without)]
        if lost:
            return _not_compared(lost)
        new = [f"not in {path}: {', '.join(left)}; 'pytest --robustness-update' takes it in."] if left else []
        if all(passed(line, rules) for line in lines):
            return "".join(new)
        return "\n\n".join([*new, gate_markdown(lines, rules), _way_out(lines, rules, path)])

    def _lost(self, now: Snapshot) -> list[str]:
        """List the cells that the test asked for and that ``now`` holds neither as an accuracy nor as a failure."""
        store = Store(self.results)
        known = {(name_of(run), metric) for run in now.runs for metric in run.cells} | {*now.failures, *now.replaced}
        lost = now.left_out()
        for run_id, cell_id in self._asked:
            run, cell = store.read_run(run_id), store.read_cell(run_id, cell_id)
            if run is None or cell is None:
                lost.append(f"cell {cell_id} of run {run_id}")
            elif not known & {(name_of(run), metric) for metric in metrics_of(cell.spec.name)}:
                lost.append(f"{name_of(run)} {cell.spec.name}")
        return lost


def _not_compared(lost: Sequence[str]) -> str:
    return (
        f"asked for and not compared: {', '.join(lost)}. Of several cells of one name only one counts; give every call "
        "with other settings its own name=."
    )


def _way_out(lines: Sequence[Check], rules: Rules, path: Path) -> str:
    """Return advice to the user on a failed check."""
    update = (
        f"If the change is meant, 'pytest --robustness-update' replaces {path.name} by the outcomes of the present "
        "model; commit it. The failed comparison is then gone."
    )
    floor = "An accuracy below its floor stays a failure: the floor stands in the test's mark."
    below = [line.floor is not None for line in lines if not passed(line, rules)]
    return " ".join([*([] if all(below) else [update]), *([floor] if any(below) else [])])


def _readable(path: Path) -> Baseline | None:
    """The baseline that is about to be replaced, if there is one."""
    try:
        return read_baseline(path)
    except BenchError:
        return None


def _changes(before: Baseline | None, runs: Sequence[RunOutcomes]) -> list[str]:
    """The accuracies that are written, beside those that they replace."""
    old = {(name_of(run), m): cell.accuracy for run in (before.runs if before else ()) for m, cell in run.cells.items()}
    return [
        f"{name_of(run)} {metric}: baseline {_shown(old.get((name_of(run), metric)))}, now {_shown(cell.accuracy)}"
        for run in runs
        for metric, cell in run.cells.items()
    ]


def _shown(accuracy: float | None) -> str:
    return "none" if accuracy is None else f"{100 * accuracy:.1f}"

"""Other weights before and after: several trainings of either side, on the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.comparable import cell_problem
from bench.gate.evidence import Trainings
from bench.gate.lines import Check, Gate, at_chance, audited, judged
from bench.gate.snapshot import name_of
from bench.gate.verdict import Verdict

FEWEST_SEEDS = 5


def over_seeds(before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], gate: Gate) -> Iterator[Check]:
    """A line for every metric over all trainings, and one for the audit of each that is there now.

    A network that stands there twice, under two seeds of the attack, is one training.
    """
    name = name_of(before[0]).rpartition(":")[0]
    chance = "; ".join(f"seed {run.seed} is {why}" for run in after if (why := gate.at_chance.get(name_of(run))))
    for metric in sorted({metric for run in before for metric in run.cells}):
        old = _trainings(run for run in before if metric in run.cells)
        yield at_chance(_line(name, metric, old, _trainings(after), gate), chance)
    for run in after:
        yield from audited(before, run)


def _trainings(runs: Iterable[RunOutcomes]) -> list[RunOutcomes]:
    """One run for every set of weights."""
    found: dict[str, RunOutcomes] = {}
    for run in runs:
        found.setdefault(run.weights_sha, run)
    return list(found.values())


def _line(name: str, metric: str, before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], gate: Gate) -> Check:
    old = [run.cells[metric] for run in before]
    accuracy = float(np.mean([cell.accuracy for cell in old]))
    new = [run.cells[metric] for run in after if metric in run.cells]
    now = float(np.mean([cell.accuracy for cell in new])) if new else None
    problem = _problem(metric, before, after, gate.failures)
    if problem or now is None:
        return Check(name, metric, Verdict.FAIL, problem, accuracy, now)
    if len(old) < FEWEST_SEEDS:
        counts = f"{FEWEST_SEEDS} trainings of each are needed, there are {len(old)} and {len(after)}"
        why = f"other weights, nothing was compared: of a recipe {counts}; scope 'weights' compares these files"
        return Check(name, metric, Verdict.UNDECIDED, why, accuracy, now)
    return judged(name, metric, Trainings(_table(old), _table(new)), (accuracy, now), gate)


def _problem(
    metric: str,
    before: Sequence[RunOutcomes],
    after: Sequence[RunOutcomes],
    failures: Mapping[tuple[str, str], str],
) -> str:
    """Why the two sides cannot be compared; empty if they can.

    Fewer trainings than before are a reason: those that are missing may be those that went wrong.
    """
    for run in before[1:]:
        if cell_problem(before[0], run, metric, {}):
            return "the baseline's seeds are no table: they were measured on different images or otherwise"
    for run in after:
        problem = cell_problem(before[0], run, metric, failures)
        if problem:
            return f"seed {run.seed}: {problem}"
    missing = len(before) - len(after)
    return f"missing: {missing} of the baseline's {len(before)} trainings" if missing > 0 else ""


def _table(cells: Sequence[CellOutcomes]) -> NDArray[np.float64]:
    """(trainings, images): shares of right answers."""
    return np.stack([cell.counts / cell.parts for cell in cells])

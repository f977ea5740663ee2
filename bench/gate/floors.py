"""Check absolute floors: the minimum accuracy of every current network, independent of the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from bench.core.vocabulary import CLEAN
from bench.core.words import counted
from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.checks import Check, Gate, at_chance
from bench.gate.preconditions import NO_RUN
from bench.gate.snapshot import name_of
from bench.gate.tolerances import CORRUPTIONS, named, names_of
from bench.gate.verdict import Verdict
from bench.statistics.accuracy_drop import share_bounds


def floor_lines(before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], gate: Gate) -> Iterator[Check]:
    """Yield one line per current network and metric with a floor. ``before`` and ``after`` are of one recipe.

    The measured accuracy decides, or the lowest known robust accuracy on the same images if that is lower. ``why`` says
    which, and whether the one-sided confidence bound of the measured one would decide otherwise.
    """
    metrics = dict.fromkeys(metric for run in (*before, *after) for metric in run.cells)
    for metric in metrics:
        floor = named(metric, gate.rules.floors)
        if floor is None:
            continue
        old = next((run.cells[metric].accuracy for run in before if metric in run.cells), None)
        if not after:
            yield Check(name_of(before[0]), metric, Verdict.FAIL, NO_RUN, before=old, floor=floor, worst=Verdict.FAIL)
        for run in after:
            yield at_chance(_line(run, metric, floor, _accuracy(before, run, metric, old), gate), _chance(run, gate))


def _chance(run: RunOutcomes, gate: Gate) -> str:
    return gate.at_chance.get(name_of(run), "")


def _accuracy(before: Sequence[RunOutcomes], run: RunOutcomes, metric: str, otherwise: float | None) -> float | None:
    """Return the baseline's accuracy of the same seed, or else ``otherwise``."""
    same = (old.cells[metric].accuracy for old in before if old.seed == run.seed and metric in old.cells)
    return next(same, otherwise)


def _line(run: RunOutcomes, metric: str, floor: float, before: float | None, gate: Gate) -> Check:
    name, cell = name_of(run), run.cells.get(metric)
    made = partial(Check, name, metric, before=before, floor=floor, worst=Verdict.FAIL)
    if (name, metric) in gate.failures:
        return made(Verdict.FAIL, gate.failures[name, metric])
    if cell is None:
        return made(Verdict.FAIL, "missing: the run has no such cell")
    verdict, why = _against(cell, floor, gate.rules.alpha)
    lower = gate.lowest.get((name, metric))
    if verdict is Verdict.PASS and lower is not None and 100 * lower.accuracy < floor:
        verdict, why = Verdict.FAIL, f"{lower.text} is below the floor {floor:g}"
    if verdict is Verdict.PASS and run.flags and metric != CLEAN and CORRUPTIONS not in names_of(metric):
        flags = ", ".join(f"⚑{flag}" for flag in run.flags)
        verdict, why = Verdict.UNDECIDED, f"the accuracy is an upper bound only ({flags})"
    return made(verdict, why, after=cell.accuracy, size=counted(cell.n, "image"))


def _against(cell: CellOutcomes, floor: float, alpha: float) -> tuple[Verdict, str]:
    """Compare the measured accuracy with its floor; report the one-sided bound if it is on the other side."""
    reached = cell.right * 100 >= floor * cell.n * cell.parts
    low, high = share_bounds(cell.right / cell.parts, cell.n, alpha)
    confidence = f"{100 * (1 - alpha):.4g} %"
    if reached:
        bound = "" if low * 100 >= floor else f"; the {confidence} lower confidence bound is {100 * low:.1f} %"
        return Verdict.PASS, f"at or above the floor{bound}"
    bound = "" if high * 100 < floor else f"; the {confidence} upper confidence bound is {100 * high:.1f} %"
    return Verdict.FAIL, f"below the floor{bound}"

"""A run beside its baseline: for every metric that the baseline names, what its images say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.words import counted
from bench.gate.baseline import Baseline, CellOutcomes, RunOutcomes
from bench.gate.comparable import audit_problem, cell_problem
from bench.gate.evidence import Evidence, Shares, Trainings, Verdicts
from bench.gate.snapshot import Snapshot, name_of
from bench.gate.tolerances import check_tolerances, tolerance_of
from bench.gate.verdict import Judgement, Verdict, judge
from bench.statistics.drops import MOST_ALPHA

FEWEST_SEEDS = 5
AUDIT = "audit"  # in place of a metric


@dataclass(frozen=True)
class Check:
    """One line of the gate's table. Accuracies are fractions; without evidence ``judgement`` is None."""

    name: str  # of the run, or of all its seeds
    metric: str  # or AUDIT
    verdict: Verdict
    why: str
    before: float | None = None
    after: float | None = None
    tolerance: float | None = None  # points
    judgement: Judgement | None = None
    lost: int | None = None  # images, where the weights are the same and images are right or wrong
    gained: int | None = None
    size: str = ""  # what it rests on, in words


@dataclass(frozen=True)
class Gate:
    """What a check needs beside its two sides."""

    alpha: float
    tolerances: Mapping[str, float]  # points
    failures: Mapping[tuple[str, str], str]


def check(baseline: Baseline, now: Snapshot, *, alpha: float, tolerances: Mapping[str, float]) -> list[Check]:
    """All lines, in the order of the baseline. ``tolerances`` come before those that the baseline holds.

    The same weights are compared image by image, each seed by itself. Other weights are another draw of the training's
    chance: they are compared over seeds, never by one network's images, and take ``FEWEST_SEEDS`` of either side.
    Raises BenchError for a level that is none, a tolerance that means nothing, and a baseline without a cell.
    """
    metrics = [metric for run in baseline.runs for metric in run.cells]
    if not metrics:
        raise BenchError("the baseline holds no cell, so that nothing would be checked.")
    if not 0 < alpha < MOST_ALPHA:
        raise BenchError(f"alpha {alpha} is not between 0 and {MOST_ALPHA}, the level of a one-sided test.")
    check_tolerances(tolerances, metrics)
    gate = Gate(alpha, {**baseline.tolerances, **tolerances}, now.failures)
    groups: dict[tuple[str, str, str], list[RunOutcomes]] = defaultdict(list)
    for run in baseline.runs:
        groups[run.recipe].append(run)
    lines: list[Check] = []
    for recipe, before in groups.items():
        after = sorted((run for run in now.runs if run.recipe == recipe), key=lambda run: run.seed)
        pairs = [(run, _partner(run, after)) for run in before]
        if _retrained(pairs, after):
            lines += _over_seeds(before, after, gate)
        else:
            lines += [line for old, new in pairs for line in _by_image(old, new, gate)]
    return lines


def _partner(run: RunOutcomes, after: Sequence[RunOutcomes]) -> RunOutcomes | None:
    """That of the same seed, else one of the same weights that only the attack's seed tells apart."""
    same = [other for other in after if other.seed == run.seed]
    return next(iter(same or [other for other in after if other.weights_sha == run.weights_sha]), None)


def _retrained(pairs: Sequence[tuple[RunOutcomes, RunOutcomes | None]], after: Sequence[RunOutcomes]) -> bool:
    """Whether any network has other weights than its partner in the baseline, or there are only others."""
    found = [(old, new) for old, new in pairs if new is not None]
    return bool(after) and (not found or any(old.weights_sha != new.weights_sha for old, new in found))


def _by_image(before: RunOutcomes, after: RunOutcomes | None, gate: Gate) -> Iterator[Check]:
    name = name_of(before)
    for metric, old in before.cells.items():
        problem = cell_problem(before, after, metric, gate.failures)
        if problem or after is None:
            yield Check(name, metric, Verdict.FAIL, problem, before=old.accuracy)
        else:
            new = after.cells[metric]
            yield _judged(name, metric, _paired(old, new), (old.accuracy, new.accuracy), gate)
    yield _audit([before], after)


def _over_seeds(before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], gate: Gate) -> Iterator[Check]:
    name = name_of(before[0]).rpartition(":")[0]
    for metric in sorted({metric for run in before for metric in run.cells}):
        old = [run.cells[metric] for run in before if metric in run.cells]
        like = next(run for run in before if metric in run.cells)
        problems = [f"seed {run.seed}: {p}" for run in after if (p := cell_problem(like, run, metric, gate.failures))]
        accuracy = float(np.mean([cell.accuracy for cell in old]))
        if problems or any(cell.images != old[0].images for cell in old):
            why = problems[0] if problems else "the baseline's seeds were evaluated on different images"
            yield Check(name, metric, Verdict.FAIL, why, before=accuracy)
        elif min(len(old), len(after)) < FEWEST_SEEDS:
            why = f"other weights: {FEWEST_SEEDS} seeds of each are needed, there are {len(old)} and {len(after)}"
            yield Check(name, metric, Verdict.UNDECIDED, why, before=accuracy)
        else:
            new = [run.cells[metric] for run in after]
            accuracies = accuracy, float(np.mean([cell.accuracy for cell in new]))
            yield _judged(name, metric, Trainings(_table(old), _table(new)), accuracies, gate)
    yield from (_audit(before, run) for run in after)


def _paired(old: CellOutcomes, new: CellOutcomes) -> Evidence:
    before, after = old.counts, new.counts
    if old.parts > 1:
        return Shares(before / old.parts, after / new.parts)
    return Verdicts(lost=int((before > after).sum()), gained=int((after > before).sum()), n=old.n)


def _table(cells: Sequence[CellOutcomes]) -> NDArray[np.float64]:
    """(seeds, images): shares of right answers."""
    return np.stack([cell.counts / cell.parts for cell in cells])


def _judged(name: str, metric: str, evidence: Evidence, accuracies: tuple[float, float], gate: Gate) -> Check:
    tolerance = tolerance_of(metric, gate.tolerances)
    found = judge(evidence, alpha=gate.alpha, tolerance=tolerance / 100)
    lost, gained = (evidence.lost, evidence.gained) if isinstance(evidence, Verdicts) else (None, None)
    return Check(
        name, metric, found.verdict, found.why, *accuracies, tolerance, found, lost, gained, _size(evidence)
    )  # fmt: skip


def _size(evidence: Evidence) -> str:
    if isinstance(evidence, Trainings):
        return f"{len(evidence.before)} and {len(evidence.after)} seeds"
    return counted(evidence.size, "image")


def _audit(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> Check:
    problem = audit_problem(before, after)
    name = name_of(after or before[0])
    if problem or after is None:
        return Check(name, AUDIT, Verdict.FAIL, problem)
    return Check(name, AUDIT, Verdict.PASS, "no new flag" if after.audit else "no new flag; there was no audit")

"""The lines of the gate's table, and how one comes from evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.core.words import counted
from bench.gate.baseline import RunOutcomes
from bench.gate.comparable import audit_problem
from bench.gate.evidence import Evidence, Trainings, Verdicts
from bench.gate.snapshot import name_of
from bench.gate.tolerances import tolerance_of
from bench.gate.verdict import Judgement, Verdict, judge

AUDIT = "audit"  # in place of a metric


@dataclass(frozen=True)
class Check:
    """One line. Accuracies are fractions; without evidence ``judgement`` is None."""

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
    failures: Mapping[tuple[str, str], str]  # by run name and metric


def judged(name: str, metric: str, evidence: Evidence, accuracies: tuple[float, float], gate: Gate) -> Check:
    """``accuracies`` are fractions, before and after."""
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


def audited(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> list[Check]:
    """A line on the audit of one run, and none where there never was one and nothing was found."""
    problem, name = audit_problem(before, after), name_of(after or before[0])
    if problem:
        return [Check(name, AUDIT, Verdict.FAIL, problem)]
    return [Check(name, AUDIT, Verdict.PASS, "no new flag")] if after is not None and after.audit else []

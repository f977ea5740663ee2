"""The lines of the gate's table, and how one comes from evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.core.words import counted
from bench.gate.baseline import RunOutcomes
from bench.gate.evidence import Evidence, Trainings, Verdicts
from bench.gate.lowest import Lower
from bench.gate.preconditions import audit_problem
from bench.gate.rules import Rules
from bench.gate.snapshot import name_of
from bench.gate.tolerances import tolerance_of
from bench.gate.verdict import Judgement, Verdict, judge, worst
from bench.results.audit_verdict import PASSED, UNDECIDED

AUDIT = "audit"  # in place of a metric
EVERYTHING = "all runs"  # in place of a run
GATE = "gate"  # in place of a metric
IDLE = "this check cannot fail: no drop can exceed the tolerance"


@dataclass(frozen=True)
class Check:
    """One line. Accuracies are fractions; without evidence ``judgement`` is None."""

    name: str  # of the run, or of all its seeds
    metric: str  # or AUDIT or GATE
    verdict: Verdict
    why: str
    before: float | None = None
    after: float | None = None
    tolerance: float | None = None  # points
    judgement: Judgement | None = None
    lost: int | None = None  # images, where right and wrong images are compared one by one
    gained: int | None = None
    size: str = ""  # what it rests on, in words
    floor: float | None = None  # percent, of a line that compares with a floor
    worst: Verdict | None = None  # what it would be if the model misclassified every image; None without evidence


@dataclass(frozen=True)
class Gate:
    """Context of a check besides the two sides that it compares: rules, tolerances, failures, models at chance."""

    rules: Rules
    tolerances: Mapping[str, float]  # points: the rules' before the baseline's
    failures: Mapping[tuple[str, str], str]  # by run name and metric
    at_chance: Mapping[str, str]  # by run name, a sentence
    lowest: Mapping[tuple[str, str], Lower] = field(default_factory=dict)  # by run name and metric


def passed(line: Check, rules: Rules) -> bool:
    """Whether the gate lets a line through."""
    return _lets(line.verdict, rules) and (line.verdict is Verdict.PASS or line.worst is not None)


def _lets(verdict: Verdict, rules: Rules) -> bool:
    return verdict is Verdict.PASS or (rules.allow_inconclusive and verdict is Verdict.UNDECIDED)


def nothing_compared(lines: Sequence[Check], rules: Rules) -> list[Check]:
    """A failing line where all others pass and would pass whatever the model answers; none where one could fail."""
    could_fail = any(line.worst is not None and not _lets(line.worst, rules) for line in lines)
    if could_fail or not all(passed(line, rules) for line in lines):
        return []
    why = "nothing was compared: no check can fail; narrow the tolerances, or take a baseline with something to lose"
    return [Check(EVERYTHING, GATE, Verdict.FAIL, why)]


def judged(name: str, metric: str, evidence: Evidence, accuracies: tuple[float, float], gate: Gate) -> Check:
    """``accuracies`` are fractions, before and after."""
    tolerance = tolerance_of(metric, gate.tolerances)
    found = judge(evidence, alpha=gate.rules.alpha, tolerance=tolerance / 100)
    lost, gained = (evidence.lost, evidence.gained) if isinstance(evidence, Verdicts) else (None, None)
    least = worst(evidence, alpha=gate.rules.alpha, tolerance=tolerance / 100)
    why = f"{found.why}; {IDLE}" if least is Verdict.PASS else found.why
    return Check(
        name, metric, found.verdict, why, *accuracies, tolerance, found, lost, gained, _size(evidence), worst=least
    )  # fmt: skip


def at_chance(line: Check, sentence: str) -> Check:
    """The line of a model at chance level: a failure, whatever was compared. Without ``sentence`` the line itself."""
    if not sentence:
        return line
    why = f"{sentence} on clean images, so that its accuracy under attack says nothing"
    return replace(line, verdict=Verdict.FAIL, why=why if line.verdict is Verdict.PASS else f"{line.why}; {why}")


def _size(evidence: Evidence) -> str:
    if isinstance(evidence, Trainings):
        return f"{len(evidence.before)} and {len(evidence.after)} seeds"
    return counted(evidence.size, "image")


def audited(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> list[Check]:
    """A line on the audit of one run, and none where there never was one and nothing was found."""
    problem, name = audit_problem(before, after), name_of(after or before[0])
    if problem:
        return [Check(name, AUDIT, Verdict.FAIL, problem)]
    if after is not None and after.audit == UNDECIDED and all(run.audit == PASSED for run in before):
        why = "the audit could not have raised a flag, and the baseline's could; audit all attacks, on enough images"
        return [Check(name, AUDIT, Verdict.UNDECIDED, why)]
    return [Check(name, AUDIT, Verdict.PASS, "no new flag")] if after is not None and after.audit else []

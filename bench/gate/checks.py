"""The checks of the gate: which two accuracies may be compared, and one row per comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.core.words import pluralize
from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.rules import Rules, tolerance_of
from bench.gate.snapshot import Lower, name_of
from bench.gate.verdict import Evidence, Judgement, Trainings, Verdict, Verdicts, judge, worst
from bench.results.audit_verdict import FAILED, PASSED, UNDECIDED

NO_RUN = "missing: there is no such run, or --run leaves it out"


def cell_problem(
    before: RunOutcomes, after: RunOutcomes | None, metric: str, failures: Mapping[tuple[str, str], str]
) -> str:
    """Return the reason against comparing two numbers, or an empty string. ``failures`` are by run name and metric."""
    if after is None:
        return NO_RUN
    if (name_of(after), metric) in failures:
        return failures[name_of(after), metric]
    if before.data_sha != after.data_sha:
        return f"other test data: {after.data_sha[:12]}, the baseline's are {before.data_sha[:12]}"
    if metric not in after.cells:
        return "missing: the run has no such cell"
    old, new = before.cells[metric], after.cells[metric]
    if old.definition != new.definition:
        return f"measured otherwise: {_difference(old, new)}"
    if (old.images, old.parts) != (new.images, new.parts):
        return f"other images: {pluralize(new.n, 'image')} here, {old.n} in the baseline"
    return ""


def _difference(old: CellOutcomes, new: CellOutcomes) -> str:
    """The first thing that two definitions do not share."""
    key = next(k for k in sorted({*old.definition, *new.definition}) if old.definition.get(k) != new.definition.get(k))
    return f"{key} {new.definition.get(key, 'not given')}, the baseline's is {old.definition.get(key, 'not given')}"


def audit_problem(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> str:
    """A flag that no run of the baseline has, or an audit that is missed or went wrong; empty if there is none."""
    if after is None:
        return NO_RUN
    new = sorted({*after.flags}.difference(*(run.flags for run in before)))
    if new:
        return f"new: {', '.join(f'⚑{flag}' for flag in new)}"
    if after.audit == FAILED:
        return "the audit went wrong"
    if after.audit is None and any(run.audit is not None for run in before):
        return "there is no audit, and the baseline had one"
    return ""


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
    n_regressed: int | None = None  # images, where right and wrong images are compared one by one
    n_improved: int | None = None
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
    n_regressed, n_improved = (
        (evidence.n_regressed, evidence.n_improved) if isinstance(evidence, Verdicts) else (None, None)
    )
    least = worst(evidence, alpha=gate.rules.alpha, tolerance=tolerance / 100)
    why = f"{found.why}; {IDLE}" if least is Verdict.PASS else found.why
    return Check(
        name,
        metric,
        found.verdict,
        why,
        *accuracies,
        tolerance,
        found,
        n_regressed,
        n_improved,
        _size(evidence),
        worst=least,
    )


def at_chance(line: Check, sentence: str) -> Check:
    """The line of a model at chance level: a failure, whatever was compared. Without ``sentence`` the line itself."""
    if not sentence:
        return line
    why = f"{sentence} on clean images, so that its accuracy under attack says nothing"
    return replace(line, verdict=Verdict.FAIL, why=why if line.verdict is Verdict.PASS else f"{line.why}; {why}")


def _size(evidence: Evidence) -> str:
    if isinstance(evidence, Trainings):
        return f"{len(evidence.before)} and {len(evidence.after)} seeds"
    return pluralize(evidence.size, "image")


def audited(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> list[Check]:
    """A line on the audit of one run, and none where there never was one and nothing was found."""
    problem, name = audit_problem(before, after), name_of(after or before[0])
    if problem:
        return [Check(name, AUDIT, Verdict.FAIL, problem)]
    if after is not None and after.audit == UNDECIDED and all(run.audit == PASSED for run in before):
        why = "the audit could not have raised a flag, and the baseline's could; audit all attacks, on enough images"
        return [Check(name, AUDIT, Verdict.UNDECIDED, why)]
    return [Check(name, AUDIT, Verdict.PASS, "no new flag")] if after is not None and after.audit else []

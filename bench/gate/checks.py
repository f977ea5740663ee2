"""Checks of the gate: decide whether two accuracies are comparable, and create one check per comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.core.words import pluralize
from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.rules import Rules, tolerance_of
from bench.gate.snapshot import Lower, name_of
from bench.gate.verdict import Evidence, Judgement, Trainings, Verdict, Verdicts, judge, worst
from bench.results.audit_verdict import FAILED, PASSED, UNDECIDED

NO_RUN = "missing: the results have no such run, or --run leaves it out"


def cell_problem(
    before: RunOutcomes, after: RunOutcomes | None, metric: str, failures: Mapping[tuple[str, str], str]
) -> str:
    """Return why two numbers are not comparable, or an empty string. ``failures`` are by run name and metric."""
    if after is None:
        return NO_RUN
    if (name_of(after), metric) in failures:
        return failures[name_of(after), metric]
    if before.data_sha != after.data_sha:
        return f"different test data: {after.data_sha[:12]} here, {before.data_sha[:12]} in the baseline"
    if metric not in after.cells:
        return "missing: the run has no such cell"
    old, new = before.cells[metric], after.cells[metric]
    if old.definition != new.definition:
        return f"different settings: {_difference(old, new)}"
    if (old.images, old.parts) != (new.images, new.parts):
        return f"different images: {pluralize(new.n, 'image')} here, {old.n} in the baseline"
    return ""


def _difference(old: CellOutcomes, new: CellOutcomes) -> str:
    """Describe the first difference between the settings of two cells."""
    key = next(k for k in sorted({*old.definition, *new.definition}) if old.definition.get(k) != new.definition.get(k))
    current, stored = new.definition.get(key, "not given"), old.definition.get(key, "not given")
    return f"{key} is {current} here, {stored} in the baseline"


def audit_problem(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> str:
    """Return the first audit problem, or an empty string. Problems are new flags, a failed or a missing audit."""
    if after is None:
        return NO_RUN
    new_flags = sorted({*after.flags}.difference(*(run.flags for run in before)))
    if new_flags:
        return f"new: {', '.join(f'⚑{flag}' for flag in new_flags)}"
    if after.audit == FAILED:
        return "the audit failed"
    if after.audit is None and any(run.audit is not None for run in before):
        return "the run has no audit, but the baseline has one"
    return ""


AUDIT = "audit"  # value of ``metric`` for a check of the audit
EVERYTHING = "all runs"  # value of ``name`` for a check of all runs together
GATE = "gate"  # value of ``metric`` for a check of the gate itself
IDLE = "this check cannot fail: no drop can exceed the tolerance"


@dataclass(frozen=True)
class Check:
    """One check of the gate, printed as one line. Accuracies are fractions. ``judgement`` is None without evidence."""

    name: str  # name of the run, or of all its seeds
    metric: str  # name of the metric, AUDIT or GATE
    verdict: Verdict
    why: str
    before: float | None = None
    after: float | None = None
    tolerance: float | None = None  # tolerance in percentage points
    judgement: Judgement | None = None
    n_regressed: int | None = None  # newly misclassified images, if outcomes are compared image by image
    n_improved: int | None = None  # newly correct images, if outcomes are compared image by image
    size: str = ""  # sample size in words, such as "500 images"
    floor: float | None = None  # minimum accuracy in percent, if the check compares with a floor
    worst: Verdict | None = None  # verdict in the case that every image is misclassified; None without evidence


@dataclass(frozen=True)
class Gate:
    """Context of all checks: rules, tolerances, failed cells, models at chance level, lowest known accuracies."""

    rules: Rules
    tolerances: Mapping[str, float]  # in points; tolerances of the rules override tolerances of the baseline
    failures: Mapping[tuple[str, str], str]  # reason of a failed cell, by run name and metric
    at_chance: Mapping[str, str]  # sentence on a model at chance level, by run name
    lowest: Mapping[tuple[str, str], Lower] = field(default_factory=dict)  # lowest accuracy by run name and metric


def passed(line: Check, rules: Rules) -> bool:
    """Return whether a check passes the gate: the verdict is PASS, or it is an accepted verdict with evidence."""
    return _accepts(line.verdict, rules) and (line.verdict is Verdict.PASS or line.worst is not None)


def _accepts(verdict: Verdict, rules: Rules) -> bool:
    return verdict is Verdict.PASS or (rules.allow_inconclusive and verdict is Verdict.UNDECIDED)


def nothing_compared(lines: Sequence[Check], rules: Rules) -> list[Check]:
    """Return one failing check if all ``lines`` pass and no prediction of the model could make one of them fail."""
    could_fail = any(line.worst is not None and not _accepts(line.worst, rules) for line in lines)
    if could_fail or not all(passed(line, rules) for line in lines):
        return []
    why = "nothing was compared: no check can fail; narrow the tolerances, or use a baseline with higher accuracies"
    return [Check(EVERYTHING, GATE, Verdict.FAIL, why)]


def judged(name: str, metric: str, evidence: Evidence, accuracies: tuple[float, float], gate: Gate) -> Check:
    """Return the check of ``evidence`` against the tolerance of ``metric``.

    ``accuracies`` are the accuracies before and after, as fractions.
    """
    tolerance = tolerance_of(metric, gate.tolerances)
    judgement = judge(evidence, alpha=gate.rules.alpha, tolerance=tolerance / 100)
    n_regressed, n_improved = (
        (evidence.n_regressed, evidence.n_improved) if isinstance(evidence, Verdicts) else (None, None)
    )
    least = worst(evidence, alpha=gate.rules.alpha, tolerance=tolerance / 100)
    why = f"{judgement.why}; {IDLE}" if least is Verdict.PASS else judgement.why
    return Check(
        name,
        metric,
        judgement.verdict,
        why,
        *accuracies,
        tolerance,
        judgement,
        n_regressed,
        n_improved,
        _size(evidence),
        worst=least,
    )


def at_chance(line: Check, sentence: str) -> Check:
    """Return ``line`` as a failure of a model at chance level, or unchanged if ``sentence`` is empty."""
    if not sentence:
        return line
    why = f"{sentence} on clean images, so its robust accuracy is meaningless"
    return replace(line, verdict=Verdict.FAIL, why=why if line.verdict is Verdict.PASS else f"{line.why}; {why}")


def _size(evidence: Evidence) -> str:
    if isinstance(evidence, Trainings):
        return f"{len(evidence.before)} and {len(evidence.after)} seeds"
    return pluralize(evidence.size, "image")


def audited(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> list[Check]:
    """Return the check of a run's audit; an empty list if neither run has an audit and there is no new flag."""
    problem, name = audit_problem(before, after), name_of(after or before[0])
    if problem:
        return [Check(name, AUDIT, Verdict.FAIL, problem)]
    if after is not None and after.audit == UNDECIDED and all(run.audit == PASSED for run in before):
        why = "the audit had too little data to raise a flag, unlike the baseline's; audit all attacks on enough images"
        return [Check(name, AUDIT, Verdict.UNDECIDED, why)]
    return [Check(name, AUDIT, Verdict.PASS, "no new flag")] if after is not None and after.audit else []

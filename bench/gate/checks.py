"""Checks of the gate: decide whether two accuracies are comparable, and create one check per comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.core.words import pluralize
from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.rules import Rules, tolerance_of
from bench.gate.sequential import ImageSequence, Used, judge_in_sequence, worst_in_sequence
from bench.gate.snapshot import Lower, name_of
from bench.gate.verdict import Evidence, ImageEvidence, Judgement, SeedEvidence, Verdict, judge, worst
from bench.results.audit_verdict import FAILED, PASSED, UNDECIDED

NO_RUN = "missing: the results have no such run, or --run leaves it out"


def cell_problem(
    before: RunOutcomes, after: RunOutcomes | None, metric: str, failures: Mapping[tuple[str, str], str]
) -> str:
    """Return why two accuracies are not comparable, or an empty string. ``failures`` are by run name and metric."""
    if after is None:
        return NO_RUN
    if (name_of(after), metric) in failures:
        return failures[name_of(after), metric]
    if before.data_sha != after.data_sha:
        return f"different test data: {after.data_sha[:12]} here, {before.data_sha[:12]} in the baseline"
    if metric not in after.cells:
        return "missing: the run has no such cell"
    old, new = before.cells[metric], after.cells[metric]
    if old.parts != new.parts:
        return f"different corruptions: {pluralize(new.parts, 'cell')} here, {old.parts} in the baseline"
    if old.definition != new.definition:
        return f"different settings: {_difference(old, new)}"
    if old.n != new.n:
        return f"different images: {pluralize(new.n, 'image')} here, {old.n} in the baseline"
    if old.images != new.images:
        return f"different images: {pluralize(new.n, 'image')} on both sides, but with other ids, labels or order"
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
GATE = "gate"  # value of ``metric`` for the check that any other check can fail
IDLE = "this check cannot fail: no drop can exceed the tolerance"


@dataclass(frozen=True)
class Check:
    """One check of the gate, printed as one line. Accuracies are fractions.

    ``judgement`` is None unless the check compares an accuracy with the baseline. For a floor, ``worst`` is FAIL.
    """

    name: str  # name of the run; name without the seed, for a check over seeds; or EVERYTHING
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
    worst: Verdict | None = None  # verdict if every image were misclassified; None if nothing was compared
    used: Used | None = None  # images used by a sequential check; all figures are over these images


@dataclass(frozen=True)
class CheckInputs:
    """Inputs that all checks share, besides the outcomes of the runs.

    ``lowest`` has an entry, by run name and metric, only if a robust accuracy below the measured one is known.
    """

    rules: Rules
    tolerances: Mapping[str, float]  # in points, by metric: of the baseline, overridden by ``rules``
    failures: Mapping[tuple[str, str], str]  # reason of a failed cell, by run name and metric
    at_chance: Mapping[str, str]  # such as "no better than chance", by name of a run at chance level
    lowest: Mapping[tuple[str, str], Lower] = field(default_factory=dict)
    order: str | None = None  # seed of the sealed order of the images; None unless the check is sequential


def passed(check: Check, rules: Rules) -> bool:
    """Return whether a check passes the gate.

    It passes if its verdict is PASS. It also passes if its verdict is NOT ENOUGH EVIDENCE, ``rules.allow_inconclusive``
    is set and an accuracy was compared.
    """
    return _accepts(check.verdict, rules) and (check.verdict is Verdict.PASS or check.worst is not None)


def _accepts(verdict: Verdict, rules: Rules) -> bool:
    return verdict is Verdict.PASS or (rules.allow_inconclusive and verdict is Verdict.UNDECIDED)


def fail_if_idle(checks: Sequence[Check], rules: Rules) -> list[Check]:
    """Return one failing check if all ``checks`` pass and none would fail even if every image were misclassified."""
    could_fail = any(check.worst is not None and not _accepts(check.worst, rules) for check in checks)
    if could_fail or not all(passed(check, rules) for check in checks):
        return []
    why = (
        "no check can fail, even if every image is misclassified; use smaller tolerances, or a baseline with higher "
        "accuracies"
    )
    return [Check(EVERYTHING, GATE, Verdict.FAIL, why)]


def judged(name: str, metric: str, evidence: Evidence, accuracies: tuple[float, float], inputs: CheckInputs) -> Check:
    """Return the check of ``evidence`` against the tolerance of ``metric``.

    ``accuracies`` are the accuracies before and after, as fractions.
    """
    tolerance = tolerance_of(metric, inputs.tolerances)
    judgement = judge(evidence, alpha=inputs.rules.alpha, tolerance=tolerance / 100)
    n_regressed, n_improved = (
        (evidence.n_regressed, evidence.n_improved) if isinstance(evidence, ImageEvidence) else (None, None)
    )
    worst_verdict = worst(evidence, alpha=inputs.rules.alpha, tolerance=tolerance / 100)
    why = f"{judgement.why}; {IDLE}" if worst_verdict is Verdict.PASS else judgement.why
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
        worst=worst_verdict,
    )


def judged_in_sequence(name: str, metric: str, outcomes: ImageSequence, inputs: CheckInputs) -> Check:
    """Return the check of paired ``outcomes`` against the tolerance of ``metric``, over no more images than needed."""
    tolerance, alpha = tolerance_of(metric, inputs.tolerances), inputs.rules.alpha
    judgement, used = judge_in_sequence(outcomes, alpha=alpha, tolerance=tolerance / 100)
    seen = outcomes.first(used.n_used)
    worst_verdict = worst_in_sequence(outcomes, alpha=alpha, tolerance=tolerance / 100)
    counted = outcomes.parts == 1
    return Check(
        name,
        metric,
        judgement.verdict,
        f"{judgement.why}; {IDLE}" if worst_verdict is Verdict.PASS else judgement.why,
        *seen.accuracies,
        tolerance,
        judgement,
        int((seen.before > seen.after).sum()) if counted else None,
        int((seen.after > seen.before).sum()) if counted else None,
        used.text,
        worst=worst_verdict,
        used=used,
    )


def fail_at_chance(check: Check, chance: str) -> Check:
    """Return ``check`` with the verdict FAIL for a model at chance level, or unchanged if ``chance`` is empty."""
    if not chance:
        return check
    why = f"{chance} on clean images, so its robust accuracy is meaningless"
    return replace(check, verdict=Verdict.FAIL, why=why if check.verdict is Verdict.PASS else f"{check.why}; {why}")


def _size(evidence: Evidence) -> str:
    if isinstance(evidence, SeedEvidence):
        return f"{len(evidence.before)} and {len(evidence.after)} seeds"
    return pluralize(evidence.size, "image")


def audited(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> list[Check]:
    """Return the check of a run's audit; an empty list if neither run has an audit and there is no new flag."""
    problem, name = audit_problem(before, after), name_of(after or before[0])
    if problem:
        return [Check(name, AUDIT, Verdict.FAIL, problem)]
    if after is not None and after.audit == UNDECIDED and all(run.audit == PASSED for run in before):
        why = (
            "the audit had too little data to raise a flag, but the audit of the baseline had enough; audit all "
            "attacks on more images"
        )
        return [Check(name, AUDIT, Verdict.UNDECIDED, why)]
    return [Check(name, AUDIT, Verdict.PASS, "no new flag")] if after is not None and after.audit else []

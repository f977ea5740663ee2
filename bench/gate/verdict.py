"""PASS, FAIL or NOT ENOUGH EVIDENCE: a pure function of the evidence, the level and the tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bench.gate.evidence import Evidence
from bench.statistics.accuracy_drop import Bounds
from bench.statistics.bisect import smallest

MOST = {"images": 10_000_000, "seeds": 1_000}  # beyond them nobody goes


class Verdict(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "NOT ENOUGH EVIDENCE"


@dataclass(frozen=True)
class Judgement:
    """A verdict with its figures, in fractions."""

    verdict: Verdict
    drop: float
    low: float  # of the drop: its one-sided bounds at 1 − α
    high: float
    why: str


def judge(evidence: Evidence, *, alpha: float, tolerance: float) -> Judgement:
    """FAIL when the drop is beyond chance *and* beyond the tolerance; PASS when a larger one can be excluded.

    In figures: FAIL when low > 0 and drop > tolerance; PASS when high ≤ tolerance or nothing changed. What is neither
    is NOT ENOUGH EVIDENCE, and ``why`` says how much would be. False alarms are at most a share ``alpha`` of the looks
    at a model that has lost nothing. ``tolerance`` is a fraction.
    """
    bounds = evidence.bounds(alpha, evidence.size)
    verdict = _verdict(evidence, bounds, tolerance)
    return Judgement(verdict, evidence.drop, *bounds, _why(verdict, evidence, alpha, tolerance))


def worst(evidence: Evidence, *, alpha: float, tolerance: float) -> Verdict:
    """The verdict if the model misclassified every image; PASS where no drop can exceed the tolerance."""
    all_wrong = evidence.all_wrong()
    if all_wrong.drop <= tolerance:
        return Verdict.PASS
    return _verdict(all_wrong, all_wrong.bounds(alpha, all_wrong.size), tolerance)


def _verdict(evidence: Evidence, bounds: Bounds, tolerance: float) -> Verdict:
    low, high = bounds
    if low > 0 and evidence.drop > tolerance:
        return Verdict.FAIL
    return Verdict.PASS if evidence.unchanged or high <= tolerance else Verdict.UNDECIDED


def _why(verdict: Verdict, evidence: Evidence, alpha: float, tolerance: float) -> str:
    if verdict is Verdict.PASS:
        return "no image changed" if evidence.unchanged else "a drop beyond the tolerance is excluded"
    if verdict is Verdict.FAIL:
        return "the drop is beyond chance and beyond the tolerance"
    enough = needed(evidence, alpha=alpha, tolerance=tolerance)
    if enough is None:
        return f"no number of {evidence.unit} that can be had would decide, if the shares stayed"
    return f"about {enough} {evidence.unit} would decide, if the shares stayed"


def needed(evidence: Evidence, *, alpha: float, tolerance: float) -> int | None:
    """The smallest number of images, or of seeds on both sides, that would decide if all shares stayed as they are.

    None where even ``MOST`` would not: the drop is about as large as the tolerance.
    """

    def decides(size: int) -> bool:
        return _verdict(evidence, evidence.bounds(alpha, size), tolerance) is not Verdict.UNDECIDED

    return smallest(decides, evidence.size, MOST[evidence.unit])

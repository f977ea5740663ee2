"""Evidence of a drop in accuracy, and its verdict: PASS, FAIL or NOT ENOUGH EVIDENCE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bench.statistics.accuracy_drop import Bounds, mean_bounds, verdict_bounds
from bench.statistics.power import smallest


class Evidence(Protocol):
    """Evidence for a verdict; accuracies and drops are fractions."""

    @property
    def unit(self) -> Literal["images", "seeds"]:
        """Unit of ``size``: more images, or more seeds, would make the bounds narrower."""

    @property
    def size(self) -> int:
        """Number of images or seeds, see ``unit``."""

    @property
    def drop(self) -> float:
        """Accuracy before less accuracy after."""

    @property
    def unchanged(self) -> bool:
        """Whether no image of any seed changed."""

    def all_wrong(self) -> Self:
        """The same before, and every image misclassified after."""

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return the bounds of the drop at one-sided level ``alpha``.

        With another ``size`` than its own, the bounds are those that would hold if all shares stayed the same.
        """


@dataclass(frozen=True)
class Verdicts:
    """Two networks on the same images, every image right or wrong."""

    n_regressed: int
    n_improved: int
    n: int
    right: int  # images that were right before
    unit: Literal["images", "seeds"] = "images"

    def all_wrong(self) -> Self:
        return replace(self, n_regressed=self.right, n_improved=0)

    @property
    def size(self) -> int:
        return self.n

    @property
    def drop(self) -> float:
        return (self.n_regressed - self.n_improved) / self.n

    @property
    def unchanged(self) -> bool:
        return not self.n_regressed + self.n_improved

    def bounds(self, alpha: float, size: int) -> Bounds:
        n_regressed = round(self.n_regressed * size / self.n)
        return verdict_bounds(n_regressed, min(round(self.n_improved * size / self.n), size - n_regressed), size, alpha)


@dataclass(frozen=True)
class Shares:
    """Two networks on the same images, every image right in a share of several cells: the mean over corruptions."""

    before: NDArray[np.float64]  # (images,)
    after: NDArray[np.float64]  # (images,)
    unit: Literal["images", "seeds"] = "images"

    def all_wrong(self) -> Self:
        return replace(self, after=np.zeros_like(self.after))

    @property
    def size(self) -> int:
        return len(self.before)

    @property
    def drop(self) -> float:
        return float((self.before - self.after).mean())

    @property
    def unchanged(self) -> bool:
        return bool((self.before == self.after).all())

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return Student's bounds of the drop for ``size`` images, as for two tables of one seed each."""
        low, high = mean_bounds(self.before[np.newaxis], self.after[np.newaxis], alpha)
        narrower = (self.size / size) ** 0.5
        return Bounds(self.drop + (low - self.drop) * narrower, self.drop + (high - self.drop) * narrower)


@dataclass(frozen=True)
class Trainings:
    """Other weights: several seeds before and several after, on the same images."""

    before: NDArray[np.float64]  # (seeds, images)
    after: NDArray[np.float64]  # (other seeds, images)
    unit: Literal["images", "seeds"] = "seeds"

    def all_wrong(self) -> Self:
        return replace(self, after=np.zeros_like(self.after))

    @property
    def size(self) -> int:
        return min(len(self.before), len(self.after))

    @property
    def drop(self) -> float:
        return float(self.before.mean() - self.after.mean())

    @property
    def unchanged(self) -> bool:
        return self.before.shape == self.after.shape and bool((self.before == self.after).all())

    def bounds(self, alpha: float, size: int) -> Bounds:
        return mean_bounds(self.before, self.after, alpha, 0 if size == self.size else size)


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

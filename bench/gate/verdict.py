"""Evidence for a drop in accuracy, and its verdict: PASS, FAIL or NOT ENOUGH EVIDENCE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bench.statistics.accuracy_drop import Bounds, mean_bounds, verdict_bounds
from bench.statistics.power import smallest


class Evidence(Protocol):
    """Evidence for a verdict. Accuracies and drops are fractions."""

    @property
    def unit(self) -> Literal["images", "seeds"]:
        """Unit of ``size``. More images, or more seeds, would make the bounds narrower."""

    @property
    def size(self) -> int:
        """Number of images or seeds, see ``unit``."""

    @property
    def drop(self) -> float:
        """Accuracy before minus accuracy after."""

    @property
    def unchanged(self) -> bool:
        """True if the outcome of every image is the same for every seed."""

    def all_wrong(self) -> Self:
        """Return the evidence with every image misclassified after."""

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return the bounds of the drop at one-sided level ``alpha``.

        The bounds are computed for a sample of ``size`` images or seeds with unchanged shares.
        """


@dataclass(frozen=True)
class ImageEvidence:
    """Outcomes of two networks on the same images, each image correctly classified or misclassified."""

    n_regressed: int
    n_improved: int
    n: int
    right: int  # number of images correctly classified before
    unit: Literal["images", "seeds"] = "images"

    def all_wrong(self) -> Self:
        """Return the evidence with every image misclassified after."""
        return replace(self, n_regressed=self.right, n_improved=0)

    @property
    def size(self) -> int:
        """Number of images."""
        return self.n

    @property
    def drop(self) -> float:
        """Accuracy before minus accuracy after, a fraction."""
        return (self.n_regressed - self.n_improved) / self.n

    @property
    def unchanged(self) -> bool:
        """True if the outcome of every image is the same."""
        return not self.n_regressed + self.n_improved

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return the bounds of :func:`bench.statistics.accuracy_drop.verdict_bounds` for ``size`` images."""
        n_regressed = round(self.n_regressed * size / self.n)
        return verdict_bounds(n_regressed, min(round(self.n_improved * size / self.n), size - n_regressed), size, alpha)


@dataclass(frozen=True)
class ShareEvidence:
    """Outcomes of two networks on the same images over several cells, for the mean over corruptions.

    Each entry is the share of cells, in [0, 1], in which the image is correctly classified.
    """

    before: NDArray[np.float64]  # (images,)
    after: NDArray[np.float64]  # (images,)
    unit: Literal["images", "seeds"] = "images"

    def all_wrong(self) -> Self:
        """Return the evidence with every image misclassified after."""
        return replace(self, after=np.zeros_like(self.after))

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.before)

    @property
    def drop(self) -> float:
        """Accuracy before minus accuracy after, a fraction."""
        return float((self.before - self.after).mean())

    @property
    def unchanged(self) -> bool:
        """True if the share of every image is the same."""
        return bool((self.before == self.after).all())

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return Student's bounds of the drop for ``size`` images, as for two tables of one seed each."""
        low, high = mean_bounds(self.before[np.newaxis], self.after[np.newaxis], alpha)
        narrower = (self.size / size) ** 0.5
        return Bounds(self.drop + (low - self.drop) * narrower, self.drop + (high - self.drop) * narrower)


@dataclass(frozen=True)
class SeedEvidence:
    """Outcomes of retrained weights: several seeds before and several after, on the same images."""

    before: NDArray[np.float64]  # (seeds before, images)
    after: NDArray[np.float64]  # (seeds after, images)
    unit: Literal["images", "seeds"] = "seeds"

    def all_wrong(self) -> Self:
        """Return the evidence with every image misclassified after."""
        return replace(self, after=np.zeros_like(self.after))

    @property
    def size(self) -> int:
        """Number of seeds on the side with fewer seeds."""
        return min(len(self.before), len(self.after))

    @property
    def drop(self) -> float:
        """Mean accuracy before minus mean accuracy after, a fraction."""
        return float(self.before.mean() - self.after.mean())

    @property
    def unchanged(self) -> bool:
        """True if both sides have the same outcomes."""
        return self.before.shape == self.after.shape and bool((self.before == self.after).all())

    def bounds(self, alpha: float, size: int) -> Bounds:
        """Return the bounds of :func:`bench.statistics.accuracy_drop.mean_bounds` for ``size`` seeds."""
        return mean_bounds(self.before, self.after, alpha, 0 if size == self.size else size)


MOST = {"images": 10_000_000, "seeds": 1_000}  # maximum sample sizes in a suggestion


class Verdict(StrEnum):
    """Verdict of a check."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "NOT ENOUGH EVIDENCE"


@dataclass(frozen=True)
class Judgement:
    """A verdict with its figures, in fractions."""

    verdict: Verdict
    drop: float
    low: float  # one-sided lower bound of the drop at confidence 1 − α
    high: float  # one-sided upper bound of the drop at confidence 1 − α
    why: str


def judge(evidence: Evidence, *, alpha: float, tolerance: float) -> Judgement:
    """Return the verdict on a drop in accuracy. ``tolerance`` is a fraction.

    FAIL if low > 0 and drop > tolerance: the drop is beyond chance and beyond the tolerance. PASS if high ≤ tolerance
    or nothing changed: a drop beyond the tolerance is excluded. Otherwise NOT ENOUGH EVIDENCE, and ``why`` gives the
    sample size that would decide. If the true drop is 0, the probability of FAIL is at most ``alpha``.
    """
    bounds = evidence.bounds(alpha, evidence.size)
    verdict = _verdict(evidence, bounds, tolerance)
    return Judgement(verdict, evidence.drop, *bounds, _why(verdict, evidence, alpha, tolerance))


def worst(evidence: Evidence, *, alpha: float, tolerance: float) -> Verdict:
    """Return the verdict in the case that the model misclassifies every image.

    The verdict is PASS if no drop can exceed the tolerance.
    """
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
        return f"no feasible number of {evidence.unit} would decide at these shares"
    return f"about {enough} {evidence.unit} would decide at these shares"


def needed(evidence: Evidence, *, alpha: float, tolerance: float) -> int | None:
    """Return the smallest number of images, or of seeds on both sides, that would decide with the same shares.

    Return None if even ``MOST`` would not decide, because the drop is about as large as the tolerance.
    """

    def decides(size: int) -> bool:
        return _verdict(evidence, evidence.bounds(alpha, size), tolerance) is not Verdict.UNDECIDED

    return smallest(decides, evidence.size, MOST[evidence.unit])

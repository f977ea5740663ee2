"""Sequential check: use the images in the order that the baseline seals, and stop when the verdict is decided.

The verdicts mean the same as those of the check of all images, :func:`bench.gate.verdict.judge`, and hold although the
gate looks after every image. The betting sequences are in :mod:`bench.statistics.betting`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.seeds import derive_seed
from bench.gate.baseline import Baseline, CellOutcomes
from bench.gate.rules import Rules
from bench.gate.verdict import Judgement, Verdict
from bench.statistics.accuracy_drop import Bounds
from bench.statistics.betting import anytime_bounds, exceeds

Counts = NDArray[np.int64]


def sealed_rules(baseline: Baseline, rules: Rules) -> Rules:
    """Return ``rules`` with the level and the tolerances that ``baseline`` seals, if the check is sequential.

    Raise BenchError if the baseline has no plan, and for other tolerances than its own.
    """
    if not rules.sequential:
        return rules
    plan = baseline.sequential
    if plan is None:
        raise BenchError(
            "the baseline was written before the sequential check and has no order of the images; "
            "'bench baseline write' writes it again."
        )
    if rules.tolerances not in ({}, plan.tolerances):
        raise BenchError(
            "tolerances of a sequential check are sealed in the baseline; choose them in 'bench baseline write'."
        )
    return replace(rules, alpha=plan.alpha, tolerances=plan.tolerances)


def sealed_order(seed: str, images: str, n: int) -> Counts:
    """Return the indices of ``n`` images in the order in which a sequential check uses them, (n,).

    It depends on the seed of the plan, on the hash of the images and on nothing else, so that all cells with the same
    images use the same order.
    """
    return np.argsort([derive_seed("gate", seed, images, index) for index in range(n)], kind="stable")


@dataclass(frozen=True)
class Used:
    """Images that a sequential check used, and bounds of the drop over all ``n`` images, as fractions."""

    n_used: int
    n: int
    bounds_of_all: Bounds  # each one-sided, at every number of images at once

    @property
    def text(self) -> str:
        """Number of images, such as ``212 of 1000 images``."""
        return f"{self.n_used} of {self.n} images"


@dataclass(frozen=True)
class ImageSequence:
    """Paired outcomes of two networks in the sealed order. Counts are numbers of cells, in [0, parts]."""

    before: Counts  # (n,)
    after: Counts  # (n,)
    parts: int  # cells per image, see CellOutcomes

    @classmethod
    def of(cls, old: CellOutcomes, new: CellOutcomes, seed: str) -> ImageSequence:
        """Return the outcomes of two cells with the same images in the sealed order."""
        order = sealed_order(seed, old.images, old.n)
        return cls(old.counts[order].astype(np.int64), new.counts[order].astype(np.int64), old.parts)

    def all_wrong(self) -> ImageSequence:
        """Return the outcomes with every image misclassified after."""
        return replace(self, after=np.zeros_like(self.after))

    def first(self, n_used: int) -> ImageSequence:
        """Return the first ``n_used`` outcomes."""
        return replace(self, before=self.before[:n_used], after=self.after[:n_used])

    @property
    def accuracies(self) -> tuple[float, float]:
        """Accuracies before and after, as fractions."""
        return float(self.before.mean() / self.parts), float(self.after.mean() / self.parts)

    @property
    def differences(self) -> NDArray[np.float64]:
        """Paired differences in [−1, 1], (n,); positive if the image was lost."""
        return (self.before - self.after) / self.parts


def decisions(
    differences: NDArray[np.float64], parts: int, *, alpha: float, tolerance: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return after which images FAIL, and after which PASS, is decided, both (…, n). A decision stays.

    ``differences`` (…, n) are all n paired differences, multiples of 1/``parts`` in [−1, 1], in the order of use.
    ``tolerance`` is a fraction.

    FAIL: the drop over all n images is known to exceed the tolerance, and the mean drop of images like these to exceed
    0 (a drop beyond chance). PASS: neither of the two can exceed the tolerance. These are the conditions of
    :func:`bench.gate.verdict.judge`, which knows the drop over all n images. Each condition is wrong with a probability
    of at most ``alpha``, whenever the check stops.
    """
    n = differences.shape[-1]
    allowed = math.floor(tolerance * n * parts + 1e-9)  # largest number of lost outcomes within the tolerance
    lost, gained = differences, -differences
    fails = exceeds(lost, allowed / (n * parts), alpha, n) & exceeds(lost, 0.0, alpha)
    passes = exceeds(gained, -(allowed + 1) / (n * parts), alpha, n) & exceeds(gained, -tolerance, alpha)
    return fails, passes


def decide(outcomes: ImageSequence, *, alpha: float, tolerance: float) -> tuple[Verdict, int]:
    """Return the verdict and the number of images that it used. ``tolerance`` is a fraction.

    The verdict is the first of :func:`decisions`. If all images are used and neither is decided, it is PASS if no image
    changed, and NOT ENOUGH EVIDENCE otherwise.
    """
    x = outcomes.differences
    fails, passes = decisions(x, outcomes.parts, alpha=alpha, tolerance=tolerance)
    decided = np.flatnonzero(fails | passes)
    if len(decided):
        n_used = int(decided[0]) + 1
        return Verdict.FAIL if fails[n_used - 1] else Verdict.PASS, n_used
    return Verdict.UNDECIDED if x.any() else Verdict.PASS, len(x)


def worst_in_sequence(outcomes: ImageSequence, *, alpha: float, tolerance: float) -> Verdict:
    """Return the verdict in the case that the model misclassifies every image, as :func:`bench.gate.verdict.worst`."""
    wrong = outcomes.all_wrong()
    if float(wrong.differences.mean()) <= tolerance:
        return Verdict.PASS
    return decide(wrong, alpha=alpha, tolerance=tolerance)[0]


def judge_in_sequence(outcomes: ImageSequence, *, alpha: float, tolerance: float) -> tuple[Judgement, Used]:
    """Return the verdict of :func:`decide` with its figures, over the images that it used.

    The bounds of the judgement are those of the mean drop of images like these. They hold at every number of images.
    """
    verdict, n_used = decide(outcomes, alpha=alpha, tolerance=tolerance)
    x, n = outcomes.first(n_used).differences, len(outcomes.before)
    used = Used(n_used, n, anytime_bounds(x, alpha, n, outcomes.parts))
    why = _why(verdict, used, changed=bool(x.any()))
    return Judgement(verdict, float(x.mean()), *anytime_bounds(x, alpha), why), used


def _why(verdict: Verdict, used: Used, *, changed: bool) -> str:
    if verdict is Verdict.FAIL:
        at_least = f"at least {100 * used.bounds_of_all.low:.2f} points over all {used.n} images"
        return f"the drop is beyond chance and beyond the tolerance, {at_least}"
    if verdict is Verdict.UNDECIDED:
        return f"all {used.n} images are used and neither verdict is decided"
    return "a drop beyond the tolerance is excluded" if changed or used.n_used < used.n else "no image changed"

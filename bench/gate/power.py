"""Find checks of a baseline whose tolerance is too small for the number of images, or larger than the accuracy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from statistics import fmean

from bench.core.words import pluralize
from bench.gate.baseline import Baseline
from bench.gate.rules import tolerance_of
from bench.gate.verdict import MOST
from bench.statistics.accuracy_drop import verdict_bounds
from bench.statistics.power import smallest


def cannot_fail(baseline: Baseline) -> Iterator[str]:
    """Yield a sentence for every metric whose check can never fail, because its accuracy is at most the tolerance.

    The accuracy is the mean over the runs of one recipe, as in a comparison of retrained weights.
    """
    shares: dict[tuple[tuple[str, str, str], str], list[float]] = defaultdict(list)
    for run in baseline.runs:
        for metric, cell in run.cells.items():
            shares[run.recipe, metric].append(100 * cell.accuracy)
    for ((_, model, variant), metric), accuracies in shares.items():
        accuracy, points = fmean(accuracies), tolerance_of(metric, baseline.tolerances)
        if accuracy <= points:
            yield (
                f"{metric} of {model}:{variant} can never fail: its accuracy of {accuracy:.1f} % is within the "
                f"tolerance of {points:g} points; narrow the tolerance."
            )


def too_fine(baseline: Baseline, alpha: float) -> Iterator[str]:
    """Yield a sentence for every metric for which one newly misclassified image makes the verdict undecided.

    The mean over corruptions is left out, because its resolution depends on the changes of each image's outcomes.
    """
    tolerances = {
        (metric, cell.n, tolerance_of(metric, baseline.tolerances))
        for run in baseline.runs
        for metric, cell in run.cells.items()
        if cell.parts == 1
    }
    for metric, n, points in sorted(tolerances):
        if not resolves(n, points, alpha):
            enough = smallest(partial(resolves, points=points, alpha=alpha), n, MOST["images"])
            yield (
                f"{pluralize(n, 'image')} of {metric} cannot resolve a tolerance of {points:g} points: with one newly "
                f"misclassified image the drop may be {100 * verdict_bounds(1, 0, n, alpha).high:.1f}"
                + ("." if enough is None else f"; {enough} images would.")
            )


def resolves(n: int, points: float, alpha: float) -> bool:
    """Return whether one newly misclassified image of ``n`` still excludes a drop of more than ``points``."""
    return 100 * verdict_bounds(1, 0, n, alpha).high <= points

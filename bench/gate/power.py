"""Resolution of a baseline's checks: a tolerance may be too fine for the images, or as wide as the accuracy itself."""

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
    """A sentence for every metric of which no more can be lost than may be: its check is idle.

    Over the runs of one recipe the mean counts, as it does when they are trained anew.
    """
    shares: dict[tuple[tuple[str, str, str], str], list[float]] = defaultdict(list)
    for run in baseline.runs:
        for metric, cell in run.cells.items():
            shares[run.recipe, metric].append(100 * cell.accuracy)
    for ((_, model, variant), metric), found in shares.items():
        accuracy, points = fmean(found), tolerance_of(metric, baseline.tolerances)
        if accuracy <= points:
            yield (
                f"{metric} of {model}:{variant} can never fail: its accuracy of {accuracy:.1f} % is within the "
                f"tolerance of {points:g} points."
            )


def too_fine(baseline: Baseline, alpha: float) -> Iterator[str]:
    """A sentence for every metric where one lost image would already leave the gate undecided.

    The mean over corruptions is left out: what it resolves depends on how far its images move.
    """
    found = {
        (metric, cell.n, tolerance_of(metric, baseline.tolerances))
        for run in baseline.runs
        for metric, cell in run.cells.items()
        if cell.parts == 1
    }
    for metric, n, points in sorted(found):
        if not resolves(n, points, alpha):
            enough = smallest(partial(resolves, points=points, alpha=alpha), n, MOST["images"])
            yield (
                f"{pluralize(n, 'image')} of {metric} cannot resolve a tolerance of {points:g} points: after one lost "
                f"image the drop may be {100 * verdict_bounds(1, 0, n, alpha).high:.1f}"
                + ("." if enough is None else f"; {enough} images would.")
            )


def resolves(n: int, points: float, alpha: float) -> bool:
    """Whether a drop of more than ``points`` is excluded although one of ``n`` images was lost."""
    return 100 * verdict_bounds(1, 0, n, alpha).high <= points

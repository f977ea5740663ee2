"""A run beside its baseline: for every metric that the baseline names, what its images say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from bench.core.errors import BenchError
from bench.gate.baseline import Baseline, RunOutcomes
from bench.gate.by_image import by_image
from bench.gate.lines import Check, Gate
from bench.gate.over_seeds import over_seeds
from bench.gate.snapshot import Snapshot, name_of
from bench.gate.tolerances import check_tolerances
from bench.statistics.drops import MOST_ALPHA


def check(baseline: Baseline, now: Snapshot, *, alpha: float, tolerances: Mapping[str, float]) -> list[Check]:
    """All lines, in the order of the baseline. ``tolerances`` come before those that the baseline holds.

    The same weights are compared image by image, each seed by itself. Other weights are another draw of the training's
    chance: they are compared over seeds, never by one network's images.
    Raises BenchError for a level that is none, a tolerance that means nothing, and a baseline without a cell.
    """
    metrics = [metric for run in baseline.runs for metric in run.cells]
    if not metrics:
        raise BenchError("the baseline holds no cell, so that nothing would be checked.")
    check_alpha(alpha)
    check_tolerances(tolerances, metrics)
    gate = Gate(alpha, {**baseline.tolerances, **tolerances}, now.failures)
    groups: dict[tuple[str, str, str], list[RunOutcomes]] = defaultdict(list)
    for run in baseline.runs:
        groups[run.recipe].append(run)
    return [line for before in groups.values() for line in _checked(before, _of_recipe(before[0], now), gate)]


def check_alpha(alpha: float) -> None:
    """Raises BenchError for what is no level of a one-sided test."""
    if not 0 < alpha < MOST_ALPHA:
        raise BenchError(f"alpha {alpha} is not between 0 and {MOST_ALPHA}, the level of a one-sided test.")


def unchecked(baseline: Baseline, now: Snapshot) -> list[str]:
    """What was measured and stands in no line: the baseline does not hold it."""
    held = {(run.recipe, metric) for run in baseline.runs for metric in run.cells}
    return [
        f"{name_of(run)} {metric}"
        for run in sorted(now.runs, key=lambda run: (*run.recipe, run.seed))
        for metric in run.cells
        if (run.recipe, metric) not in held
    ]


def _of_recipe(before: RunOutcomes, now: Snapshot) -> list[RunOutcomes]:
    return sorted((run for run in now.runs if run.recipe == before.recipe), key=lambda run: run.seed)


def _checked(before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], gate: Gate) -> list[Check]:
    pairs = [(run, _partner(run, after)) for run in before]
    if _retrained(pairs, after):
        return list(over_seeds(before, after, gate))
    return [line for old, new in pairs for line in by_image(old, new, gate)]


def _partner(run: RunOutcomes, after: Sequence[RunOutcomes]) -> RunOutcomes | None:
    """That of the same seed, else one of the same weights that only the attack's seed tells apart."""
    same = [other for other in after if other.seed == run.seed]
    return next(iter(same or [other for other in after if other.weights_sha == run.weights_sha]), None)


def _retrained(pairs: Sequence[tuple[RunOutcomes, RunOutcomes | None]], after: Sequence[RunOutcomes]) -> bool:
    """Whether any network has other weights than its partner in the baseline, or there are only others."""
    found = [(old, new) for old, new in pairs if new is not None]
    return bool(after) and (not found or any(old.weights_sha != new.weights_sha for old, new in found))

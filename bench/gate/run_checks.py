"""Compare runs with a baseline for every metric of the baseline, and check floors.

A floor is a minimum accuracy of every current network, independent of the baseline.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench.core.errors import BenchError
from bench.core.vocabulary import CLEAN
from bench.core.words import pluralize
from bench.gate.baseline import Baseline, CellOutcomes, RunOutcomes
from bench.gate.checks import NO_RUN, Check, Gate, at_chance, nothing_compared
from bench.gate.rules import CORRUPTIONS, FLOOR, WEIGHTS, Rules, Scope, check_points, named, names_of
from bench.gate.scopes import by_image, over_seeds
from bench.gate.snapshot import Snapshot, name_of
from bench.gate.verdict import Verdict
from bench.leaderboard.corruption_cells import STANDARD_COLUMNS
from bench.statistics.accuracy_drop import share_bounds


def floor_lines(before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], gate: Gate) -> Iterator[Check]:
    """Yield one check per current network and metric with a floor. ``before`` and ``after`` are of one recipe.

    The floor is compared with the measured accuracy. If a lower robust accuracy is known on the same images, the floor
    is compared with this lower accuracy. ``why`` names the compared accuracy, and mentions the one-sided confidence
    bound if the bound is on the other side of the floor.
    """
    metrics = dict.fromkeys(metric for run in (*before, *after) for metric in run.cells)
    for metric in metrics:
        floor = named(metric, gate.rules.floors)
        if floor is None:
            continue
        accuracy_before = next((run.cells[metric].accuracy for run in before if metric in run.cells), None)
        if not after:
            yield Check(
                name_of(before[0]),
                metric,
                Verdict.FAIL,
                NO_RUN,
                before=accuracy_before,
                floor=floor,
                worst=Verdict.FAIL,
            )
        for run in after:
            yield at_chance(
                _line(run, metric, floor, _accuracy(before, run, metric, accuracy_before), gate), _chance(run, gate)
            )


def _chance(run: RunOutcomes, gate: Gate) -> str:
    return gate.at_chance.get(name_of(run), "")


def _accuracy(before: Sequence[RunOutcomes], run: RunOutcomes, metric: str, otherwise: float | None) -> float | None:
    """Return the baseline's accuracy for the same seed, or ``otherwise`` if there is none."""
    same = (old.cells[metric].accuracy for old in before if old.seed == run.seed and metric in old.cells)
    return next(same, otherwise)


def _line(run: RunOutcomes, metric: str, floor: float, before: float | None, gate: Gate) -> Check:
    name, cell = name_of(run), run.cells.get(metric)
    make_check = partial(Check, name, metric, before=before, floor=floor, worst=Verdict.FAIL)
    if (name, metric) in gate.failures:
        return make_check(Verdict.FAIL, gate.failures[name, metric])
    if cell is None:
        return make_check(Verdict.FAIL, "missing: the run has no cell of this metric")
    verdict, why = _against(cell, floor, gate.rules.alpha)
    lower = gate.lowest.get((name, metric))
    if verdict is Verdict.PASS and lower is not None and 100 * lower.accuracy < floor:
        verdict, why = Verdict.FAIL, f"{lower.text} is below the floor {floor:g}"
    if verdict is Verdict.PASS and run.flags and metric != CLEAN and CORRUPTIONS not in names_of(metric):
        flags = ", ".join(f"⚑{flag}" for flag in run.flags)
        verdict, why = Verdict.UNDECIDED, f"the accuracy is an upper bound only ({flags})"
    return make_check(verdict, why, after=cell.accuracy, size=pluralize(cell.n, "image"))


def _against(cell: CellOutcomes, floor: float, alpha: float) -> tuple[Verdict, str]:
    """Compare the measured accuracy with its floor. Report the one-sided bound if it is on the other side."""
    reached = cell.right * 100 >= floor * cell.n * cell.parts
    low, high = share_bounds(cell.right / cell.parts, cell.n, alpha)
    confidence = f"{100 * (1 - alpha):.4g} %"
    if reached:
        bound = "" if low * 100 >= floor else f"; the {confidence} lower confidence bound is {100 * low:.1f} %"
        return Verdict.PASS, f"at or above the floor{bound}"
    bound = "" if high * 100 < floor else f"; the {confidence} upper confidence bound is {100 * high:.1f} %"
    return Verdict.FAIL, f"below the floor{bound}"


def check(baseline: Baseline, now: Snapshot, rules: Rules) -> list[Check]:
    """Return all checks, in the order of the baseline. Tolerances of ``rules`` override tolerances of the baseline.

    Equal weights are compared image by image, separately for each seed. Retrained weights are compared over seeds,
    unless ``rules.scope`` is ``weights``. Recipes that are not in the baseline are compared with the floors only. Every
    failed cell gives a failing check, even if it is not in the baseline. If no check can fail, the result has one more
    failing check.

    Raise BenchError for tolerances and floors without a matching metric, and for a baseline without cells.
    """
    metrics = [metric for run in baseline.runs for metric in run.cells]
    if not metrics:
        raise BenchError("the baseline has no cells, so nothing would be checked; write it from a run with cells.")
    check_points(rules.tolerances, metrics)
    groups = _groups(baseline, now, rules.scope)
    check_points(
        rules.floors, [*metrics, *(m for run in now.runs for m in run.cells), *(m for _, m in now.failures)], FLOOR
    )
    gate = Gate(rules, {**baseline.tolerances, **rules.tolerances}, now.failures, now.at_chance, now.lowest)
    lines = [line for group in groups for line in _checked(group, gate)]
    lines += [line for runs in _new_recipes(baseline, now) for line in floor_lines((), runs, gate)]
    lines += _new_failures(groups, now)
    return lines + nothing_compared(lines, rules)


def unchecked(baseline: Baseline, now: Snapshot, rules: Rules) -> list[str]:
    """Return the measured accuracies that were not compared, because the baseline or the snapshot leaves them out.

    Failed cells are not included, because :func:`check` adds a failing check for each.
    """
    compared = _compared(_groups(baseline, now, rules.scope))
    uncompared = [
        f"{name_of(run)} {metric}"
        for run in sorted(now.runs, key=lambda run: (*run.recipe, run.seed))
        for metric in run.cells
        if (name_of(run), metric) not in compared
    ]
    return uncompared + now.left_out()


@dataclass(frozen=True)
class _Group:
    """The networks of one recipe."""

    before: Sequence[RunOutcomes]
    after: Sequence[RunOutcomes]  # sorted by seed
    partners: Sequence[RunOutcomes | None]  # compared run for each run of ``before``; used in a comparison by image
    over_seeds: bool


def _groups(baseline: Baseline, now: Snapshot, scope: Scope) -> list[_Group]:
    runs: dict[tuple[str, str, str], list[RunOutcomes]] = defaultdict(list)
    for run in baseline.runs:
        runs[run.recipe].append(run)
    return [_group(before, now, scope) for before in runs.values()]


def _new_recipes(baseline: Baseline, now: Snapshot) -> list[list[RunOutcomes]]:
    """Return the current networks whose recipe is not in the baseline, grouped by recipe."""
    known_recipes, runs = {run.recipe for run in baseline.runs}, defaultdict(list)
    for run in now.runs:
        if run.recipe not in known_recipes:
            runs[run.recipe].append(run)
    return list(runs.values())


def _new_failures(groups: Sequence[_Group], now: Snapshot) -> list[Check]:
    """Return a failing check for every failed cell that is not in the baseline.

    All standard corruptions of a network share one check, the check of their mean.
    """
    compared = _compared(groups)
    return [
        Check(name, metric, Verdict.FAIL, f"{why}; not in the baseline")
        for (name, metric), why in sorted(now.failures.items())
        if (name, metric) not in compared and metric not in STANDARD_COLUMNS
    ]


def _group(before: Sequence[RunOutcomes], now: Snapshot, scope: Scope) -> _Group:
    after = sorted((run for run in now.runs if run.recipe == before[0].recipe), key=lambda run: run.seed)
    partners = [_partner(run, after, alone=scope == WEIGHTS and len(before) == len(after) == 1) for run in before]
    return _Group(before, after, partners, scope != WEIGHTS and _retrained(before, partners, after))


def _partner(run: RunOutcomes, after: Sequence[RunOutcomes], *, alone: bool) -> RunOutcomes | None:
    """Return the run of the same seed, or else a run with the same weights and another attack seed.

    ``alone`` means that each side has one run only. These two runs are partners even if their seeds differ.
    """
    same = [candidate for candidate in after if candidate.seed == run.seed]
    return next(
        iter(same or [candidate for candidate in after if alone or candidate.weights_sha == run.weights_sha]), None
    )


def _retrained(
    before: Sequence[RunOutcomes], partners: Sequence[RunOutcomes | None], after: Sequence[RunOutcomes]
) -> bool:
    """Return whether any network has other weights than its partner, or no network has a partner."""
    pairs = [(old, new) for old, new in zip(before, partners, strict=True) if new is not None]
    return bool(after) and (not pairs or any(old.weights_sha != new.weights_sha for old, new in pairs))


def _checked(group: _Group, gate: Gate) -> list[Check]:
    if group.over_seeds:
        lines = list(over_seeds(group.before, group.after, gate))
    else:
        pairs = zip(group.before, group.partners, strict=True)
        lines = [line for old, new in pairs for line in by_image(old, new, gate)]
    return lines + list(floor_lines(group.before, group.after, gate))


def _compared(groups: Sequence[_Group]) -> set[tuple[str, str]]:
    """Return the current run names and metrics that are compared with the baseline."""
    return {(name_of(run), metric) for group in groups for run, metric in _compared_in(group)}


def _compared_in(group: _Group) -> list[tuple[RunOutcomes, str]]:
    if group.over_seeds:
        metrics = {metric for run in group.before for metric in run.cells}
        return [(run, metric) for run in group.after for metric in metrics]
    pairs = zip(group.before, group.partners, strict=True)
    return [(new, metric) for old, new in pairs if new is not None for metric in old.cells]

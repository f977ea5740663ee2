"""Compare runs with a baseline for every metric of the baseline, and check floors.

A floor is a minimum accuracy of each run in the results, independent of the baseline.
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
from bench.gate.checks import NO_RUN, Check, CheckInputs, fail_at_chance, fail_if_idle
from bench.gate.rules import CORRUPTIONS, FLOOR, WEIGHTS, Rules, Scope, check_points, named, names_of
from bench.gate.scopes import by_image, over_seeds
from bench.gate.sequential import sealed_rules
from bench.gate.snapshot import Snapshot, name_of
from bench.gate.verdict import Verdict
from bench.leaderboard.corruption_cells import STANDARD_COLUMNS
from bench.statistics.accuracy_drop import share_bounds


def floor_checks(before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], inputs: CheckInputs) -> Iterator[Check]:
    """Yield one check per current run and metric with a floor. ``before`` and ``after`` are of one recipe.

    The floor is compared with the measured accuracy. If a lower robust accuracy is known on the same images, the floor
    is compared with this lower accuracy. ``why`` names the compared accuracy, and mentions the one-sided confidence
    bound if the bound is on the other side of the floor.
    """
    metrics = dict.fromkeys(metric for run in (*before, *after) for metric in run.cells)
    for metric in metrics:
        floor = named(metric, inputs.rules.floors)
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
            yield fail_at_chance(
                _floor_check(run, metric, floor, _accuracy(before, run, metric, accuracy_before), inputs),
                _chance(run, inputs),
            )


def _chance(run: RunOutcomes, inputs: CheckInputs) -> str:
    return inputs.at_chance.get(name_of(run), "")


def _accuracy(before: Sequence[RunOutcomes], run: RunOutcomes, metric: str, otherwise: float | None) -> float | None:
    """Return the baseline's accuracy for the same seed, or ``otherwise`` if there is none."""
    same = (old.cells[metric].accuracy for old in before if old.seed == run.seed and metric in old.cells)
    return next(same, otherwise)


def _floor_check(run: RunOutcomes, metric: str, floor: float, before: float | None, inputs: CheckInputs) -> Check:
    name, cell = name_of(run), run.cells.get(metric)
    make_check = partial(Check, name, metric, before=before, floor=floor, worst=Verdict.FAIL)
    if (name, metric) in inputs.failures:
        return make_check(Verdict.FAIL, inputs.failures[name, metric])
    if cell is None:
        return make_check(Verdict.FAIL, "missing: the run has no cell of this metric")
    verdict, why = _against(cell, floor, inputs.rules.alpha)
    lower = inputs.lowest.get((name, metric))
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
    failing check. With ``rules.sequential``, comparisons image by image use no more images than needed, with the order,
    the level and the tolerances of the baseline.

    Raise BenchError for tolerances and floors without a matching metric, for a baseline without cells, and as
    :func:`bench.gate.sequential.sealed_rules` does.
    """
    rules = sealed_rules(baseline, rules)
    metrics = [metric for run in baseline.runs for metric in run.cells]
    if not metrics:
        raise BenchError("the baseline has no cells, so nothing would be checked; write it from a run with cells.")
    check_points(rules.tolerances, metrics)
    groups = _groups(baseline, now, rules.scope)
    check_points(
        rules.floors, [*metrics, *(m for run in now.runs for m in run.cells), *(m for _, m in now.failures)], FLOOR
    )
    order = baseline.sequential.order if rules.sequential and baseline.sequential else None
    tolerances = {**baseline.tolerances, **rules.tolerances}
    inputs = CheckInputs(rules, tolerances, now.failures, now.at_chance, now.lowest, order)
    checks = [item for group in groups for item in _checked(group, inputs)]
    checks += [item for runs in _new_recipes(baseline, now) for item in floor_checks((), runs, inputs)]
    checks += _new_failures(groups, now)
    return checks + fail_if_idle(checks, rules)


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
    """Return the current runs whose recipe is not in the baseline, grouped by recipe."""
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


def _checked(group: _Group, inputs: CheckInputs) -> list[Check]:
    if group.over_seeds:
        checks = list(over_seeds(group.before, group.after, inputs))
    else:
        pairs = zip(group.before, group.partners, strict=True)
        checks = [item for old, new in pairs for item in by_image(old, new, inputs)]
    return checks + list(floor_checks(group.before, group.after, inputs))


def _compared(groups: Sequence[_Group]) -> set[tuple[str, str]]:
    """Return the current run names and metrics that are compared with the baseline."""
    return {(name_of(run), metric) for group in groups for run, metric in _compared_in(group)}


def _compared_in(group: _Group) -> list[tuple[RunOutcomes, str]]:
    if group.over_seeds:
        metrics = {metric for run in group.before for metric in run.cells}
        return [(run, metric) for run in group.after for metric in metrics]
    pairs = zip(group.before, group.partners, strict=True)
    return [(new, metric) for old, new in pairs if new is not None for metric in old.cells]

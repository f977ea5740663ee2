"""Scopes of a check: compare two weight files image by image, or two recipes over several seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.checks import Check, CheckInputs, audited, cell_problem, fail_at_chance, judged, judged_in_sequence
from bench.gate.sequential import ImageSequence
from bench.gate.snapshot import name_of
from bench.gate.verdict import Evidence, ImageEvidence, SeedEvidence, ShareEvidence, Verdict


def by_image(before: RunOutcomes, after: RunOutcomes | None, inputs: CheckInputs) -> Iterator[Check]:
    """Yield one check per metric of one network, and a check of its audit. ``after`` is None if the run is missing."""
    chance = "" if after is None else inputs.at_chance.get(name_of(after), "")
    for metric in before.cells:
        yield fail_at_chance(_weights_check(before, after, metric, inputs), chance)
    yield from audited([before], after)


def _weights_check(before: RunOutcomes, after: RunOutcomes | None, metric: str, inputs: CheckInputs) -> Check:
    name, old = name_of(before), before.cells[metric]
    new = after.cells.get(metric) if after is not None else None
    problem = cell_problem(before, after, metric, inputs.failures)
    if problem or after is None or new is None:
        return Check(name, metric, Verdict.FAIL, problem, old.accuracy, None if new is None else new.accuracy)
    if inputs.order is None:
        check = judged(name, metric, _paired(old, new), (old.accuracy, new.accuracy), inputs)
    else:
        check = judged_in_sequence(name, metric, ImageSequence.of(old, new, inputs.order), inputs)
    if before.weights_sha == after.weights_sha:
        return check
    why = f"{check.why}; holds for these files, not for the recipe"
    return replace(check, size=f"{check.size}, different weights", why=why)


def _paired(old: CellOutcomes, new: CellOutcomes) -> Evidence:
    before, after = old.counts, new.counts
    if old.parts > 1:
        return ShareEvidence(before / old.parts, after / new.parts)
    return ImageEvidence(
        n_regressed=int((before > after).sum()), n_improved=int((after > before).sum()), n=old.n, right=old.right
    )


FEWEST_SEEDS = 5  # minimum number of trainings on each side
Training = list[RunOutcomes]  # runs of the same weights, each attacked with its own seed


def over_seeds(before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], inputs: CheckInputs) -> Iterator[Check]:
    """Yield one check per metric over all trainings, and a check of the audit of each current run.

    Runs of the same weights with several attack seeds are one training. An image is correctly classified in a training
    only if it is correctly classified in all of these runs.
    """
    name = name_of(before[0]).rpartition(":")[0]
    chance = "; ".join(f"seed {run.seed} is {why}" for run in after if (why := inputs.at_chance.get(name_of(run))))
    for metric in sorted({metric for run in before for metric in run.cells}):
        yield fail_at_chance(
            _by_seeds(name, metric, [run for run in before if metric in run.cells], after, inputs), chance
        )
    for run in after:
        yield from audited(before, run)


def _by_seeds(
    name: str, metric: str, before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], inputs: CheckInputs
) -> Check:
    """Compare ``after`` with ``before``. All runs of ``before`` have the metric."""
    measured = [run for run in after if metric in run.cells]
    problem = _problem(metric, before, after, inputs)
    if problem:
        return Check(name, metric, Verdict.FAIL, problem, _mean(metric, before), _mean(metric, measured))
    old, new = _trainings(before), _trainings(measured)
    accuracies = float(_table(metric, old).mean()), float(_table(metric, new).mean())
    if len(old) < FEWEST_SEEDS:
        counts = f"a recipe needs {FEWEST_SEEDS} trainings on each side, got {len(old)} and {len(new)}"
        why = f"different weights, nothing was compared: {counts}; scope 'weights' compares these files"
        return Check(name, metric, Verdict.UNDECIDED, why, *accuracies)
    largest, smallest = max(map(len, old)), min(map(len, new))
    if smallest < largest:
        why = f"missing: a training has {smallest} of the {largest} attack seeds that a training of the baseline has"
        return Check(name, metric, Verdict.FAIL, why, *accuracies)
    return judged(name, metric, SeedEvidence(_table(metric, old), _table(metric, new)), accuracies, inputs)


def _problem(metric: str, before: Sequence[RunOutcomes], after: Sequence[RunOutcomes], inputs: CheckInputs) -> str:
    """Return why the two sides cannot be compared, or an empty string.

    Every run is checked. A run may lack the metric only if it was never evaluated for it and another run of the same
    weights has it. The sides are not comparable if trainings of the baseline are missing, because the missing trainings
    may have failed.
    """
    if any(cell_problem(before[0], run, metric, {}) for run in before[1:]):
        return "the baseline's seeds are not comparable: they were measured on different images or with other settings"
    measured = {run.weights_sha for run in after if metric in run.cells}
    for run in after:
        tried = metric in run.cells or (name_of(run), metric) in inputs.failures
        problem = cell_problem(before[0], run, metric, inputs.failures)
        if problem and (tried or run.weights_sha not in measured):
            return f"seed {run.seed}: {problem}"
    trainings = len(_trainings(before))
    missing = trainings - len(_trainings(after))
    return f"missing: {missing} of the baseline's {trainings} trainings" if missing > 0 else ""


def _trainings(runs: Sequence[RunOutcomes]) -> list[Training]:
    """Group the runs by their weights."""
    by_weights: dict[str, Training] = defaultdict(list)
    for run in runs:
        by_weights[run.weights_sha].append(run)
    return list(by_weights.values())


def _mean(metric: str, runs: Sequence[RunOutcomes]) -> float | None:
    """Return the mean accuracy over the runs; None without runs."""
    return float(np.mean([run.cells[metric].accuracy for run in runs])) if runs else None


def _table(metric: str, trainings: Sequence[Training]) -> NDArray[np.float64]:
    """Return shares of correct classifications, (trainings, images). A share is the minimum over the attack seeds."""
    cells = [[run.cells[metric] for run in training] for training in trainings]
    return np.stack([np.min([cell.counts / cell.parts for cell in same], axis=0) for same in cells])

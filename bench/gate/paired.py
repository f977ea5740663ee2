"""Two networks, before and after, image by image: the same weights, or two files of weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.checks import Check, Gate, at_chance, audited, judged
from bench.gate.evidence import Evidence, Shares, Verdicts
from bench.gate.preconditions import cell_problem
from bench.gate.snapshot import name_of
from bench.gate.verdict import Verdict


def by_image(before: RunOutcomes, after: RunOutcomes | None, gate: Gate) -> Iterator[Check]:
    """A line for every metric of one trained network, and one for its audit; ``after`` is None where it is missing."""
    chance = "" if after is None else gate.at_chance.get(name_of(after), "")
    for metric in before.cells:
        yield at_chance(_line(before, after, metric, gate), chance)
    yield from audited([before], after)


def _line(before: RunOutcomes, after: RunOutcomes | None, metric: str, gate: Gate) -> Check:
    name, old = name_of(before), before.cells[metric]
    new = after.cells.get(metric) if after is not None else None
    problem = cell_problem(before, after, metric, gate.failures)
    if problem or after is None or new is None:
        return Check(name, metric, Verdict.FAIL, problem, old.accuracy, None if new is None else new.accuracy)
    line = judged(name, metric, _paired(old, new), (old.accuracy, new.accuracy), gate)
    if before.weights_sha == after.weights_sha:
        return line
    return replace(line, size=f"{line.size}, other weights", why=f"{line.why}; of these files, not of the recipe")


def _paired(old: CellOutcomes, new: CellOutcomes) -> Evidence:
    before, after = old.counts, new.counts
    if old.parts > 1:
        return Shares(before / old.parts, after / new.parts)
    return Verdicts(lost=int((before > after).sum()), gained=int((after > before).sum()), n=old.n, right=old.right)

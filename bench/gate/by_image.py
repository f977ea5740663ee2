"""The same weights before and after, image by image."""

from __future__ import annotations

from collections.abc import Iterator

from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.comparable import cell_problem
from bench.gate.evidence import Evidence, Shares, Verdicts
from bench.gate.lines import Check, Gate, audited, judged
from bench.gate.snapshot import name_of
from bench.gate.verdict import Verdict


def by_image(before: RunOutcomes, after: RunOutcomes | None, gate: Gate) -> Iterator[Check]:
    """A line for every metric of one trained network, and one for its audit; ``after`` is None where it is missing."""
    name = name_of(before)
    for metric, old in before.cells.items():
        problem = cell_problem(before, after, metric, gate.failures)
        if problem or after is None:
            yield Check(name, metric, Verdict.FAIL, problem, before=old.accuracy)
        else:
            new = after.cells[metric]
            yield judged(name, metric, _paired(old, new), (old.accuracy, new.accuracy), gate)
    yield from audited([before], after)


def _paired(old: CellOutcomes, new: CellOutcomes) -> Evidence:
    before, after = old.counts, new.counts
    if old.parts > 1:
        return Shares(before / old.parts, after / new.parts)
    return Verdicts(lost=int((before > after).sum()), gained=int((after > before).sum()), n=old.n)

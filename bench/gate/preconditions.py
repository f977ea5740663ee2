"""Reasons for which a run cannot be compared with its baseline, each in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.core.words import counted
from bench.gate.baseline import CellOutcomes, RunOutcomes
from bench.gate.snapshot import name_of
from bench.results.audit_verdict import FAILED

NO_RUN = "missing: there is no such run, or --run leaves it out"


def cell_problem(
    before: RunOutcomes, after: RunOutcomes | None, metric: str, failures: Mapping[tuple[str, str], str]
) -> str:
    """Return the reason against comparing two numbers, or an empty string. ``failures`` are by run name and metric."""
    if after is None:
        return NO_RUN
    if (name_of(after), metric) in failures:
        return failures[name_of(after), metric]
    if before.data_sha != after.data_sha:
        return f"other test data: {after.data_sha[:12]}, the baseline's are {before.data_sha[:12]}"
    if metric not in after.cells:
        return "missing: the run has no such cell"
    old, new = before.cells[metric], after.cells[metric]
    if old.definition != new.definition:
        return f"measured otherwise: {_difference(old, new)}"
    if (old.images, old.parts) != (new.images, new.parts):
        return f"other images: {counted(new.n, 'image')} here, {old.n} in the baseline"
    return ""


def _difference(old: CellOutcomes, new: CellOutcomes) -> str:
    """The first thing that two definitions do not share."""
    key = next(k for k in sorted({*old.definition, *new.definition}) if old.definition.get(k) != new.definition.get(k))
    return f"{key} {new.definition.get(key, 'not given')}, the baseline's is {old.definition.get(key, 'not given')}"


def audit_problem(before: Sequence[RunOutcomes], after: RunOutcomes | None) -> str:
    """A flag that no run of the baseline has, or an audit that is missed or went wrong; empty if there is none."""
    if after is None:
        return NO_RUN
    new = sorted({*after.flags}.difference(*(run.flags for run in before)))
    if new:
        return f"new: {', '.join(f'⚑{flag}' for flag in new)}"
    if after.audit == FAILED:
        return "the audit went wrong"
    if after.audit is None and any(run.audit is not None for run in before):
        return "there is no audit, and the baseline had one"
    return ""

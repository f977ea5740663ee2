"""``bench run --dry-run``: list the cells with their state, and estimate the time of the pending cells."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from bench.audit.levels import DEFAULT, PASSES
from bench.core.inert import one_line
from bench.core.vocabulary import Exit
from bench.core.words import pluralize
from bench.job import Job
from bench.runtime.files import check_permission


def print_plan(job: Job, *, as_json: bool) -> int:
    """Print the plan and an estimate of its time, and return 0. Every network is built once for the estimate.

    Raises BenchError if the results folder cannot be written, as the run does. Nothing is written.
    """
    if not job.done:
        check_permission(job.config.results)
    rows = list(_rows(job))
    least, most = _estimate(job)
    if as_json:
        print(json.dumps({"cells": rows, "estimate_s": [round(least, 1), round(most, 1)]}, indent=2))
        return Exit.OK
    for line in _table(list(_summarised(rows))):
        print(one_line(line))
    todo = f"{sum(map(len, job.pending.values()))} of {pluralize(len(rows), 'cell')}"
    print(
        f"{todo} and {pluralize(len(job.undiagnosed), 'diagnosis', 'diagnoses')} to do: {least / 60:.1f} min if the "
        f"first query fools every image, {most / 60:.1f} min if no query does{_audits(job)}"
    )
    return Exit.OK


def _audits(job: Job) -> str:
    if job.config.audit == "none":
        return ""
    bound = (
        f"of up to {PASSES} passes for {DEFAULT.images} images" if job.config.audit == "default" else "without a bound"
    )
    return f"; then an audit of every run, {bound}"


def _rows(job: Job) -> Iterator[dict[str, Any]]:
    for run in job.plan:
        pending = {cell.cell_id for cell in job.pending[run.train.run_id]}
        for cell in run.cells:
            n = cell.limit or len(job.dataset.test)
            state = "to do" if cell.cell_id in pending else "cached"
            yield {"state": state, "run": run.train.name, "cell": cell.name, "n": n, "protocol": cell.protocol}


def _summarised(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Merge the severities of a corruption into one row."""
    for _, group in groupby(rows, key=lambda row: (row["run"], row["state"], row["cell"].split("@severity-")[0])):
        members = list(group)
        severities = [row["cell"].rpartition("-")[2] for row in members[1:]]
        yield {**members[0], "cell": ",".join([members[0]["cell"], *severities])}


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Format one line per row, with every column as wide as its longest entry."""
    lines = [[row["state"], row["run"], row["cell"], f"n={row['n']}", row["protocol"]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip()


def _estimate(job: Job) -> tuple[float, float]:
    if job.done:
        return 0.0, 0.0
    from bench.evaluation.cost_estimate import estimate
    from bench.runtime.progress import Progress

    return estimate(job.plan, job.pending, job.undiagnosed, job.context(Progress()))

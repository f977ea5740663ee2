"""``bench verify --all``: check all files of a results folder, and verify all stored adversarial images again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BenchError
from bench.core.records import EvalRecord, RunRecord
from bench.core.vocabulary import Exit
from bench.core.words import pluralize
from bench.results.check_files import FileReport, check_files
from bench.results.store import Store

if TYPE_CHECKING:
    from bench.evaluation.reverify import Verdict

Verify = Callable[[RunRecord, Sequence[EvalRecord]], "list[Verdict]"]
Describe = Callable[["Verdict"], str]


def verify_all(results: Path, *, verify: Verify, describe: Describe, as_json: bool) -> int:
    """Print one line per problem and a summary. Return exit code 1 if there is a problem.

    ``verify`` checks cells of one run with its network, and ``describe`` returns the line of a verdict. The networks of
    runs without stored adversarial images are not loaded. Raises BenchError if there is nothing to check.
    """
    store = Store(results)
    report = check_files(store)
    n_verified, unchecked = 0, list[str]()
    for run in report.runs:
        cells = _with_images(report, run, store)
        if not any(cell.adversarials != "none" for cell in cells):
            continue
        try:
            verdicts = verify(run, cells)
        except BenchError as error:
            unchecked.append(f"{run.run_id} ({run.model}:{run.variant}:{run.seed}): {error}")
            continue
        bad = [verdict for verdict in verdicts if verdict.status == "disagrees"]
        report.problems += [f"{run.run_id} {describe(verdict)}" for verdict in bad]
        n_verified += sum(verdict.n_verified for verdict in verdicts if verdict.encoding != "none")
    if as_json:
        print(json.dumps(_as_data(report, n_verified, unchecked), indent=2))
    else:
        for line in report.problems:
            print(f"PROBLEM {line}")
        for line in unchecked:
            print(f"not verified again: {line}")
        for line in report.unchecked:
            print(f"not checked: {line}")
        print(_summary(report, n_verified, unchecked))
    return Exit.NOT_VERIFIED if report.problems else Exit.OK


def _with_images(report: FileReport, run: RunRecord, store: Store) -> list[EvalRecord]:
    """Return the cells of the current weights that are clean or have stored adversarial images."""
    cells = []
    for path in sorted((store.run_folder(run.run_id) / "cells").glob("*.json")):
        try:
            cell = store.read_cell(run.run_id, path.stem)
        except BenchError:  # reported already
            continue
        if cell is not None and (cell.spec.is_clean or cell.adversarials != "none"):
            cells.append(cell)
    return cells


def _as_data(report: FileReport, n_verified: int, unchecked: Sequence[str]) -> dict[str, object]:
    return {
        "agreed": not report.problems,
        "problems": report.problems,
        "not_verified": list(unchecked),
        "not_checked": report.unchecked,
        "runs": report.n_runs,
        "cells": report.n_cells,
        "files": report.n_files,
        "adversarials": n_verified,
    }


def _summary(report: FileReport, n_verified: int, unchecked: Sequence[str]) -> str:
    checked = (
        f"{pluralize(report.n_runs, 'run')}, {pluralize(report.n_cells, 'cell')} and "
        f"{pluralize(report.n_files, 'file')} checked, {pluralize(n_verified, 'adversarial image')} verified again"
    )
    rest = f"; the images of {pluralize(len(unchecked), 'run')} were not verified again" if unchecked else ""
    return f"{checked}: {pluralize(len(report.problems), 'problem')}{rest}."

"""``bench verify RUN``: the stored adversarial images of a run, checked again without the attacks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from attacks.corruptions import builtin as builtin  # fills the registry
from attacks.corruptions.registry import CORRUPTIONS
from bench.core.errors import BenchError
from bench.core.specs import CorruptionSpec, EvalRecord, RunRecord
from bench.core.vocabulary import Exit
from bench.files import file_sha
from bench.plugin import load_plugins
from bench.store import Store

if TYPE_CHECKING:
    from bench.verification import Verdict

SHOWN = 3  # problems in a line


def verify_command(
    name: str, *, results: Path, data_dir: Path | None, plugin: Sequence[Path], device: str, as_json: bool
) -> int:
    """Returns 0 when all agrees and 1 when something does not.

    Raises BenchError when the run or its data cannot be found, and when it has no stored images.
    """
    load_plugins(plugin)
    store = Store(results)
    run = store.find_run(name)
    cells = sorted(store.cells(run.run_id), key=lambda cell: cell.spec.name)
    if all(cell.adversarials == "none" and cell.spec.corruption is None for cell in cells):
        raise BenchError(
            f"no adversarial images of run {run.run_id} are stored; its 'bench run' again, with --save-adversarials "
            "float32, computes its attacks again and stores them."
        )
    path = store.weights_path(run.run_id)
    changed = run.spec is not None and path.exists() and file_sha(path) != run.weights_sha
    verdicts = [] if changed else _verdicts(run, cells, store, data_dir, device)
    statuses = {verdict.status for verdict in verdicts}
    agreed = bool(statuses & {"verified", "in part"}) and "disagrees" not in statuses
    if as_json:
        listed = [asdict(verdict) for verdict in verdicts]
        print(json.dumps({"run_id": run.run_id, "agreed": agreed, "weights": not changed, "cells": listed}, indent=2))
    elif changed:
        print(f"weights: {path} is not the file that the rows were measured on; nothing else was looked at")
    else:
        print("\n".join(map(_line, verdicts)))
    return Exit.OK if agreed else Exit.NOT_VERIFIED


def _verdicts(
    run: RunRecord, cells: Sequence[EvalRecord], store: Store, data_dir: Path | None, device: str
) -> list[Verdict]:
    from bench.reopen import reopen
    from bench.verification import Verdict, check_cell

    _, built, workshop = reopen(run, store, data_dir=data_dir, device=device)
    found = []
    for cell in cells:
        if cell.weights_sha != run.weights_sha:
            found.append(Verdict(cell_id=cell.cell_id, name=cell.spec.name, status="other weights"))
        elif cell.status != "ok":
            found.append(Verdict(cell_id=cell.cell_id, name=cell.spec.name, status="not ok"))
        elif cell.spec.corruption is not None and not _is_made_here(cell.spec.corruption):
            found.append(Verdict(cell_id=cell.cell_id, name=cell.spec.name, status="not made here"))
        elif cell.spec.attack is not None and cell.adversarials == "none":
            found.append(Verdict(cell_id=cell.cell_id, name=cell.spec.name, status="not stored"))
        else:
            found.append(check_cell(cell, built.classifier, workshop))
    return found


def _is_made_here(spec: CorruptionSpec) -> bool:
    """Whether the corrupted images can be made again."""
    return spec.source == "generated" and spec.version == CORRUPTIONS.get(spec.kind).version


def _line(verdict: Verdict) -> str:
    match verdict.status:
        case "not stored":
            return f"{verdict.name}: no adversarial images are stored"
        case "not made here":
            return f"{verdict.name}: of official files, or of an older definition of the kind; not verified"
        case "not ok":
            return f"{verdict.name}: the cell is not ok, so there is nothing to verify"
        case "other weights":
            return f"{verdict.name}: the cell is of other weights, and its row is on no board"
    what = "adversarials" if verdict.encoding != "none" else "predictions"
    parts = [f"{verdict.n_verified} of {verdict.n} {what} verified"]
    parts += ["in 8 bits"] if verdict.encoding == "uint8" else []
    parts += [f"largest distance {verdict.largest_distance:.6g}"] if verdict.largest_distance is not None else []
    parts += [f"{verdict.n_at_boundary} of them up to rounding"] if verdict.n_at_boundary else []
    parts += ["the others not: no float32 image of them is stored"] if verdict.status == "in part" else []
    line = f"{verdict.name}: {', '.join(parts)}"
    if not verdict.problems:
        return line
    more = f" and {len(verdict.problems) - SHOWN} more" if len(verdict.problems) > SHOWN else ""
    return f"{line}; DISAGREES: {'; '.join(verdict.problems[:SHOWN])}{more}"

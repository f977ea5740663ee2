"""``bench run``: plan, work, tables. torch is imported only when there is work."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.commands.request import RunOptions, make_request
from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.data.split import Dataset
from bench.files import check_writable
from bench.leaderboard import rebuild
from bench.pending import Tally, is_diagnosed, pending_cells
from bench.plan import RunPlan, make_plan
from bench.plugin import load_plugins
from bench.report import board_markdown, board_records
from bench.store import Store


def run_command(
    *,
    plugin: Sequence[Path],
    device: str,
    results: Path,
    dry_run: bool,
    force: bool,
    as_json: bool,
    diagnose: bool,
    **options: Any,
) -> int:
    """Returns the exit code: 0, or 3 when a cell is not ok."""
    if not options["models"]:
        raise BenchError("no model given; name at least one, for example --models resnet18.")
    load_plugins(plugin)
    asked, store = RunOptions(**options), Store(results)
    request, dataset = make_request(asked, {run.model for run in store.runs()})
    plan = make_plan(request)
    pending = {run.train.run_id: pending_cells(run, store, force=force) for run in plan}
    undiagnosed = diagnose and not all(is_diagnosed(run, store, force=force) for run in plan)
    if dry_run:
        return _print_plan(plan, pending, asked, dataset, store, device, as_json=as_json)
    cells = sum(len(run.cells) for run in plan)
    tally = Tally(cached=cells)
    if any(pending.values()) or undiagnosed:
        check_writable(results)
        tally = _work(plan, asked, dataset, store, device, force=force, diagnose=diagnose)
    _print_board(rebuild(store), tally, cells, as_json=as_json)
    return Exit.CELLS_FAILED if tally.bad else Exit.OK


def _work(
    plan: Sequence[RunPlan],
    asked: RunOptions,
    dataset: Dataset,
    store: Store,
    device: str,
    *,
    force: bool,
    diagnose: bool,
) -> Tally:
    from bench.environment import choose_device
    from bench.progress import choose_progress
    from bench.runner import execute
    from bench.workshop import Workshop

    workshop = Workshop(
        dataset=dataset,
        store=store,
        device=choose_device(device),
        progress=choose_progress(),
        checkpoint_path=asked.checkpoint_path,
        auto_batch=asked.batch_size == "auto",
        force=force,
        diagnose=diagnose,
    )
    return execute(plan, workshop)


def _print_board(board: Any, tally: Tally, cells: int, *, as_json: bool) -> None:
    for sentence in tally.bad:
        print(f"not ok: {sentence}", file=sys.stderr)
    if tally.cached == cells and tally.diagnosed:
        line = f"{tally.diagnosed} runs diagnosed; all {cells} cells were already there"
    elif tally.cached == cells:
        line = f"nothing to do: all {cells} cells are already there (--force computes them again)"
    else:
        line = f"{tally.trained} trained, {tally.evaluated} of {cells} cells computed, {tally.cached} already there"
    print(line, file=sys.stderr)
    if as_json:
        summary = {"trained": tally.trained, "evaluated": tally.evaluated, "cached": tally.cached, "bad": tally.bad}
        print(json.dumps({**summary, "leaderboard": board_records(board)}, indent=2))
    else:
        print(board_markdown(board))


def _print_plan(
    plan: Sequence[RunPlan],
    pending: dict[str, Any],
    asked: RunOptions,
    dataset: Dataset,
    store: Store,
    device: str,
    *,
    as_json: bool,
) -> int:
    """Every cell, whether it is there, and how long the rest would take."""
    rows = []
    for run in plan:
        todo = {cell.cell_id for cell in pending[run.train.run_id]}
        for cell in run.cells:
            n = cell.limit or len(dataset.test)
            state = "to do" if cell.cell_id in todo else "cached"
            rows.append({"state": state, "run": run.train.name, "cell": cell.name, "n": n, "protocol": cell.protocol})
    least, most = _estimate(plan, pending, asked, dataset, store, device)
    if as_json:
        print(json.dumps({"cells": rows, "estimate_s": [round(least, 1), round(most, 1)]}, indent=2))
        return Exit.OK
    for row in rows:
        print("{state:7} {run:32} {cell:28} n={n:<6} {protocol}".format_map(row))
    todo_count = sum(map(len, pending.values()))
    print(
        f"{todo_count} of {len(rows)} cells to do: {least / 60:.1f} min if every image breaks at once, "
        f"{most / 60:.1f} min if none ever does"
    )
    return Exit.OK


def _estimate(
    plan: Sequence[RunPlan], pending: dict[str, Any], asked: RunOptions, dataset: Dataset, store: Store, device: str
) -> tuple[float, float]:
    if not any(pending.values()):
        return 0.0, 0.0
    from bench.environment import choose_device
    from bench.estimate import estimate
    from bench.progress import Progress
    from bench.workshop import Workshop

    return estimate(
        plan,
        pending,
        Workshop(
            dataset=dataset,
            store=store,
            device=choose_device(device),
            progress=Progress(),
            checkpoint_path=asked.checkpoint_path,
        ),
    )

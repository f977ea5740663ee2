"""``bench verify``: verify the stored adversarial images of a run, or all files of a results folder."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.attacks.corruptions import builtin as builtin  # fills the registry
from bench.attacks.corruptions.registry import CORRUPTIONS, can_make
from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.inert import one_line
from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import CorruptionSpec
from bench.core.vocabulary import Exit
from bench.data.corrupted.choose import code_sha_of
from bench.data.sampling import sampling_version
from bench.results.store import Store
from bench.runtime.files import file_sha
from bench.runtime.input_files import exists
from bench.runtime.plugin import load_plugins

if TYPE_CHECKING:
    from torch import nn

    from bench.context import RunContext
    from bench.evaluation.reverify import Status, Verdict

SHOWN = 3  # maximum number of problems per line


@cli.command(
    "verify",
    examples=(
        "bench verify resnet18:lpc:0",
        "bench verify --all --results results",
    ),
)
@click.argument("name", metavar="RUN", required=False)
@config_options(RunConfig, only=("results", "data_dir", "device", "plugin"))
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="check the hash of every file of all runs, and verify all stored adversarial images",
)
@json_option
def verify_command(
    name: str | None,
    *,
    results: Path,
    data_dir: Path | None,
    plugin: Sequence[Path],
    device: str,
    everything: bool,
    as_json: bool,
) -> int:
    """Verify the stored adversarial images of a run without running an attack.

    Each image must lie in the box and in the ε-ball, and must be misclassified by the stored weights.

    With --all, every file of the results folder is checked: records, weights, outcomes, adversarial images and
    corrupted images. One line per problem, and exit code 1 if there is one.
    """
    load_plugins(plugin)
    store = Store(results)
    if (name is None) != everything:
        raise BenchError("give either a RUN or --all; 'bench verify --all' checks all runs of --results.")
    if name is None:
        from bench.cli.verify_all import verify_all

        def verify(run: RunRecord, cells: Sequence[EvalRecord]) -> list[Verdict]:
            return _verdicts(run, cells, store, data_dir, device)

        return verify_all(results, verify=verify, describe=_line, as_json=as_json)
    run = store.find_run(name)
    cells = sorted(store.cells(run.run_id), key=lambda cell: cell.spec.name)
    if all(cell.adversarials == "none" and cell.spec.corruption is None for cell in cells):
        raise BenchError(
            f"no adversarial images of run {run.run_id} are stored; the command of the run, with --save-adversarials "
            "float32, computes its attacks again and stores them."
        )
    path = store.network_path(run)
    changed = exists(path) and file_sha(path) != run.weights_sha
    verdicts = [] if changed else _verdicts(run, cells, store, data_dir, device)
    statuses = {verdict.status for verdict in verdicts}
    agreed = bool(statuses & {"verified", "in part"}) and "disagrees" not in statuses
    if as_json:
        cells_json = [asdict(verdict) for verdict in verdicts]
        print(
            json.dumps({"run_id": run.run_id, "agreed": agreed, "weights": not changed, "cells": cells_json}, indent=2)
        )
    elif changed:
        print(f"weights: {path} is not the file with which the rows were measured; nothing else was checked")
    else:
        print("\n".join(one_line(_line(verdict)) for verdict in verdicts))
    return Exit.OK if agreed else Exit.NOT_VERIFIED


def _verdicts(
    run: RunRecord, cells: Sequence[EvalRecord], store: Store, data_dir: Path | None, device: str
) -> list[Verdict]:
    from bench.evaluation.load_run import reopen

    reopened = reopen(run, store, data_dir=data_dir, device=device)
    verdicts = []
    title, total = f"verify {run.model}:{run.variant}:{run.seed}", sum(cell.n for cell in cells)
    with reopened.context.progress.stage(title, total=total, unit="images") as stage:
        for kind, group in groupby(cells, key=lambda cell: cell.spec.corruption and cell.spec.corruption.kind):
            with (
                _scratch() if kind else contextlib.nullcontext() as folder
            ):  # so that only one kind is stored on disk at a time
                fresh_context = replace(reopened.context, corrupted_folder=folder, _corrupted={})
                for cell in group:
                    verdicts.append(_verdict(run, cell, reopened.model, fresh_context))
                    stage.advance(cell.n)
    return verdicts


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Yield a temporary folder for corrupted images, because stored ones may be damaged or not writable."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="collapse-bench-", ignore_cleanup_errors=True)
    except OSError as error:
        raise BenchError(f"no temporary folder for corrupted images: {error.strerror or error}.") from error
    with folder as name:
        yield Path(name)


def _verdict(run: RunRecord, cell: EvalRecord, model: nn.Module, context: RunContext) -> Verdict:
    from bench.evaluation.reverify import Verdict, check_cell

    status: Status | None = None
    if cell.weights_sha != run.weights_sha:
        status = "other weights"
    elif cell.status != "ok":
        status = "not ok"
    elif cell.spec.limit is not None and cell.spec.sampling != sampling_version(context.dataset.test.labels):
        status = "other sample"
    elif cell.spec.corruption is not None and not _is_made_here(cell.spec.corruption):
        status = "not made here"
    if status is None:
        return check_cell(cell, model, context)
    return Verdict(cell_id=cell.cell_id, name=cell.spec.name, status=status)


def _is_made_here(spec: CorruptionSpec) -> bool:
    """Return whether the same corrupted images can be generated again."""
    return (
        spec.source == "generated"
        and spec.kind in CORRUPTIONS
        and spec.code_sha == code_sha_of(spec.kind)
        and spec.version == CORRUPTIONS.get(spec.kind).version
        and can_make(spec.kind, spec.files_sha)
    )


def _line(verdict: Verdict) -> str:
    match verdict.status:
        case "not stored":
            return f"{verdict.name}: no adversarial images are stored; its clean predictions agree"
        case "not made here":
            origins = "official files, from another definition of the kind, or from photographs that are not installed"
            return f"{verdict.name}: images are from {origins}; not verified"
        case "other sample":
            return f"{verdict.name}: its images were sampled by another version of the sampling; not verified"
        case "not ok":
            return f"{verdict.name}: the cell is not ok; nothing to verify"
        case "other weights":
            return f"{verdict.name}: the cell belongs to other weights and is not on the leaderboard; not verified"
    what = "adversarials" if verdict.encoding != "none" else "predictions"
    parts = [f"{verdict.n_verified} of {verdict.n} {what} verified"]
    parts += ["in 8 bits"] if verdict.encoding == "uint8" else []
    parts += [f"largest distance {verdict.largest_distance:.6g}"] if verdict.largest_distance is not None else []
    parts += [f"{verdict.n_at_boundary} of them up to rounding"] if verdict.n_at_boundary else []
    parts += (
        ["the others cannot be verified because their float32 images are not stored"]
        if verdict.status == "in part"
        else []
    )
    line = f"{verdict.name}: {', '.join(parts)}"
    if not verdict.problems:
        return line
    more = f" and {len(verdict.problems) - SHOWN} more" if len(verdict.problems) > SHOWN else ""
    return f"{line}; DISAGREES: {'; '.join(verdict.problems[:SHOWN])}{more}"

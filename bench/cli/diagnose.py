"""``bench diagnose RUN``: show the diagnosis of a run. It is measured if none is stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from tabulate import tabulate

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.columns import (
    COLLAPSE_COLUMNS,
    DIAGNOSTIC_COLUMNS,
    INTERVAL_COLUMNS,
    INTERVAL_SUFFIXES,
    TEST_IMAGE_COLUMNS,
    TRAIN_SUFFIX,
)
from bench.core.inert import json_text, markdown, one_line
from bench.core.records import DiagnosisRecord, RunRecord
from bench.core.vocabulary import Exit
from bench.diagnostics.registry import DIAGNOSTICS, plugin_codes
from bench.leaderboard.write_tables import rebuild
from bench.planning.resume import stale_columns
from bench.results.record_files import dump_record
from bench.results.shared_work import SharedWork
from bench.results.store import Store
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins


@cli.command(
    "diagnose",
    examples=(
        "bench diagnose resnet18:lpc:0",
        "bench diagnose resnet18:lpc:0 --device cpu --json",
    ),
)
@click.argument("name", metavar="RUN")
@config_options(RunConfig, only=("results", "data_dir", "device", "plugin"))
@click.option("--force", is_flag=True, help="measure again, even if a diagnosis is stored")
@json_option
def diagnose_command(
    name: str,
    *,
    results: Path,
    data_dir: Path | None,
    plugin: Sequence[Path],
    device: str,
    force: bool,
    as_json: bool,
) -> int:
    """Measure latent collapse, gradient norms and DeepFool distances of a run."""
    load_plugins(plugin)
    store = Store(results)
    run = store.find_run(name)
    record = None if force else _stored(run, store)
    if record is None:
        check_writable(results)
        with SharedWork(store).alone(store.diagnosis_path(run.run_id)):
            record = None if force else _stored(run, store)  # another process may have measured it meanwhile
            record = record or _measure(run, store, data_dir, device, force=force)
        rebuild(store)
    if as_json:
        print(json_text(dump_record(record).decode()), end="")
    else:
        print(_table(run, record))
    return Exit.OK if record.status == "ok" else Exit.CELLS_FAILED


def _stored(run: RunRecord, store: Store) -> DiagnosisRecord | None:
    """Return the stored diagnosis if it is complete."""
    record = store.read_diagnosis(run.run_id)
    return record if record and record.status == "ok" and not stale_columns(record, plugin_codes()) else None


def _measure(run: RunRecord, store: Store, data_dir: Path | None, device: str, *, force: bool) -> DiagnosisRecord:
    from bench.diagnostics.diagnose import diagnose
    from bench.evaluation.load_run import reopen_trained

    spec, model, context = reopen_trained(run, store, data_dir=data_dir, device=device)
    return diagnose(model, run.run_id, run.weights_sha, spec.data.train_limit, context, force=force)


def _table(run: RunRecord, record: DiagnosisRecord) -> str:
    """Format the diagnosis as a table: quantities on test and training images, then quantities on test images only."""
    if record.status != "ok":
        name = f"{run.model}:{run.variant}:{run.seed}"
        return one_line(f"{name} has no diagnosis: {record.reason}: {record.message}")
    latents = [
        (markdown(name), _cell(record, name), _cell(record, name + TRAIN_SUFFIX), meaning)
        for name, meaning in {**COLLAPSE_COLUMNS, **_of_plugins(record)}.items()
    ]
    on_test = [(name, _cell(record, name), "", meaning) for name, meaning in TEST_IMAGE_COLUMNS.items()]
    counts = ", ".join(f"{column} = {count}" for column, count in record.images.items())
    title = one_line(f"{run.model}:{run.variant}:{run.seed} on {run.dataset} ({run.run_id}); {counts}")
    headers = ("quantity", "test", "training", "meaning")
    table = tabulate([*latents, *on_test], headers, tablefmt="pipe", disable_numparse=True)
    notes = [one_line(f"{column} is undefined: {reason}") for column, reason in record.undefined.items()]
    missing = [column for column in COLLAPSE_COLUMNS if column not in record.values]
    if missing:
        notes.append(f"not measured by the version that made this diagnosis: {', '.join(missing)}; use --force.")
    return "\n".join([title, "", table, *notes])


def _of_plugins(record: DiagnosisRecord) -> dict[str, str]:
    """Return the columns of plug-in diagnostics with their definitions, as far as the plug-ins are loaded."""
    plugin_columns = record.values.keys() - DIAGNOSTIC_COLUMNS.keys()
    names = {column: column.removeprefix("collapse_") for column in plugin_columns if not column.endswith(TRAIN_SUFFIX)}
    return {
        column: DIAGNOSTICS.get(name).definition if name in DIAGNOSTICS else "diagnostic of a plug-in"
        for column, name in sorted(names.items())
    }


def _cell(record: DiagnosisRecord, column: str) -> str:
    """Format a value with its interval, if the column has an interval. Unknown ends are left empty."""
    value = _number(record, column)
    if column not in INTERVAL_COLUMNS:
        return value
    ends = [_number(record, column + suffix) for suffix in INTERVAL_SUFFIXES]
    return f"{value} [{', '.join(ends)}]".lstrip() if any(ends) else value


def _number(record: DiagnosisRecord, column: str) -> str:
    value = record.values.get(column)
    return "" if value is None else f"{value:.4g}"

"""``bench show``: print all stored information on a run, or the duplicate images of a data set."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig
from bench.core.inert import markdown, one_line
from bench.core.records import EvalRecord
from bench.core.vocabulary import Exit, marks
from bench.leaderboard.labels import lowest_accuracy_texts, status_texts
from bench.leaderboard.lowest_known import lowest_accuracies
from bench.results.audit_summary import audit_sentence
from bench.results.outcomes import Outcomes
from bench.results.precedence import runs_at_chance
from bench.results.record_files import dump_record
from bench.results.results_csv import lowest_accuracy_at, result_row
from bench.results.store import Store
from bench.runtime.plugin import load_plugins
from bench.statistics.intervals import wilson_interval


@cli.command(
    "show",
    examples=(
        "bench show resnet18:lpc:0",
        "bench show duplicates --dataset digits",
    ),
)
@click.argument("name", metavar="RUN|duplicates")
@config_options(RunConfig, only=("results", "data_dir", "image_size", "plugin"))
@json_option
@click.option("--dataset", help="data set of 'show duplicates'")
def show_command(name: str, results: Path, as_json: bool, plugin: tuple[Path, ...], **options: Any) -> int:
    """Show a run, or the duplicate images of a data set.

    RUN is a prefix of the run id, or model:variant[:seed]. 'duplicates' lists the test images of --dataset that are
    equal to training images or to other test images.
    """
    load_plugins(plugin)
    if name == "duplicates":
        from bench.cli.show_duplicates import show_duplicates

        return show_duplicates(**options, as_json=as_json)
    return _show_run(name, results=results, as_json=as_json)


def _show_run(name: str, *, results: Path, as_json: bool) -> int:
    """Print all stored information on a run. Raises BenchError unless ``name`` matches exactly one run."""
    store = Store(results)
    run = store.find_run(name)
    cells = store.cells(run.run_id)
    current_cells = [cell for cell in cells if cell.weights_sha == run.weights_sha]
    at_chance = runs_at_chance((run, cell) for cell in current_cells)
    texts = status_texts(run, current_cells, store)
    if as_json:
        audits = {(run.run_id, audit.data_sha): audit for audit in store.audits(run.run_id)}
        lowest = lowest_accuracies([(run, cell) for cell in current_cells], audits, Outcomes(store))
        rows = [
            result_row(
                run, c, at_chance=(run.run_id, c.spec.data_sha) in at_chance, lowest=lowest_accuracy_at(c, lowest)
            )
            for c in cells
        ]
        content = {"run": json.loads(dump_record(run)), "cells": rows, "labels": texts}
        print(json.dumps(content, indent=2))
        return Exit.OK
    skipped = ("spec", "environment", "history", "source")
    facts = [(key, value) for key, value in vars(run).items() if key not in skipped and value not in ("", None)]
    facts += [(f"last epoch's {key}", value) for key, value in vars(run.history[-1]).items()] if run.history else []
    facts += [("source", f"{run.source.kind} {run.source.file} {run.source.origin}".strip())] if run.source else []
    facts += [(f"source, note {i + 1}", note) for i, note in enumerate(run.source.notes)] if run.source else []
    facts += list(vars(run.environment).items())
    facts += texts.items()
    shown = [(one_line(key), one_line(str(value))) for key, value in facts]
    print(tabulate(shown, tablefmt="plain", disable_numparse=True))
    print()
    passes = "forward + backward passes per (attacked) image"
    headers = ("cell", "accuracy, 95 % interval", "misclassified", passes, "seconds", "notes")
    run_notes = run.source.notes if run.source else ()
    lines = [_line(cell, run_notes) for cell in sorted(cells, key=lambda c: c.spec.name)]
    print(tabulate(lines, headers, tablefmt="pipe", disable_numparse=True))
    for column, text in lowest_accuracy_texts(run, current_cells, store):
        print(f"\n{one_line(f'{column}: {text}')}")
    for audit in store.audits(run.run_id):
        text = audit_sentence(run, audit, at_chance=(run.run_id, audit.data_sha) in at_chance)
        print(f"\n{one_line(f'audit: {text}')}")
    return Exit.OK


def _line(cell: EvalRecord, run_notes: Collection[str]) -> tuple[str, ...]:
    """Return the row of a cell, without notes that are already shown for the run.

    Passes are per attacked image, or per image for a cell without an attack.
    """
    title = markdown(cell.spec.name)
    if cell.n_correct is None:
        message = markdown(cell.message)
        return (title, markdown(f"{cell.status}: {cell.reason}"), "", "", f"{cell.time_s:.1f}", message)
    low, high = wilson_interval(cell.n_correct, cell.n)
    accuracy = f"{100 * cell.n_correct / cell.n:.1f} [{100 * low:.1f}, {100 * high:.1f}] n={cell.n}"
    accuracy += markdown(marks(cell.flags))
    notes = markdown("; ".join(note for note in cell.notes if note not in run_notes))
    n_images = cell.n if cell.spec.attack is None else max(cell.n_attacked, 1)
    passes = f"{cell.n_forwards / n_images:.0f} + {cell.n_backwards / n_images:.0f}"
    return (title, accuracy, f"{cell.n - cell.n_correct} of {cell.n}", passes, f"{cell.time_s:.1f}", notes)

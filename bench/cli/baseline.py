"""``bench baseline``: write the outcomes of runs to a baseline file, or show a baseline file. Does not import torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
from tabulate import tabulate

from bench.cli.config_options import Decimal, config_options
from bench.cli.group import cli
from bench.cli.options import baseline_option, json_option, list_option, run_option, tolerance_option
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.inert import markdown
from bench.core.vocabulary import DEFAULT_ALPHA, Exit
from bench.core.words import pluralize
from bench.gate.baseline import Baseline, dump_baseline, make_baseline, read_baseline, write_baseline
from bench.gate.power import cannot_fail, too_fine
from bench.gate.rules import check_points, names_of, parse_points, tolerance_of
from bench.gate.snapshot import Snapshot, choose, name_of, take_snapshot
from bench.results.store import Store
from bench.runtime.console import say
from bench.runtime.input_files import is_file

HEADERS = ("run", "metric", "n", "accuracy", "tolerance", "audit", "flags")


@cli.command(
    "baseline",
    examples=(
        "bench baseline write --baseline robustness.json",
        "bench baseline show --baseline robustness.json",
    ),
)
@click.argument("action", type=click.Choice(("write", "show")))
@config_options(RunConfig, only=("results",))
@baseline_option
@run_option
@list_option("--cells", help="metrics to store, named as in --tolerance or leaderboard.csv; wildcards  [default: all]")
@tolerance_option
@click.option(
    "--alpha",
    type=Decimal(0, 0.5, min_open=True, max_open=True),
    help="level of a later check, to warn of tolerances that are too small for the number of images; stored for "
    f"'bench check --sequential'  [default: the file's, or {DEFAULT_ALPHA}]",
)
@json_option
def baseline_command(
    action: str,
    *,
    baseline: Path,
    run: Sequence[str],
    results: Path,
    cells: Sequence[str],
    tolerance: Sequence[str],
    alpha: float | None,
    as_json: bool,
) -> int:
    """Write the outcomes of runs as a baseline for 'bench check', or show one."""
    if action == "write":
        snapshot = take_snapshot(Store(results), run)
        content = _make(baseline, snapshot, cells, tolerance, alpha)
        write_baseline(baseline, content)
        for name, sentence in snapshot.at_chance.items():
            say(f"warning: {name} is {sentence}: a check of such a model always fails.")
        for sentence in snapshot.left_out():
            say(f"warning: not in the baseline: {sentence}")
        n_cells = sum(len(stored.cells) for stored in content.runs)
        say(f"{baseline}: {pluralize(n_cells, 'cell')} of {pluralize(len(content.runs), 'run')}")
    elif run or cells or tolerance:
        raise BenchError("--run, --cells and --tolerance are for 'bench baseline write', not for 'show'.")
    else:
        content = read_baseline(baseline)
    for sentence in (*cannot_fail(content), *too_fine(content, _level(content) if alpha is None else alpha)):
        say(f"warning: {sentence}")
    print(json.dumps(json.loads(dump_baseline(content)), indent=2) if as_json else _table(content))
    return Exit.OK


def _make(
    path: Path, snapshot: Snapshot, patterns: Sequence[str], tolerance: Sequence[str], alpha: float | None
) -> Baseline:
    """Create the baseline. The level and the tolerances of the replaced file are kept, for metrics that still exist."""
    runs = choose(snapshot, patterns)
    metrics = [metric for run in runs for metric in run.cells]
    new_tolerances = parse_points(tolerance)
    check_points(new_tolerances, metrics)
    old = read_baseline(path) if is_file(path) else None
    old_tolerances = old.tolerances if old is not None else {}
    metric_names = {name for metric in metrics for name in names_of(metric)}
    kept = {
        name: points for name, points in old_tolerances.items() if name in metric_names and name not in new_tolerances
    }
    for word, tolerances in (
        ("kept", kept),
        ("dropped, because no metric has this name", old_tolerances.keys() - metric_names),
    ):
        if tolerances:
            say(f"{path}: tolerances {word}: {', '.join(sorted(tolerances))}")
    return make_baseline(runs, {**kept, **new_tolerances}, _level(old) if alpha is None else alpha)


def _level(baseline: Baseline | None) -> float:
    """Return the level that a baseline stores, or the default."""
    return DEFAULT_ALPHA if baseline is None or baseline.sequential is None else baseline.sequential.alpha


def _table(baseline: Baseline) -> str:
    rows = [
        (
            markdown(name_of(run)),
            markdown(metric),
            str(cell.n),
            f"{100 * cell.accuracy:.1f}",
            f"{tolerance_of(metric, baseline.tolerances):g}",
            markdown(run.audit or ""),
            markdown(";".join(run.flags)),
        )
        for run in baseline.runs
        for metric, cell in run.cells.items()
    ]
    table: str = tabulate(rows, HEADERS, tablefmt="pipe", disable_numparse=True)
    return table

"""``bench baseline``: write a run's outcomes as a baseline file, or show such a file. No torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from tabulate import tabulate

from bench.cli.config_options import config_options
from bench.cli.group import cli
from bench.cli.options import baseline_option, json_option, names, run_option, tolerance_option
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.vocabulary import DEFAULT_ALPHA, Exit
from bench.core.words import pluralize
from bench.gate.baseline import Baseline, dump_baseline, make_baseline, read_baseline, write_baseline
from bench.gate.power import cannot_fail, too_fine
from bench.gate.rules import check_points, names_of, parse_points, tolerance_of
from bench.gate.snapshot import Snapshot, choose, name_of, take_snapshot
from bench.results.store import Store

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
@names("--cells", help="metrics to keep, named as in --tolerance or leaderboard.csv; wildcards  [default: all]")
@tolerance_option
@click.option(
    "--alpha",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    default=DEFAULT_ALPHA,
    show_default=True,
    help="level of the later check; used to warn of tolerances that the images cannot resolve; not stored",
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
    alpha: float,
    as_json: bool,
) -> int:
    """Write the outcomes of runs as a baseline for 'bench check', or show one."""
    if action == "write":
        snapshot = take_snapshot(Store(results), run)
        made = _make(baseline, snapshot, cells, tolerance)
        write_baseline(baseline, made)
        for name, sentence in snapshot.at_chance.items():
            print(f"warning: {name} is {sentence}: a check of such a model always fails.", file=sys.stderr)
        for sentence in snapshot.left_out():
            print(f"warning: not in the baseline: {sentence}", file=sys.stderr)
        kept = sum(len(found.cells) for found in made.runs)
        print(f"{baseline}: {pluralize(kept, 'cell')} of {pluralize(len(made.runs), 'run')}", file=sys.stderr)
    elif run or cells or tolerance:
        raise BenchError("--run, --cells and --tolerance are for 'bench baseline write', not for 'show'.")
    else:
        made = read_baseline(baseline)
    for sentence in (*cannot_fail(made), *too_fine(made, alpha)):
        print(f"warning: {sentence}", file=sys.stderr)
    print(json.dumps(json.loads(dump_baseline(made)), indent=2) if as_json else _table(made))
    return Exit.OK


def _make(path: Path, snapshot: Snapshot, patterns: Sequence[str], tolerance: Sequence[str]) -> Baseline:
    """Return the baseline, with the tolerances of the file that it replaces if their metrics still exist."""
    runs = choose(snapshot, patterns)
    metrics = [metric for run in runs for metric in run.cells]
    given = parse_points(tolerance)
    check_points(given, metrics)
    before = read_baseline(path).tolerances if path.exists() else {}
    known = {name for metric in metrics for name in names_of(metric)}
    kept = {name: points for name, points in before.items() if name in known and name not in given}
    for word, found in (("kept", kept), ("dropped, because no metric has this name", before.keys() - known)):
        if found:
            print(f"{path}: tolerances {word}: {', '.join(sorted(found))}", file=sys.stderr)
    return make_baseline(runs, {**kept, **given})


def _table(baseline: Baseline) -> str:
    rows = [
        (
            name_of(run),
            metric,
            str(cell.n),
            f"{100 * cell.accuracy:.1f}",
            f"{tolerance_of(metric, baseline.tolerances):g}",
            run.audit or "",
            ";".join(run.flags),
        )
        for run in baseline.runs
        for metric, cell in run.cells.items()
    ]
    table: str = tabulate(rows, HEADERS, tablefmt="pipe", disable_numparse=True)
    return table

"""``bench baseline``: write a run's outcomes as a baseline file, or say what one holds. No torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.core.words import counted
from bench.gate.baseline import Baseline, dump_baseline, make_baseline, read_baseline, write_baseline
from bench.gate.power import cannot_fail, too_fine
from bench.gate.snapshot import Snapshot, choose, name_of, take_snapshot
from bench.gate.tolerances import check_points, names_of, parse_points, tolerance_of
from bench.results.store import Store

HEADERS = ("run", "metric", "n", "accuracy", "tolerance", "audit", "flags")


def baseline_command(
    *,
    baseline: Path,
    update: bool,
    run: Sequence[str],
    results: Path,
    cells: Sequence[str],
    tolerance: Sequence[str],
    alpha: float,
    as_json: bool,
) -> int:
    """Raises BenchError for a run or a file that cannot be read, and for a run with a cell that is not ok."""
    if update:
        snapshot = take_snapshot(Store(results), run)
        made = _make(baseline, snapshot, cells, tolerance)
        write_baseline(baseline, made)
        for name, sentence in snapshot.at_chance.items():
            print(f"warning: {name} is {sentence}: a check of such a model always fails.", file=sys.stderr)
        for sentence in snapshot.left_out():
            print(f"warning: not in the baseline: {sentence}", file=sys.stderr)
        kept = sum(len(found.cells) for found in made.runs)
        print(f"{baseline}: {counted(kept, 'cell')} of {counted(len(made.runs), 'run')}", file=sys.stderr)
    elif run or cells or tolerance:
        raise BenchError("--run, --cells and --tolerance are for --update; without it the baseline is only shown.")
    else:
        made = read_baseline(baseline)
    for sentence in (*cannot_fail(made), *too_fine(made, alpha)):
        print(f"warning: {sentence}", file=sys.stderr)
    print(json.dumps(json.loads(dump_baseline(made)), indent=2) if as_json else _table(made))
    return Exit.OK


def _make(path: Path, snapshot: Snapshot, patterns: Sequence[str], tolerance: Sequence[str]) -> Baseline:
    """With the tolerances of the file that it takes the place of, as far as they still mean something."""
    runs = choose(snapshot, patterns)
    metrics = [metric for run in runs for metric in run.cells]
    given = parse_points(tolerance)
    check_points(given, metrics)
    before = read_baseline(path).tolerances if path.exists() else {}
    known = {name for metric in metrics for name in names_of(metric)}
    kept = {name: points for name, points in before.items() if name in known and name not in given}
    for word, names in (("kept", kept), ("dropped, as nothing is called so", before.keys() - known)):
        if names:
            print(f"{path}: tolerances {word}: {', '.join(sorted(names))}", file=sys.stderr)
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

"""``bench run``: plan, work, tables. torch is imported only when there is work."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.cli.dry_run import print_plan
from bench.cli.tables import tables_as_data, tables_as_text
from bench.core.errors import BenchError
from bench.core.specs import Encoding
from bench.core.vocabulary import Exit
from bench.core.words import counted
from bench.leaderboard.write_tables import Tables, check_reference, write_tables
from bench.planning.job import Job
from bench.planning.plan import make_plan
from bench.planning.request import RunOptions, make_request
from bench.planning.resume import Tally
from bench.results.store import Store
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins


def run_command(
    *,
    plugin: Sequence[Path],
    device: str,
    results: Path,
    dry_run: bool,
    force: bool,
    as_json: bool,
    diagnose: bool,
    audit: str,
    no_audit: bool,
    rank_flagged: bool,
    save_adversarials: Encoding,
    mce_reference: str,
    against: str,
    **options: Any,
) -> int:
    """Returns the exit code: 0, or 3 when a cell is not ok."""
    if not options["models"]:
        raise BenchError("no model given; name at least one, for example --models resnet18.")
    load_plugins(plugin)
    asked, store = RunOptions(**options, device=device), Store(results)
    there = store.runs()
    request, dataset = make_request(asked, {run.model for run in there})
    check_reference(against, {*request.variants, *(run.variant for run in there)})
    job = Job(
        plan=make_plan(request),
        dataset=dataset,
        store=store,
        device=device,
        checkpoint_path=asked.checkpoint_path,
        auto_batch=asked.batch_size == "auto",
        force=force,
        diagnose=diagnose,
        audit="none" if no_audit else audit,
        save_adversarials=save_adversarials,
        corruptions_dir=asked.corruptions_dir,
        eps_texts=request.eps_texts,
    )
    if dry_run:
        return print_plan(job, as_json=as_json)
    tally = Tally(cached=job.cells)
    if not job.done:
        check_writable(results)
        tally = _work(job)
    tables = write_tables(store, mce_reference=mce_reference, rank_flagged=rank_flagged, against=against)
    print_tables(tables, tally, _done(tally, job.cells), as_json=as_json)
    return Exit.CELLS_FAILED if tally.bad else Exit.OK


def _work(job: Job) -> Tally:
    from bench.pipeline import execute
    from bench.runtime.progress import choose_progress

    return execute(job.plan, job.workshop(choose_progress()))


def _done(tally: Tally, cells: int) -> str:
    """Return the last line: how much was computed."""
    if tally.cached == cells and (tally.diagnosed or tally.audited):
        done = f"{counted(tally.diagnosed, 'run')} diagnosed, {tally.audited} audited"
        return f"{done}; {'the only cell was' if cells == 1 else f'all {cells} cells were'} already there"
    if tally.cached == cells:
        there = "the only cell is" if cells == 1 else f"all {cells} cells are"
        return f"nothing to do: {there} already there (--force computes {'it' if cells == 1 else 'them'} again)"
    computed = f"{tally.evaluated} of {counted(cells, 'cell')} computed"
    return f"{tally.trained} trained, {computed}, {tally.cached} already there"


def print_tables(tables: Tables, tally: Tally, line: str, *, as_json: bool) -> None:
    """Print what is not ok and the last line on stderr, the tables on stdout."""
    for sentence in tally.bad:
        print(f"not ok: {sentence}", file=sys.stderr)
    print(line, file=sys.stderr)
    if as_json:
        summary = {
            "trained": tally.trained,
            "evaluated": tally.evaluated,
            "cached": tally.cached,
            "diagnosed": tally.diagnosed,
            "audited": tally.audited,
            "bad": tally.bad,
        }
        print(json.dumps({**summary, **tables_as_data(tables)}, indent=2))
    else:
        print(tables_as_text(tables))

"""``bench run``: make the plan, compute pending cells and write tables. Imports torch only for pending work."""

from __future__ import annotations

import json
from typing import Any

import click

from bench.cli.config_options import config_options, pop_config
from bench.cli.group import cli
from bench.cli.leaderboard import tables_as_data, tables_as_text
from bench.cli.options import config_option, json_option
from bench.config import RunConfig
from bench.core.inert import shell_word
from bench.core.vocabulary import Exit
from bench.core.words import pluralize
from bench.job import Job
from bench.leaderboard.write_tables import Tables, write_tables
from bench.planning.resume import RunSummary
from bench.runtime.console import say
from bench.runtime.interrupt import deferred_signals, time_budget


@cli.command(
    "run",
    examples=(
        "bench run --models resnet18 --variants baseline,lpc --seeds 0,1,2",
        "bench run --config results/run.toml --results again",
    ),
)
@config_options(RunConfig)
@config_option
@click.option("--dry-run", is_flag=True, help="print the plan and an estimate of its time")
@json_option
def run_command(*, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Train every model × variant × seed, attack it, and write the leaderboard."""
    config: RunConfig = pop_config(RunConfig, options)
    if dry_run:
        from bench.cli.dry_run import print_plan

        return print_plan(Job.of(config, dry_run=True), as_json=as_json)
    with time_budget(config.time_budget):  # also of the trials of precisions, which the plan depends on
        return _execute(Job.of(config), as_json=as_json)


def _execute(job: Job, *, as_json: bool) -> int:
    """Execute the job, print its tables, and return the exit code."""
    with deferred_signals():  # also while the tables are written: they are promised after a signal
        summary = job.execute()
        tables = write_tables(job.store, job.config)
        print_tables(tables, summary, _done(summary, job.cells), as_json=as_json)
        return exit_code(summary, force=job.config.force)


def exit_code(summary: RunSummary, *, force: bool) -> int:
    """Return the exit code of a computation. If it was stopped, print how to continue it.

    With ``force``, the same command would begin again, so that a short time budget would never compute all cells.
    """
    failed = Exit.CELLS_FAILED if summary.bad else Exit.OK
    if summary.stopped is None:
        return failed
    words = [word for word in click.get_current_context().find_root().obj if word != "--force"]
    how = "to keep the stored results and compute the rest, instead of all again by --force" if force else "to continue"
    say(f"stopped by {summary.stopped.reason}; {how}: {' '.join(map(shell_word, ['bench', *words]))}")
    return summary.stopped.exit_code or failed


def _done(summary: RunSummary, cells: int) -> str:
    """Return the last line: the numbers of trainings and cells that were computed or already stored."""
    if summary.cached == cells and (summary.diagnosed or summary.audited):
        done = f"{pluralize(summary.diagnosed, 'run')} diagnosed, {summary.audited} audited"
        return f"{done}; {'the only cell was' if cells == 1 else f'all {cells} cells were'} already stored"
    if summary.cached == cells and summary.stopped is None:
        there = "the only cell is" if cells == 1 else f"all {cells} cells are"
        return f"nothing to do: {there} already stored (--force computes {'it' if cells == 1 else 'them'} again)"
    computed = f"{summary.evaluated} of {pluralize(cells, 'cell')} computed"
    others = f", {summary.elsewhere} by other processes" if summary.elsewhere else ""
    return f"{summary.trained} trained, {computed}{others}, {summary.cached} already stored"


def print_tables(tables: Tables, summary: RunSummary, line: str, *, as_json: bool) -> None:
    """Print failures and the last line to stderr, the tables to stdout."""
    for sentence in summary.bad:
        say(f"not ok: {sentence}")
    say(line)
    if as_json:
        counts = {
            "trained": summary.trained,
            "evaluated": summary.evaluated,
            "cached": summary.cached,
            "elsewhere": summary.elsewhere,
            "diagnosed": summary.diagnosed,
            "audited": summary.audited,
            "bad": summary.bad,
        }
        print(json.dumps({**counts, **tables_as_data(tables)}, indent=2))
    else:
        print(tables_as_text(tables))

"""``bench run``: plan, work, tables. torch is imported only when there is work.

``bench run --dry-run``: every cell, whether it is there, and how long the rest would take.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from bench.audit.levels import DEFAULT, PASSES
from bench.cli.group import cli
from bench.cli.leaderboard import tables_as_data, tables_as_text
from bench.cli.options import (
    ATTACKS,
    CORRUPTIONS,
    DATA,
    WORK,
    Count,
    against_option,
    config_option,
    flagged_option,
    json_option,
    names,
    plugin_option,
    results_option,
    with_options,
)
from bench.core.errors import BenchError
from bench.core.specs import Encoding
from bench.core.vocabulary import Exit
from bench.core.words import pluralize
from bench.leaderboard.write_tables import Tables, check_reference, write_tables
from bench.planning.job import Job
from bench.planning.plan import make_plan
from bench.planning.request import RunOptions, make_request
from bench.planning.resume import RunSummary
from bench.results.store import Store
from bench.runtime.files import check_writable
from bench.runtime.plugin import load_plugins


@cli.command("run")
@names("--models", help="timm architectures or registered models; wildcards")
@names("--variants", default=["baseline", "lpc"], show_default="baseline,lpc", help="training-time ideas; wildcards")
@names("--seeds", default=["0"], show_default="0", help="seeds of training and attack")
@with_options(DATA)
@click.option(
    "--limit",
    type=Count("all"),
    help="images of each split, training too; proportional to class  [default: the data set's]",
)
@click.option("--train-limit", type=Count("all"), help="training images, in place of --limit")
@click.option("--recipe", default="auto", show_default=True, help="auto, short, paper, or see 'bench list recipes'")
@click.option("--latent-dim", type=click.IntRange(1, 65536), help="width of penultimate layers  [default: variant's]")
@click.option("--epochs", type=click.IntRange(min=0), help="0 evaluates the first weights  [default: the data set's]")
@click.option("--lr", type=click.FloatRange(min=0, min_open=True), help="learning rate  [default: the data set's]")
@click.option(
    "--train-precision",
    type=click.Choice(("fp32", "bf16")),
    default="fp32",
    show_default=True,
    help="bf16: the backbone's passes in bfloat16 while it trains, several times faster where there is hardware for it",
)
@click.option("--train-eps", help="Linf budget that pgd_at trains at, as in --eps  [default: the data set's largest]")
@click.option("--train-batch-size", type=click.IntRange(min=2), help="training batch  [default: the data set's]")
@click.option("--pretrained", is_flag=True, help="start from timm's weights, normalised as timm does")
@click.option(
    "--checkpoint-path",
    type=click.Path(path_type=Path),
    help="start from local backbone weights; those of timm's architectures are normalised as timm does",
)
@with_options(ATTACKS, CORRUPTIONS, WORK)
@click.option("--diagnose/--no-diagnose", default=True, show_default=True, help="collapse, gradients and DeepFool")
@against_option
@flagged_option
@plugin_option
@config_option
@results_option
@click.option("--dry-run", is_flag=True, help="print the plan and an estimate of its time")
@click.option("--force", is_flag=True, help="compute again what is already there")
@json_option
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
    """Train every model × variant × seed, attack it, and write the leaderboard."""
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
    summary = RunSummary(cached=job.cells)
    if not job.done:
        check_writable(results)
        summary = _work(job)
    tables = write_tables(store, mce_reference=mce_reference, rank_flagged=rank_flagged, against=against)
    print_tables(tables, summary, _done(summary, job.cells), as_json=as_json)
    return Exit.CELLS_FAILED if summary.bad else Exit.OK


def _work(job: Job) -> RunSummary:
    from bench.pipeline import execute
    from bench.runtime.progress import choose_progress

    return execute(job.plan, job.context(choose_progress()))


def _done(summary: RunSummary, cells: int) -> str:
    """Return the last line: how much was computed."""
    if summary.cached == cells and (summary.diagnosed or summary.audited):
        done = f"{pluralize(summary.diagnosed, 'run')} diagnosed, {summary.audited} audited"
        return f"{done}; {'the only cell was' if cells == 1 else f'all {cells} cells were'} already there"
    if summary.cached == cells:
        there = "the only cell is" if cells == 1 else f"all {cells} cells are"
        return f"nothing to do: {there} already there (--force computes {'it' if cells == 1 else 'them'} again)"
    computed = f"{summary.evaluated} of {pluralize(cells, 'cell')} computed"
    return f"{summary.trained} trained, {computed}, {summary.cached} already there"


def print_tables(tables: Tables, summary: RunSummary, line: str, *, as_json: bool) -> None:
    """Print what is not ok and the last line on stderr, the tables on stdout."""
    for sentence in summary.bad:
        print(f"not ok: {sentence}", file=sys.stderr)
    print(line, file=sys.stderr)
    if as_json:
        counts = {
            "trained": summary.trained,
            "evaluated": summary.evaluated,
            "cached": summary.cached,
            "diagnosed": summary.diagnosed,
            "audited": summary.audited,
            "bad": summary.bad,
        }
        print(json.dumps({**counts, **tables_as_data(tables)}, indent=2))
    else:
        print(tables_as_text(tables))


def print_plan(job: Job, *, as_json: bool) -> int:
    """Returns 0. Builds every network, but not for every seed, to time it."""
    rows = list(_rows(job))
    least, most = _estimate(job)
    if as_json:
        print(json.dumps({"cells": rows, "estimate_s": [round(least, 1), round(most, 1)]}, indent=2))
        return Exit.OK
    for line in _table(list(_summarised(rows))):
        print(line)
    todo = f"{sum(map(len, job.pending.values()))} of {pluralize(len(rows), 'cell')}"
    print(
        f"{todo} and {pluralize(len(job.undiagnosed), 'diagnosis', 'diagnoses')} to do: {least / 60:.1f} min if every "
        f"image breaks at once, {most / 60:.1f} min if none ever does{_audits(job)}"
    )
    return Exit.OK


def _audits(job: Job) -> str:
    if job.audit == "none":
        return ""
    bound = f"of up to {PASSES} passes for {DEFAULT.images} images" if job.audit == "default" else "without a bound"
    return f"; then an audit of every run, {bound}"


def _rows(job: Job) -> Iterator[dict[str, Any]]:
    for run in job.plan:
        todo = {cell.cell_id for cell in job.pending[run.train.run_id]}
        for cell in run.cells:
            n = cell.limit or len(job.dataset.test)
            state = "to do" if cell.cell_id in todo else "cached"
            yield {"state": state, "run": run.train.name, "cell": cell.name, "n": n, "protocol": cell.protocol}


def _summarised(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The severities of a corruption as one row."""
    for _, group in groupby(rows, key=lambda row: (row["run"], row["state"], row["cell"].split("@severity-")[0])):
        same = list(group)
        severities = [row["cell"].rpartition("-")[2] for row in same[1:]]
        yield {**same[0], "cell": ",".join([same[0]["cell"], *severities])}


def _table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line a row, every column as wide as its longest entry."""
    lines = [[row["state"], row["run"], row["cell"], f"n={row['n']}", row["protocol"]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True)).rstrip()


def _estimate(job: Job) -> tuple[float, float]:
    if job.done:
        return 0.0, 0.0
    from bench.evaluation.cost_estimate import estimate
    from bench.runtime.progress import Progress

    return estimate(job.plan, job.pending, job.undiagnosed, job.context(Progress()))

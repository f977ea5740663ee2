"""``bench export RUN``: export the results of a run in the format of RobustBench, timm or Hugging Face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from bench.cli.config_options import FilePath, config_options
from bench.cli.group import cli
from bench.compare.model_info import dump_model_info
from bench.compare.own_rows import our_lines, stored_rows
from bench.compare.robustbench import THREATS
from bench.compare.to_huggingface import model_index
from bench.compare.to_robustbench import model_info, select_line
from bench.compare.to_timm import timm_csv
from bench.config import RunConfig
from bench.core.epsilon import parse_eps
from bench.core.errors import BenchError
from bench.core.records import RunRecord
from bench.core.vocabulary import Exit
from bench.leaderboard.references import same_split
from bench.leaderboard.rows import BoardRow
from bench.results.store import Store
from bench.runtime.output_files import check_output, is_stream, write_output


@cli.command(
    "export",
    examples=(
        "bench export resnet18:lpc:0 --format robustbench",
        "bench export resnet18:lpc:0 --format huggingface --out README.md",
    ),
)
@click.argument("name", metavar="RUN")
@config_options(RunConfig, only=("results",))
@click.option(
    "--format",
    "format_",
    type=click.Choice(("robustbench", "timm", "huggingface")),
    required=True,
    help="model_info JSON of RobustBench, a row of results/*.csv of timm, or the model-index of a model card",
)
@click.option(
    "--threat",
    type=click.Choice(("Linf", "L2", "corruptions")),
    help="threat model of the robust accuracy to export; only for --format robustbench",
)
@click.option("--eps", help="budget ε of the robust accuracy to export, such as 8/255; only for --format robustbench")
@click.option(
    "--additional-data/--no-additional-data",
    default=None,
    help="whether additional training data was used; only for --format robustbench  "
    "[default: yes if training started from pretrained weights or a checkpoint]",
)
@click.option(
    "--allow-protocol-mismatch",
    is_flag=True,
    help="also export results that do not follow the protocol of the format, for example on fewer images, "
    "and note the differences",
)
@click.option("--out", type=FilePath(), help="file to write  [default: stdout]")
def export_command(
    name: str,
    *,
    results: Path,
    format_: str,
    threat: str | None,
    eps: str | None,
    additional_data: bool | None,
    allow_protocol_mismatch: bool,
    out: Path | None,
) -> int:
    """Export the results of a run in the format of RobustBench, timm or Hugging Face."""
    for option, value in (("--threat", threat), ("--eps", eps), ("--additional-data", additional_data)):
        if value is not None and format_ != "robustbench":
            raise BenchError(f"{option} is for --format robustbench; leave it out for {format_}.")
    if out is not None:
        check_output(out, "--out")
    store = Store(results)
    run = store.find_run(name)
    stored = stored_rows(store, run)
    row = _only_row(stored.rows, run)
    title, same_split_rows = f"{run.model}:{run.variant}:{run.seed}", same_split(row, stored.board)
    if format_ == "timm":
        content = timm_csv(row, same_split_rows, allow_protocol_mismatch=allow_protocol_mismatch).encode()
    elif format_ == "huggingface":
        content = model_index(row, title, stored.outcomes, same_split_rows).encode()
    else:
        lines = our_lines([row], [title], stored.outcomes, same_split_rows)
        line = select_line(run, lines, threat=threat, eps=_budget(eps, threat))
        info = model_info(run, line, additional_data=additional_data, allow_protocol_mismatch=allow_protocol_mismatch)
        content = dump_model_info(info)
    if out is None:
        print(content.decode(), end="")
    else:
        write_output(out, content, "--out")
        if not is_stream(out):
            print(out)
    return Exit.OK


def _budget(eps: str | None, threat: str | None) -> float | None:
    """Parse the budget. Without a norm it is parsed as an L2 budget, because L2 budgets have no upper bound."""
    return None if eps is None else parse_eps(eps, THREATS[threat or "L2"] or "l2")


def _only_row(rows: Sequence[BoardRow], run: RunRecord) -> BoardRow:
    if not rows:
        raise BenchError(f"{run.run_id} has no cells; 'bench run' adds some.")
    if len(rows) > 1:
        raise BenchError(
            f"{run.run_id} was evaluated on {len(rows)} test splits, and the format allows one; "
            "use a separate results folder for each."
        )
    return rows[0]

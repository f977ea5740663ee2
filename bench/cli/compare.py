"""``bench compare``: compare our rows with published rows, and rank rows of the same protocol together."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.cli.config_options import FilePath, config_options
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.compare.formats import FORMATS, records
from bench.compare.lpc_published import published_lpc
from bench.compare.model_info import read_checkout
from bench.compare.own_rows import stored_lines
from bench.compare.published_rows import lpc_lines, robustbench_lines
from bench.compare.robustbench import published_models
from bench.compare.tables import Table, compare
from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.inert import shell_word
from bench.core.vocabulary import Exit
from bench.results.store import Store
from bench.runtime.output_files import check_output, is_stream, write_output


@cli.command(
    "compare",
    examples=(
        "bench compare",
        "bench compare resnet18:lpc --format markdown --out compare.md",
    ),
)
@click.argument("run", metavar="[RUN]", required=False)
@config_options(RunConfig, only=("results",))
@click.option(
    "--robustbench",
    type=FilePath(),
    help="checkout of RobustBench; its models replace the selection in this package",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(("markdown", "csv", "html", "latex")),
    default="markdown",
    show_default=True,
    help="format of the tables",
)
@click.option("--out", type=FilePath(), help="file for the tables  [default: stdout]")
@json_option
def compare_command(
    run: str | None, *, results: Path, robustbench: Path | None, format_: str, out: Path | None, as_json: bool
) -> int:
    """Compare our rows with published rows, and rank rows of the same protocol together.

    If the protocol of a row differs, the reason is printed.

    RUN is a prefix of a run id, or model:variant[:seed]. Without RUN, all rows of the leaderboard are compared.
    """
    if out is not None:
        check_output(out, "--out")
    tables = _tables(Store(results), run, robustbench)
    if out is not None:
        write_output(out, FORMATS[format_](tables).encode(), "--out")
    if as_json:
        summaries = [{"table": table.title, "summary": table.summary} for table in tables]
        print(json.dumps({"tables": summaries, "rows": records(tables)}, indent=2))
    elif out is None:
        print(FORMATS[format_](tables), end="")
    elif not is_stream(out):
        print(out)
    return Exit.OK


def _tables(store: Store, name: str | None, robustbench: Path | None) -> list[Table]:
    if not store.runs():
        raise BenchError(
            f"no runs under {store.root}; 'bench run --results {shell_word(str(store.root))} …' creates some."
        )
    own_rows = stored_lines(store, None if name is None else store.find_run(name))
    if not own_rows:
        where = f"of run {name}" if name else f"under {store.root}"
        remedy = "run 'bench run' or 'bench evaluate' first"
        raise BenchError(f"no attack, corruption or diagnosis {where} to compare; {remedy}.")
    models = published_models() if robustbench is None else read_checkout(robustbench)
    return compare(own_rows, [*robustbench_lines(models), *lpc_lines(published_lpc())])

"""``bench leaderboard``: rebuild the tables from the stored cells.

Prints the leaderboard and, if a row has a paired reference, the comparison.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cli.config_options import config_options, pop_config
from bench.cli.group import cli
from bench.cli.options import json_option
from bench.config import RunConfig, TableConfig
from bench.core.errors import BenchError
from bench.core.inert import shell_word
from bench.core.vocabulary import Exit
from bench.core.words import pluralize
from bench.leaderboard.comparison_report import comparison_markdown
from bench.leaderboard.report import board_markdown, records
from bench.leaderboard.write_tables import Tables, check_reference, write_tables
from bench.results.store import Store
from bench.runtime.console import say
from bench.runtime.plugin import load_plugins


@cli.command(
    "leaderboard",
    examples=(
        "bench leaderboard",
        "bench leaderboard --against baseline --intervals",
    ),
)
@config_options(RunConfig, only=("results", "plugin"))
@config_options(TableConfig)
@click.option(
    "--intervals",
    is_flag=True,
    help="add confidence intervals and standard deviations of clean, every attack and corruptions_acc to "
    "leaderboard.csv",
)
@json_option
def leaderboard_command(
    *, results: Path, plugin: Sequence[Path], intervals: bool, as_json: bool, **options: Any
) -> int:
    """Rebuild all tables from the stored cells, and print the leaderboard and the comparison.

    The comparison is with the paired reference; see --against.
    """
    load_plugins(plugin)
    store = Store(results)
    if not store.runs():
        raise BenchError(f"no runs under {results}; 'bench run --results {shell_word(str(results))} …' creates some.")
    config: TableConfig = pop_config(TableConfig, options)
    check_reference(config.against, {run.variant for run in store.runs()})
    tables = write_tables(store, config, intervals=intervals)
    if old := store.outdated():
        say(
            f"warning: {pluralize(len(old), 'run')} with a diagnosis or an audit by earlier definitions, whose numbers "
            "and flags are left out; run 'bench run', 'bench audit' or 'bench diagnose' again."
        )
    print(json.dumps(tables_as_data(tables), indent=2) if as_json else tables_as_text(tables))
    return Exit.OK


def tables_as_text(tables: Tables) -> str:
    """Return the leaderboard and the comparison as Markdown."""
    return "\n\n".join(part for part in (board_markdown(tables.board), comparison_markdown(tables.comparison)) if part)


def tables_as_data(tables: Tables) -> dict[str, Any]:
    """Return the tables as JSON data; ``comparison`` is empty if no row has a paired reference."""
    return {"leaderboard": records(tables.board, tables.units), "comparison": records(tables.comparison)}

"""Write the tables of columns, reasons, flags and protocols of results/README.md from their definitions.

    python tools/column_tables.py            # rewrite the tables
    python tools/column_tables.py --check    # exit 1 if a table is outdated

A table begins at a comment ``<!-- table: NAME -->`` and ends at the next empty line. NAME is a dictionary of
``bench.core.columns`` or ``bench.core.vocabulary``, or ``metrics`` and scopes of leaderboard metrics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click

from bench.core import columns, vocabulary
from bench.core.errors import BenchError
from bench.leaderboard.metrics import metric_meanings

PAGE = Path(__file__).resolve().parents[1] / "results" / "README.md"
#: Heading of the first column of a table; "column" for all other tables.
HEADS = {"METRIC_SUFFIXES": "suffix", "REASONS": "reason", "FLAGS": "flag", "PROTOCOLS": "protocol"}
TABLE = re.compile(r"<!-- table: (?P<name>[^>]+) -->\n(?:\|.*\n)*")


def definitions(name: str) -> Mapping[str, str]:
    """Return the meanings of the entries of table ``name``. Raises BenchError for an unknown table."""
    kind, *scopes = name.split()
    if kind == "metrics":
        return metric_meanings(*scopes)  # type: ignore[arg-type]
    for module in (columns, vocabulary):
        if hasattr(module, name):
            meanings: Mapping[str, str] = getattr(module, name)
            return meanings
    raise BenchError(f"results/README.md has a table {name!r}, which is not defined; correct its name.")


def render_table(name: str) -> str:
    """Return the table ``name`` as Markdown."""
    lines = [f"| {HEADS.get(name, 'column')} | meaning |", "|---|---|"]
    lines += [f"| `{word}` | {meaning} |" for word, meaning in definitions(name).items()]
    return "\n".join(lines) + "\n"


def with_tables(page: str) -> str:
    """Return the page with every table rewritten."""
    return TABLE.sub(lambda match: f"<!-- table: {match['name']} -->\n{render_table(match['name'])}", page)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="change nothing, and exit 1 if a table is outdated")
def main(*, check: bool) -> None:
    """Rewrite or check the page."""
    page = PAGE.read_text(encoding="utf-8")
    new = with_tables(page)
    if check and new != page:
        raise SystemExit("results/README.md is outdated; run python tools/column_tables.py")
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()

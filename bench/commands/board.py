"""``bench leaderboard``: the tables from the cells."""

from __future__ import annotations

import json
from pathlib import Path

from bench.commands.tables import tables_as_data, tables_as_text
from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.store import Store
from bench.tables.leaderboard import write_tables


def board_command(*, results: Path, intervals: bool, mce_reference: str, rank_flagged: bool, as_json: bool) -> int:
    """Raises BenchError when there is nothing to rank."""
    store = Store(results)
    if not store.runs():
        raise BenchError(f"no runs under {results}; 'bench run --results {results} …' makes some.")
    tables = write_tables(store, intervals=intervals, mce_reference=mce_reference, rank_flagged=rank_flagged)
    print(json.dumps(tables_as_data(tables), indent=2) if as_json else tables_as_text(tables))
    return Exit.OK

"""``bench leaderboard``: the tables from the cells."""

from __future__ import annotations

import json
from pathlib import Path

from bench.cli.tables import tables_as_data, tables_as_text
from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.leaderboard.write_tables import check_reference, write_tables
from bench.results.store import Store


def board_command(
    *, results: Path, intervals: bool, mce_reference: str, against: str, rank_flagged: bool, as_json: bool
) -> int:
    """Raises BenchError when there is nothing to rank, or no run of the variant ``against``."""
    store = Store(results)
    if not store.runs():
        raise BenchError(f"no runs under {results}; 'bench run --results {results} …' makes some.")
    check_reference(against, {run.variant for run in store.runs()})
    tables = write_tables(
        store, intervals=intervals, mce_reference=mce_reference, rank_flagged=rank_flagged, against=against
    )
    print(json.dumps(tables_as_data(tables), indent=2) if as_json else tables_as_text(tables))
    return Exit.OK

"""``bench compare``: our rows beside published ones, ranked together where the protocols agree."""

from __future__ import annotations

import json
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.files import write_atomic
from bench.published.board import stored_lines
from bench.published.checkout import read_checkout
from bench.published.formats import FORMATS, records
from bench.published.tables import Table, compare
from bench.published.theirs import lpc_lines, robustbench_lines
from bench.reference.lpc import published_lpc
from bench.reference.robustbench import published_models
from bench.store import Store


def compare_command(
    run: str | None, *, results: Path, robustbench: Path | None, format_: str, out: Path | None, as_json: bool
) -> int:
    """Raises BenchError when ``run`` means no run or several, and when nothing of it could be compared."""
    tables = _tables(Store(results), run, robustbench)
    if out is not None:
        write_atomic(out, FORMATS[format_](tables).encode())
    if as_json:
        summaries = [{"table": table.title, "summary": table.summary} for table in tables]
        print(json.dumps({"tables": summaries, "rows": records(tables)}, indent=2))
    elif out is None:
        print(FORMATS[format_](tables), end="")
    else:
        print(out)
    return Exit.OK


def _tables(store: Store, name: str | None, robustbench: Path | None) -> list[Table]:
    if not store.runs():
        raise BenchError(f"no runs under {store.root}; 'bench run --results {store.root} …' makes some.")
    ours = stored_lines(store, None if name is None else store.find_run(name))
    if not ours:
        where = f"of run {name}" if name else f"under {store.root}"
        way = "'bench run' or 'bench evaluate' adds them"
        raise BenchError(f"no attack, corruption or diagnosis {where} to be compared; {way}.")
    models = published_models() if robustbench is None else read_checkout(robustbench)
    return compare(ours, [*robustbench_lines(models), *lpc_lines(published_lpc())])

"""Compare the tables of two results folders, cell by cell.

    python tools/equal_results.py BEFORE AFTER

tools/renamed.py maps old names of columns and flags, and old sentences of notes. Columns that differ between two runs
of the same code are ignored, see :data:`LEFT_OUT`. Prints "equal" and exits with 0, or prints every difference and
exits with 1.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
from renamed import COLUMNS, SENTENCES, rename_flags

TABLES = ("results.csv", "leaderboard.csv", "comparison.csv", "corruptions.csv")
#: Columns to ignore: times, and the commit of the code.
LEFT_OUT = ("created", "time_s", "train_time_s", "git_sha", "bench")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table as text, with the current names of columns and flags."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    names = [COLUMNS.get(name, name) for name in header]
    records = []
    for row in rows:
        cells = dict(zip(names, row, strict=True))
        flags = {name: rename_flags(cell) for name, cell in cells.items() if "flags" in name}
        records.append({name: _reworded(cell) for name, cell in (cells | flags).items() if name not in LEFT_OUT})
    return records


def _reworded(text: str) -> str:
    for before, after in SENTENCES.items():
        text = text.replace(before, after)
    return text


def differences(before: list[dict[str, str]], after: list[dict[str, str]]) -> list[str]:
    """Return one line per row, column or cell that differs."""
    lines = []
    if len(before) != len(after):
        lines.append(f"{len(before)} rows before, {len(after)} after")
    old, new = ({name for row in rows for name in row} for rows in (before, after))
    lines += [f"column {name} only before" for name in sorted(old - new)]
    lines += [f"column {name} only after" for name in sorted(new - old)]
    for number, (old_row, new_row) in enumerate(zip(before, after, strict=False), start=1):
        changed = [name for name in old_row if name in new_row and old_row[name] != new_row[name]]
        lines += [f"row {number}, {name}: {old_row[name]!r} before, {new_row[name]!r} after" for name in changed]
    return lines


@click.command()
@click.argument("before", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("after", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(before: Path, after: Path) -> None:
    """Compare the tables in BEFORE and AFTER."""
    lines = []
    for name in TABLES:
        present = [folder for folder in (before, after) if (folder / name).exists()]
        if len(present) == 1:
            lines.append(f"{name} is only in {present[0]}")
        elif present:
            lines += [f"{name}: {line}" for line in differences(read_table(before / name), read_table(after / name))]
    click.echo("\n".join(lines) or "equal")
    raise SystemExit(bool(lines))


if __name__ == "__main__":
    main()

"""Compare the tables of two results folders, cell by cell.

    python tools/equal_results.py BEFORE AFTER

Old names of columns and flags are mapped by tools/renamed.py. Columns that differ between two runs of the same code are
ignored, see :data:`LEFT_OUT`. Prints "equal" and exits with 0, or prints every difference and exits with 1.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
from renamed import COLUMNS, rename_flags

TABLES = ("results.csv", "leaderboard.csv", "comparison.csv", "corruptions.csv")
#: Columns to ignore: times, and the commit of the code.
LEFT_OUT = ("created", "time_s", "train_time_s", "git_sha", "bench")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table as text, under new names of columns and flags."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    names = [COLUMNS.get(name, name) for name in header]
    found = []
    for row in rows:
        cells = dict(zip(names, row, strict=True))
        flags = {name: rename_flags(cell) for name, cell in cells.items() if "flags" in name}
        found.append({name: cell for name, cell in (cells | flags).items() if name not in LEFT_OUT})
    return found


def differences(before: list[dict[str, str]], after: list[dict[str, str]]) -> list[str]:
    """Return one line per row, column or cell that differs."""
    found = []
    if len(before) != len(after):
        found.append(f"{len(before)} rows before, {len(after)} after")
    old, new = ({name for row in rows for name in row} for rows in (before, after))
    found += [f"column {name} only before" for name in sorted(old - new)]
    found += [f"column {name} only after" for name in sorted(new - old)]
    for number, (one, other) in enumerate(zip(before, after, strict=False), start=1):
        shared = [name for name in one if name in other and one[name] != other[name]]
        found += [f"row {number}, {name}: {one[name]!r} before, {other[name]!r} after" for name in shared]
    return found


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

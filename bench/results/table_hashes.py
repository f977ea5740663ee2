"""Record the hashes of the tables of a results folder, and check them. Does not import torch.

The tables can be made again from the records, so that nobody needs to edit them. ``tables.sha256`` has one line per
table, in the format of ``sha256sum``, and finds numbers that were changed by hand. It is no signature.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.limits import MANIFEST, OWN_TABLE
from bench.core.seals import as_written, sha_of
from bench.runtime.files import write_atomic
from bench.runtime.input_files import exists, read_input, read_text

HASHES = "tables.sha256"
TABLES = ("results.csv", "leaderboard.csv", "comparison.csv", "corruptions.csv")
WRITTEN_AGAIN = "'bench leaderboard' writes all tables again from the records."

ABSENT = sha_of(b"")  # recorded while a table may be missing, because it is written or deleted just now
_LINE = re.compile(r"(?P<sha>[0-9a-f]{64})  (?P<name>[a-z]+\.csv)")


Contents = Mapping[str, bytes | None]  # tables by name; None for a table that is deleted


def expect_tables(root: Path, contents: Contents) -> None:
    """Add the hashes of the new tables before they are written.

    Those of the old tables are kept until :func:`record_tables`, because the process may be killed in between.
    """
    try:
        old = _recorded(root)
    except BenchError:  # damaged; it is replaced
        old = {}
    present = tables_in(root)
    new = {
        name: {sha_of(content or b""), *old.get(name, ()), *(() if name in present else (ABSENT,))}
        for name, content in contents.items()
    }
    known = {name: shas for name, shas in new.items() if shas != {ABSENT}}
    _write(root, {**old, **known})


def record_tables(root: Path, contents: Contents) -> None:
    """Record the hashes of the tables after they were written."""
    _write(root, {name: {sha_of(content)} for name, content in contents.items() if content is not None})


def tables_in(root: Path) -> list[str]:
    """Return the names of the tables in the folder."""
    return [name for name in TABLES if exists(root / name)]


def has_hashes(root: Path) -> bool:
    """Return whether the hashes of the tables are recorded. Older folders have none."""
    return exists(root / HASHES)


def table_problems(root: Path) -> Iterator[str]:
    """Yield one sentence per table that does not have its recorded hash, or is missing."""
    try:
        recorded = _recorded(root)
    except BenchError as error:
        yield str(error)
        return
    present = tables_in(root)
    for name in present:
        try:
            content = read_input(root / name, OWN_TABLE)
        except BenchError as error:
            yield str(error)
            continue
        if all(as_written(content, sha) is None for sha in recorded.get(name, ())):
            yield f"{root / name} does not have the hash in {HASHES}; it was edited or damaged: {WRITTEN_AGAIN}"
    for name in sorted(name for name, shas in recorded.items() if name not in present and ABSENT not in shas):
        yield f"{root / name} is missing; {HASHES} has its hash: {WRITTEN_AGAIN}"


def _recorded(root: Path) -> dict[str, set[str]]:
    """Return the recorded hashes by name of the table. Raises BenchError for a damaged file."""
    path, found = root / HASHES, defaultdict[str, set[str]](set)
    for line in read_text(path, MANIFEST).splitlines() if exists(path) else ():
        match = _LINE.fullmatch(line)
        if match is None:
            raise BenchError(f"{path} is damaged: {WRITTEN_AGAIN}")
        found[match["name"]].add(match["sha"])
    return found


def _write(root: Path, shas: Mapping[str, set[str]]) -> None:
    lines = [f"{sha}  {name}\n" for name in sorted(shas) for sha in sorted(shas[name])]
    write_atomic(root / HASHES, "".join(lines).encode())

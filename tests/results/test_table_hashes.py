"""Tables that were edited by hand are found, although they could be made again from the records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import store_with

from bench.core.errors import BenchError
from bench.leaderboard import write_tables as module
from bench.leaderboard.write_tables import write_tables
from bench.results.check_files import check_files
from bench.results.store import Store
from bench.results.table_hashes import HASHES, table_problems

RIGHT = {("baseline", 0): {"clean": [True] * 3 + [False], "fgsm": [True, False, False, False]}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = store_with(tmp_path / "results", RIGHT)
    write_tables(store)
    return store


@pytest.mark.parametrize("name", ["results.csv", "leaderboard.csv"])
@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.replace(b"0.25", b"0.75").replace(b"25.0", b"75.0"),
        lambda content: content + content.splitlines(keepends=True)[-1],
        lambda content: content[:-1],
        lambda content: b"",
    ],
)
def test_an_edited_table_is_found(store: Store, name: str, edit: Callable[[bytes], bytes]) -> None:
    assert list(table_problems(store.root)) == []
    path = store.root / name
    original = path.read_bytes()
    path.write_bytes(edit(original))
    assert path.read_bytes() != original
    assert [problem.split()[0] for problem in check_files(store).problems if ".csv" in problem] == [str(path)]
    write_tables(store)
    assert (path.read_bytes(), list(table_problems(store.root))) == (original, [])


def test_missing_added_and_converted_tables(store: Store) -> None:
    path = store.root / "leaderboard.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as editors and git do
    assert list(table_problems(store.root)) == []
    (store.root / "comparison.csv").write_text("made,by\nhand,1\n")
    path.unlink()
    edited, missing = table_problems(store.root)
    assert "comparison.csv does not have the hash" in edited
    assert "leaderboard.csv is missing" in missing


@pytest.mark.parametrize("content", [b"0" * 64 + b" results.csv\n", b"\xff", b"0" * 64 + b"  ../../x.csv\n", b"x\n"])
def test_damaged_hashes_are_one_sentence_and_are_replaced(store: Store, content: bytes) -> None:
    (store.root / HASHES).write_bytes(content)
    (problem,) = table_problems(store.root)
    assert HASHES in problem
    write_tables(store)
    assert list(table_problems(store.root)) == []


def test_an_older_folder_without_hashes_is_named_as_not_checked(store: Store) -> None:
    (store.root / HASHES).unlink()
    assert "tables.sha256 is missing; 'bench leaderboard' writes all tables" in check_files(store).unchecked[0]


@pytest.mark.parametrize("killed_after", range(4))
def test_a_kill_between_two_tables_leaves_no_problem(store: Store, killed_after: int, monkeypatch: Any) -> None:
    """Each table is either the old or the new one, and both are as they were written."""
    original, calls = module._write_or_remove, []

    def write(path: Path, content: bytes | None) -> None:
        if len(calls) == killed_after:
            raise BenchError("killed")
        calls.append(path)
        original(path, content)

    store_with(store.root, {**RIGHT, ("lpc", 0): {"clean": [True] * 4, "fgsm": [True] * 4}})
    monkeypatch.setattr(module, "_write_or_remove", write)
    with pytest.raises(BenchError, match="killed"):
        write_tables(store)
    assert list(table_problems(store.root)) == []
    monkeypatch.undo()
    write_tables(store)
    assert list(table_problems(store.root)) == []
    assert (store.root / HASHES).read_text().count("\n") == 3

"""A network that guesses keeps its accuracy under attack, and has no place for it: on the board and beside others."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import pytest
from records import cell_record, samples_of
from records import run_record as record_of

from bench.chance import at_chance, chance_notes
from bench.core.specs import RunRecord
from bench.published.board import stored_lines
from bench.published.tables import Table, compare
from bench.store import Store
from bench.tables.leaderboard import rebuild, write_tables
from bench.tables.report import board_markdown

run_record = partial(record_of, num_classes=10)
N = 100
GOOD, BAD = {"clean": 96, "fgsm": 5}, {"clean": 12, "fgsm": 8}  # of ten classes


def foreign(run: RunRecord) -> RunRecord:
    """As of a model that was not trained here: nobody but its clean cell knows the classes."""
    return dataclasses.replace(run, spec=None)


def write(
    store: Store, run: RunRecord, rights: dict[str, int], notes: tuple[str, ...] = (), n_majority: int | None = None
) -> None:
    store.write_run(run, None)
    for attack, right in rights.items():
        correct = [True] * right + [False] * (N - right)
        said = {"notes": notes if attack == "clean" else (), "n_majority": n_majority}
        record = dataclasses.replace(cell_record(run, attack, correct), **said)
        store.write_cell(record, samples_of(correct))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """``lpc`` guesses, and is left more."""
    made = Store(tmp_path)
    write(made, run_record(), GOOD)
    write(made, run_record("lpc"), BAD)
    return made


def table_of(store: Store) -> Table:
    (table,) = compare(stored_lines(store), [])
    return table


def test_what_guesses_has_no_place_and_the_file_says_why(store: Store) -> None:
    board = rebuild(store).set_index("variant")
    assert board["rank"].fillna(0).to_dict() == {"baseline": 1, "lpc": 0}
    assert board["status"].to_dict() == {"baseline": "ok", "lpc": "no better than chance"}
    assert "no better than chance" in (store.root / "leaderboard.csv").read_text()


def test_the_printed_board_says_why(store: Store) -> None:
    good, guesses = board_markdown(rebuild(store)).splitlines()[2:]
    assert "no better than chance" in guesses
    assert "no better than chance" not in good
    write(store, run_record("lpc"), GOOD)
    assert "status" not in board_markdown(rebuild(store)), "where nothing guesses there is no such column"


def test_who_insists_ranks_it(store: Store) -> None:
    board = write_tables(store, rank_flagged=True).board.set_index("variant")
    assert board["rank"].to_dict() == {"lpc": 1, "baseline": 2}
    assert board.loc["lpc", "status"] == "no better than chance"


def test_beside_others_it_has_no_place_and_the_note_says_why(store: Store) -> None:
    good, guesses = table_of(store).placed
    assert (good.line.model, good.rank, guesses.rank) == ("tiny:baseline", 1, None)
    assert guesses.note.startswith("no better than chance. computed by")
    assert "chance" not in good.note


@pytest.mark.parametrize(("clean", "word"), [(15, "no better than chance"), (16, "ok")])
def test_the_share_of_an_older_record_is_one_of_the_classes(tmp_path: Path, clean: int, word: str) -> None:
    assert at_chance(clean, N, 1 / 10) == (word != "ok")
    write(Store(tmp_path), run_record(), {"clean": clean, "fgsm": 5})
    assert list(rebuild(Store(tmp_path))["status"]) == [word]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("clean", "word"), [(60, "no better than chance"), (69, "no better than chance"), (70, "ok")])
def test_the_most_frequent_class_is_the_reference(tmp_path: Path, clean: int, word: str, known: bool) -> None:
    """Of any model, and by the count that is stored: 60 of the 100 images are of one class, of ten classes."""
    run = run_record() if known else foreign(run_record())
    assert at_chance(clean, N, 0.6) == (word != "ok")
    write(Store(tmp_path), run, {"clean": clean, "fgsm": 5}, n_majority=60)
    assert list(rebuild(Store(tmp_path))["status"]) == [word]


def test_one_seed_that_guesses_takes_the_place(store: Store) -> None:
    """The mean over seeds, 54 %, is far from chance."""
    write(store, run_record(seed=1), BAD)
    write(store, run_record("lpc"), GOOD)
    write(store, run_record("lpc", seed=1), GOOD)
    board = rebuild(store).set_index("variant")
    assert board["rank"].fillna(0).to_dict() == {"lpc": 1, "baseline": 0}
    assert board.loc["baseline", "status"] == "1 of 2 seeds no better than chance"
    assert [(p.rank, "1 of 2 seeds no better than chance" in p.note) for p in table_of(store).placed] == [
        (1, False), (None, True),
    ]  # fmt: skip


@pytest.mark.parametrize(("notes", "word"), [(chance_notes(12, N, 11), "no better than chance"), ((), "ok")])
def test_of_a_model_that_was_brought_along_its_clean_cell_says_so(
    tmp_path: Path, notes: tuple[str, ...], word: str
) -> None:
    write(Store(tmp_path), foreign(run_record()), BAD, notes)
    assert list(rebuild(Store(tmp_path))["status"]) == [word]


def test_failures_are_counted_beside_it(store: Store) -> None:
    """A cell that is not ok is still called failed, and an attack without a mean not."""
    run = run_record("lpc")
    failed = dataclasses.replace(cell_record(run, "pgd-20", []), status="failed", reason="attack_error", n_correct=None)
    store.write_cell(failed, None)
    board = rebuild(store)
    assert board.set_index("variant").loc["lpc", "status"] == "1 not ok; no better than chance"
    assert "| failed " in board_markdown(board)


def test_an_attack_without_a_mean_is_not_called_failed(store: Store) -> None:
    write(store, run_record("lpc", seed=1), {"clean": 12})
    shown = board_markdown(rebuild(store))
    assert "| no mean " in shown
    assert "| failed " not in shown

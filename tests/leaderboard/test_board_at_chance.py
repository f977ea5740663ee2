"""A network that guesses keeps its accuracy under attack, and has no place for it: on the board and beside others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import audit_record, cell_record, samples_of
from records import run_record as record_of

from bench.compare.own_rows import stored_lines
from bench.compare.tables import Table, compare
from bench.config import TableConfig
from bench.core.records import RunRecord
from bench.core.specs import CorruptionSpec
from bench.leaderboard.comparison_report import comparison_markdown
from bench.leaderboard.corruption_cells import STANDARD_KINDS
from bench.leaderboard.report import board_markdown
from bench.leaderboard.write_tables import rebuild, write_tables
from bench.results.chance_level import Majority, at_chance, chance_notes
from bench.results.store import Store

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
        store.write_cell(record, samples_of(correct, n_majority))


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
    board = write_tables(store, TableConfig(rank_flagged=True)).board.set_index("variant")
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
    """For any model the stored count sets the chance level: 60 of the 100 images are of one class, of ten classes."""
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


@pytest.mark.parametrize(
    ("notes", "word"), [(chance_notes(12, N, Majority(11, 3)), "no better than chance"), ((), "ok")]
)
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


NOTHING = ["diff", "diff_lo", "n_regressed", "p_checkpoint", "p_checkpoint_holm", "p_variant", "mde"]


@pytest.mark.parametrize(("baseline", "lpc", "who"), [
    (GOOD, BAD, "variant no better than chance"),
    (BAD, GOOD, "reference no better than chance"),
    (BAD, BAD, "variant no better than chance; reference no better than chance"),
])  # fmt: skip
def test_the_comparison_draws_no_conclusion(
    tmp_path: Path, baseline: dict[str, int], lpc: dict[str, int], who: str
) -> None:
    """With either side at chance, both accuracies are shown, and no difference, test or praise."""
    store = Store(tmp_path)
    write(store, run_record(), baseline)
    write(store, run_record("lpc"), lpc)
    store.write_audit(audit_record(run_record("lpc")))
    tables = write_tables(store)
    for metric, row in tables.comparison.set_index("metric").iterrows():
        assert (row["finding"], row["chance"]) == ("not compared: no better than chance", who)
        assert row[NOTHING].isna().all()
        assert row["acc"] == lpc["clean" if metric == "clean" else "fgsm"]
    shown = comparison_markdown(tables.comparison)
    assert f"not compared: {who} " in shown
    assert "passed" not in shown or lpc is GOOD
    assert tables.board.set_index("variant").loc["lpc", ["clean_diff", "fgsm@linf-0.1_diff"]].isna().all()


def test_what_is_not_compared_is_no_test_of_the_table(tmp_path: Path) -> None:
    """One of two variants is at chance: the p of the other is corrected for its own two rows only."""
    store = Store(tmp_path)
    for variant, rights in (("baseline", GOOD), ("lpc", BAD), ("lin_pen", {"clean": 90, "fgsm": 20})):
        write(store, run_record(variant), rights)
    found = write_tables(store).comparison.set_index(["variant", "metric"])
    assert found.loc[("lin_pen", "clean"), "p_checkpoint"] == 2 / 2**6
    assert found.loc[("lin_pen", "clean"), "p_checkpoint_holm"] == 2 / 2**6
    assert found.loc[("lin_pen", "fgsm@linf-0.1"), "p_checkpoint_holm"] == pytest.approx(2 * 2 / 2**15)


@pytest.mark.parametrize("flags", [{}, {"large_eps_survivors": 20.0}])
def test_an_audit_of_what_guesses_neither_praises_nor_accuses(
    store: Store, flags: dict[str, float], bench: Callable[..., Any]
) -> None:
    run = run_record("lpc")
    store.write_audit(audit_record(run, **flags))
    row = rebuild(store).set_index("variant").loc["lpc"]
    assert (row["audit"], row["status"]) == ("at chance", "no better than chance")
    assert pd.isna(row["fgsm@linf-0.1_flags"])
    written = pd.read_csv(store.root / "results.csv").set_index(["variant", "attack"])
    assert written.loc["lpc", "audit"].to_dict() == {"clean": "at chance", "fgsm": "at chance"}
    assert written.loc["lpc", "chance"].to_dict() == dict.fromkeys(("clean", "fgsm"), "no better than chance")
    assert written.loc["baseline", "chance"].isna().all()
    assert written["audit_flags"].isna().all()
    for command in ("show", "audit"):
        shown = bench(command, "tiny:lpc", "--results", store.root)
        assert "its clean accuracy is no better than chance, so no conclusion is drawn from its robust acc" in shown.out
        assert "found nothing against" not in shown.out
        assert "upper bound" not in shown.out
    assert bench("audit", "tiny:lpc", "--results", store.root).code == 1, "it is not what a gate may pass"


def test_so_is_that_of_a_model_that_was_brought_along(tmp_path: Path, bench: Callable[..., Any]) -> None:
    store, run = Store(tmp_path), foreign(run_record())
    write(store, run, BAD, chance_notes(12, N, Majority(10, 3)))
    store.write_audit(audit_record(run))
    shown = bench("show", "tiny:baseline", "--results", tmp_path).out
    assert "audit: tiny:baseline:0 on digits: its clean accuracy is no better than chance" in shown
    assert "clean accuracy no better than chance" in shown
    assert bench("show", "tiny:baseline", "--results", tmp_path, "--json").json["labels"] == {
        "chance": "clean accuracy no better than chance"
    }
    assert list(rebuild(store)["audit"]) == ["at chance"]
    (placed,) = table_of(store).placed
    assert not placed.line.acquitted
    assert "audit: at chance" in placed.note


def test_a_baseline_that_guesses_is_no_reference_of_errors(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for variant, rights in (("baseline", BAD), ("lpc", GOOD)):
        run = run_record(variant)
        write(store, run, rights)
        for kind in STANDARD_KINDS:
            for severity in range(1, 6):
                record = cell_record(run, "clean", [True] * 50 + [False] * 50)
                made = CorruptionSpec(kind=kind, severity=severity, source="generated", profile="cifar")
                spec = dataclasses.replace(record.spec, corruption=made)
                found = dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)
                store.write_cell(found, samples_of([True] * 50 + [False] * 50))
    board = rebuild(store).set_index("variant")
    assert board["mce"].isna().all()
    assert "the baseline is no better than chance on clean images" in board.loc["lpc", "mce_note"]

"""The paired reference of a comparison may be any variant."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records import cell_record, run_record, samples_of, store_with

from bench.config import TableConfig
from bench.leaderboard.comparison_report import comparison_markdown
from bench.leaderboard.write_tables import write_tables
from bench.results.store import Store

FGSM = "fgsm@linf-0.1"


def standing(right: int, n: int = 40) -> list[bool]:
    return [True] * right + [False] * (n - right)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Under FGSM ``lpc`` is 12 images above ``lin_pen`` and 12 below ``baseline``."""
    rights = {"baseline": 30, "lin_pen": 6, "lpc": 18}
    return store_with(tmp_path, {(variant, 0): {"fgsm": standing(right)} for variant, right in rights.items()})


def test_the_reference_decides_the_answer(store: Store) -> None:
    assert write_tables(store).comparison.set_index("variant")["finding"].to_dict() == {
        "lin_pen": "lower, these weights", "lpc": "lower, these weights",
    }  # fmt: skip
    tables = write_tables(store, TableConfig(against="lin_pen"))
    found = tables.comparison.set_index("variant")
    assert found["finding"].to_dict() == {"baseline": "higher, these weights", "lpc": "higher, these weights"}
    assert found["diff"].to_dict() == {"baseline": 60, "lpc": 30}
    assert found["acc_reference"].to_dict() == {"baseline": 15, "lpc": 15}
    assert set(found["reference"]) == {"lin_pen"}
    board = tables.board.set_index("variant")
    assert board["reference"].fillna("").to_dict() == {"baseline": "lin_pen", "lpc": "lin_pen", "lin_pen": ""}
    assert board.loc["lpc", f"{FGSM}_diff"] == 30
    assert set(pd.read_csv(store.root / "comparison.csv")["reference"]) == {"lin_pen"}


def test_the_printed_table_names_it(store: Store) -> None:
    shown = comparison_markdown(write_tables(store, TableConfig(against="lin_pen")).comparison)
    assert [cell.strip() for cell in shown.splitlines()[0].strip("|").split("|")][2] == "lin_pen"
    assert "Differences from `lin_pen` in points" in shown


def test_only_a_training_that_differs_in_the_variant_alone_is_a_reference(store: Store) -> None:
    other = run_record("lin_pen")
    assert other.spec is not None
    spec = dataclasses.replace(other.spec, recipe=dataclasses.replace(other.spec.recipe, epochs=2))
    moved = dataclasses.replace(other, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha, epochs=2)
    store.write_run(dataclasses.replace(other, weights_sha="gone"), None)
    store.write_run(moved, None)
    store.write_cell(cell_record(moved, "fgsm", standing(6)), samples_of(standing(6)))
    assert write_tables(store, TableConfig(against="lin_pen")).comparison.empty


def test_on_the_command_line(store: Store, bench: Callable[..., Any]) -> None:
    content = json.loads(bench("leaderboard", "--against", "lin_pen", "--results", store.root, "--json").out)
    assert {row["reference"] for row in content["comparison"]} == {"lin_pen"}


@pytest.mark.parametrize("command", ["leaderboard", "run"])
def test_an_unknown_variant_is_one_sentence(store: Store, bench: Callable[..., Any], command: str) -> None:
    models = ("--models", "resnet10t", "--variants", "lpc") if command == "run" else ()
    before = sorted(store.root.rglob("*"))
    outcome = bench(command, *models, "--against", "lin_pan", "--results", store.root)
    assert outcome.code == 2
    assert outcome.err.strip() == (
        "error: --against 'lin_pan': no run of this variant; choose one of: baseline, lin_pen, lpc."
    )
    assert sorted(store.root.rglob("*")) == before


def test_a_run_may_name_it(bench: Callable[..., Any], plugin: Path, tmp_path: Path) -> None:
    fixed = ("--plugin", plugin, "--models", "tiny", "--results", tmp_path, "--limit", "60", "--attacks", "none")
    more = ("--variants", "lin_pen,lpc", "--epochs", "1", "--corruptions", "none", "--no-diagnose")
    assert bench("run", *fixed, *more, "--against", "lin_pen").code == 0
    assert set(pd.read_csv(tmp_path / "comparison.csv")["reference"]) == {"lin_pen"}

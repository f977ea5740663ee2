"""Metrics of the leaderboard: one entry makes the columns, their rounding and their documentation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from records import store_with

from bench.cli.leaderboard import tables_as_data
from bench.core.errors import BenchError
from bench.leaderboard.metrics import METRICS, MetricEntry, MetricInput, register_metric
from bench.leaderboard.registry import column_units, metric_columns, metric_meanings
from bench.leaderboard.report import board_markdown
from bench.leaderboard.rows import board_rows
from bench.leaderboard.write_tables import write_tables
from bench.results.results_csv import all_cells
from bench.results.store import Store

CELLS = {("baseline", 0): {"clean": [True] * 4, "fgsm": [True, False, False, False]}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path, CELLS)


@pytest.fixture
def registered() -> Iterator[list[str]]:
    """Names that the test registers; they are removed afterwards."""
    names: list[str] = []
    yield names
    for name in names:
        METRICS.remove(name)


def third(given: MetricInput) -> float:
    return 100 / 3


def test_one_entry_makes_the_columns(store: Store, registered: list[str]) -> None:
    def halved(given: MetricInput) -> dict[str, float | str]:
        return {"": 100 * given.eps / 2, "_norm": given.norm}

    entry = MetricEntry(unit="percent", meaning="half", function=halved, scope="budget", suffixes={"_norm": "its norm"})
    register_metric("half@<norm>-<eps>", entry, origin="this test")
    registered.append("half@<norm>-<eps>")
    write_tables(store)
    board = pd.read_csv(store.root / "leaderboard.csv")
    assert board["half@linf-0.1"].tolist() == [5.0]
    assert board["half@linf-0.1_norm"].tolist() == ["linf"]


@pytest.mark.parametrize(("unit", "shown"), [("percent", 33.33), ("distance", 33.33333), ("ratio", 33.33)])
def test_the_unit_decides_the_rounding(unit: str, shown: float, store: Store, registered: list[str]) -> None:
    register_metric("third", MetricEntry(unit=unit, meaning="a third", function=third), origin="this test")  # type: ignore[arg-type]
    registered.append("third")
    write_tables(store)
    assert pd.read_csv(store.root / "leaderboard.csv")["third"].tolist() == [shown]


def test_a_metric_cannot_replace_a_column(store: Store, registered: list[str]) -> None:
    register_metric("seeds", MetricEntry(unit="percent", meaning="a third", function=third), origin="this test")
    registered.append("seeds")
    with pytest.raises(BenchError, match="column 'seeds', which already exists"):
        write_tables(store)


def test_a_failing_metric_is_named(store: Store, registered: list[str]) -> None:
    def fails(given: MetricInput) -> float:
        raise ZeroDivisionError("no images")

    register_metric("fails", MetricEntry(unit="percent", meaning="fails", function=fails), origin="mine.py")
    registered.append("fails")
    with pytest.raises(BenchError, match=r"metric 'fails' \(from mine.py\) raised ZeroDivisionError: no images"):
        write_tables(store)


def test_units_of_columns(store: Store) -> None:
    units = column_units(metric_columns(board_rows(all_cells(store))))
    assert units["median_distance@linf_lo"] == "distance"
    assert units["robust_acc_lowest@linf-0.1"] == "percent"
    assert not {"median_distance@linf_n", "clean", "dataset"} & units.keys()


@pytest.mark.parametrize(
    ("name", "unit", "value", "shown"),
    [
        ("spread_acc", "distance", 1 / 3000, "0.00033"),  # another metric is called <kind>_acc
        ("p_correct", "percent", 1000 / 3, "333.33"),  # not a p-value
        ("mean_n", "percent", 2.5, "2.5"),  # not a number of images
    ],
)
def test_no_name_changes_the_rounding(
    name: str, unit: Any, value: float, shown: str, store: Store, registered: list[str]
) -> None:
    register_metric(name, MetricEntry(unit=unit, meaning="m", function=lambda given: value), origin="this test")
    registered.append(name)
    tables = write_tables(store)
    assert pd.read_csv(store.root / "leaderboard.csv", dtype=str)[name].tolist() == [shown]
    assert tables_as_data(tables)["leaderboard"][0][name] == float(shown)


def test_a_metric_leaves_the_rounding_of_other_columns(tmp_path: Path, registered: list[str]) -> None:
    """Numbers of images stay whole, and the differences of comparison.csv have two decimals."""
    store = store_with(tmp_path, {(v, 0): {"clean": [v == "lpc", True, True]} for v in ("baseline", "lpc")})
    counted = MetricEntry(
        unit="ratio", meaning="m", function=lambda given: {"": 0.5, "_n": 123_456}, suffixes={"_n": "its images"}
    )
    for name, entry in {"diff": MetricEntry(unit="distance", meaning="m", function=third), "share": counted}.items():
        register_metric(name, entry, origin="this test")
        registered.append(name)
    write_tables(store)
    board = pd.read_csv(tmp_path / "leaderboard.csv", dtype=str)
    assert (board["share_n"].tolist(), board["clean_n"].tolist()) == (["123456"] * 2, ["3"] * 2)
    assert pd.read_csv(tmp_path / "comparison.csv", dtype=str)["diff"].tolist() == ["33.33"]


def test_a_metric_with_a_difference_is_no_accuracy(store: Store, registered: list[str]) -> None:
    entry = MetricEntry(
        unit="percent", meaning="m", function=lambda given: {"": 1.0, "_diff": 2.0}, suffixes={"_diff": "d"}
    )
    register_metric("mine", entry, origin="this test")
    registered.append("mine")
    assert "mine" not in board_markdown(write_tables(store).board)


def _changes_outcomes(given: MetricInput) -> float:
    outcome = given.outcomes.of(given.row.cells["fgsm@linf-0.1"][0])
    outcome.correct[...] = True
    return 1.0


def _changes_distances(given: MetricInput) -> float:
    distance = given.outcomes.of(given.row.cells["fgsm@linf-0.1"][0]).distance
    distance[np.isnan(distance)] = 9.0
    return float(distance.mean())


def _drops_a_cell(given: MetricInput) -> float:
    given.row.cells["fgsm@linf-0.1"].pop(0)  # type: ignore[attr-defined]
    return 1.0


@pytest.mark.parametrize("function", [_changes_outcomes, _changes_distances, _drops_a_cell])
def test_a_metric_cannot_change_what_others_read(
    function: Callable[[MetricInput], float], store: Store, registered: list[str]
) -> None:
    register_metric("changes", MetricEntry(unit="percent", meaning="m", function=function), origin="mine.py")
    registered.append("changes")
    with pytest.raises(BenchError, match=r"metric 'changes' \(from mine.py\) raised"):
        write_tables(store)


def test_a_metric_may_read_a_missing_column(store: Store, registered: list[str]) -> None:
    """Reading it does not add it to the row, where an empty column would stop the tables."""
    entry = MetricEntry(unit="percent", meaning="m", function=lambda given: float(len(given.row.cells["no-such@l2-1"])))
    register_metric("cells", entry, origin="this test")
    registered.append("cells")
    board = write_tables(store).board
    assert board["cells"].tolist() == [0.0]
    assert not [column for column in board if "no-such" in str(column)]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("inf"), "inf; return a finite number or None"),
        ({"": 1.0, "_n": 2.5}, "2.5 for the suffix '_n'; return a whole number or None"),
        ("high", "the text 'high'; return a number in the unit 'ratio', or None"),
        (True, "bool; return a number, a text or None"),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_refused(
    value: Any, problem: str, store: Store, registered: list[str]
) -> None:
    entry = MetricEntry(unit="ratio", meaning="m", function=lambda given: value, suffixes={"_n": "its images"})
    register_metric("mine", entry, origin="mine.py")
    registered.append("mine")
    with pytest.raises(BenchError, match=re.escape(f"metric 'mine' (from mine.py) returned {problem}")):
        write_tables(store)


def test_an_empty_suffix_is_refused() -> None:
    entry = MetricEntry(unit="percent", meaning="m", function=third, suffixes={"": "the same column again"})
    with pytest.raises(BenchError, match="declares an empty suffix"):
        register_metric("twice", entry, origin="this test")
    assert "twice" not in METRICS


def test_every_column_has_a_meaning() -> None:
    meanings = metric_meanings("row", "corruptions", "kind", "norm", "budget")
    assert {"mce", "mce_note", "auc@<norm>", "<kind>_acc", "robust_acc_lowest@<norm>-<eps>_n"} <= meanings.keys()
    assert all(meaning and "\n" not in meaning for meaning in meanings.values())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (10**400, "a whole number of 401 digits"),
        (-(2**63) - 1, "a whole number of 19 digits"),
        (float("inf"), "returned inf"),
        (1 + 2j, "returned complex"),
        ((1.0,), "returned tuple"),
        (np.float32(1), "returned float32"),
        (np.ones(2), "returned ndarray"),
        ("=1+1", "the text '=1\\+1'"),
        (True, "returned bool"),
    ],
)
def test_an_odd_value_is_named(value: object, message: str, store: Store, registered: list[str]) -> None:
    entry = MetricEntry(unit="ratio", meaning="odd", function=lambda given: value)  # type: ignore[arg-type,return-value]
    register_metric("odd", entry, origin="mine.py")
    registered.append("odd")
    with pytest.raises(BenchError, match=message):
        write_tables(store)


def test_nan_and_none_are_empty_and_a_formula_is_a_text(store: Store, registered: list[str]) -> None:
    values = {"": "=1+1", "_nan": float("nan"), "_none": None, "_minus": "-0.5", "_n": 2**63 - 1}
    suffixes = dict.fromkeys(values.keys() - {""}, "odd")
    entry = MetricEntry(unit="text", meaning="odd", function=lambda given: values, suffixes=suffixes)  # type: ignore[arg-type,return-value]
    register_metric("odd", entry, origin="mine.py")
    registered.append("odd")
    write_tables(store)
    board = pd.read_csv(store.root / "leaderboard.csv", dtype=str).iloc[0]
    assert (board["odd"], board["odd_minus"], board["odd_n"]) == ("'=1+1", "-0.5", str(2**63 - 1))
    assert board[["odd_nan", "odd_none"]].isna().all()

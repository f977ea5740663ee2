"""Metrics of the leaderboard: one entry makes the columns, their rounding and their documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from records import store_with

from bench.core.errors import BenchError
from bench.leaderboard.metrics import METRICS, MetricEntry, MetricInput, register_metric
from bench.leaderboard.registry import metric_meanings, unit_of
from bench.leaderboard.write_tables import write_tables
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


def test_units_of_columns() -> None:
    assert unit_of("median_distance@l2_lo") == "distance"
    assert unit_of("robust_acc_lowest@linf-8/255") == "percent"
    assert unit_of("corruptions_set") == "text"
    assert unit_of("dataset") is None


def test_every_column_has_a_meaning() -> None:
    meanings = metric_meanings("row", "corruptions", "kind", "norm", "budget")
    assert {"mce", "mce_note", "auc@<norm>", "<kind>_acc", "robust_acc_lowest@<norm>-<eps>_n"} <= meanings.keys()
    assert all(meaning and "\n" not in meaning for meaning in meanings.values())

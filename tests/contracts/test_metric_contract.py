"""Every built-in metric of the leaderboard meets the contract of metrics; metrics that break it are found."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from bench.contracts.metric_contract import check_metric
from bench.core.errors import BenchError
from bench.leaderboard.metrics import METRICS, MetricEntry, MetricInput, register_metric
from bench.leaderboard.registry import BUILTIN

NAMES = [name for name in METRICS if METRICS.origin(name) == BUILTIN]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    assert [str(check) for check in check_metric(name) if check.problem] == []


def _clean(given: MetricInput) -> float:
    clean = given.row.mean("clean")
    assert clean is not None
    return clean


_calls = itertools.count()

BROKEN: dict[str, tuple[Callable[[MetricInput], object], str]] = {
    "returns a list": (lambda given: [1.0], "returns a number, a text or None"),
    "undeclared suffix": (lambda given: {"_other": 1.0}, "returns a number, a text or None"),
    "another value per call": (lambda given: next(_calls), "repeatable"),
    "needs accuracies": (
        lambda given: 1 / len(given.row.accuracies("pgd@linf-0.1")),
        "accepts rows whose cells failed",
    ),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_metric_is_found(problem: str) -> None:
    function, rule = BROKEN[problem]
    entry = MetricEntry(unit="percent", meaning="broken", function=function)  # type: ignore[arg-type]
    register_metric("broken", entry, origin="this test")
    try:
        assert rule in {check.rule for check in check_metric("broken") if check.problem}
    finally:
        METRICS.remove("broken")


def test_the_name_has_the_placeholders_of_the_scope() -> None:
    entry = MetricEntry(unit="percent", meaning="clean accuracy", function=_clean, scope="budget")
    with pytest.raises(BenchError, match="needs <norm> and <eps>"):
        register_metric("clean@<norm>", entry, origin="this test")
    assert "clean@<norm>" not in METRICS

"""Every built-in data set meets the contract of data sets; only digits comes with its files."""

from __future__ import annotations

import pytest

from bench.contracts.dataset_contract import check_dataset_entry
from bench.core.vocabulary import NORMS
from bench.data import DATASETS

NAMES = [name for name in DATASETS if DATASETS.origin(name) == "bench.data"]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    checks = list(check_dataset_entry(name))
    assert [str(check) for check in checks if check.problem] == []
    assert {check.rule for check in checks if check.skipped} <= {"loads"}
    assert name != "digits" or not any(check.skipped for check in checks)


@pytest.mark.parametrize("name", NAMES)
def test_entry_has_budgets_for_every_norm(name: str) -> None:
    assert set(DATASETS.get(name).eps) == set(NORMS)

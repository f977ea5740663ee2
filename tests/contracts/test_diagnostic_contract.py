"""Every built-in diagnostic meets the contract of diagnostics."""

from __future__ import annotations

import pytest

from bench.contracts.diagnostic_contract import check_diagnostic
from bench.diagnostics.registry import DIAGNOSTICS

NAMES = [name for name in DIAGNOSTICS if DIAGNOSTICS.origin(name) == "bench.diagnostics"]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    assert [str(check) for check in check_diagnostic(name) if check.problem] == []

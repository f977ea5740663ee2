"""Every built-in corruption meets the contract of corruptions; wrong ones do not."""

from __future__ import annotations

import pytest

from bench.attacks.corruptions.apply import CORRUPTIONS
from bench.contracts.corruption_contract import check_corruption

NAMES = [name for name in CORRUPTIONS if CORRUPTIONS.origin(name) == "bench.attacks.corruptions.builtin"]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    assert [str(check) for check in check_corruption(name, sizes=(32, 64)) if check.problem] == []

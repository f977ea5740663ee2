"""Architectures of timm meet the contract of models."""

from __future__ import annotations

import pytest

from bench.contracts.model_contract import check_model_entry


@pytest.mark.parametrize(("name", "image_size"), [("resnet10t", 8), ("resnet10t", 32), ("test_vit", 32)])
def test_contract(name: str, image_size: int) -> None:
    assert [str(check) for check in check_model_entry(name, image_size=image_size) if check.problem] == []

"""Every built-in variant meets the contract of variants, and says where it comes from."""

from __future__ import annotations

import re

import pytest
import torch

from bench.contracts.variant_contract import check_variant
from bench.core.specs import ModelSpec
from bench.models.build import build_classifier
from bench.models.variants import VARIANTS

NAMES = [name for name in VARIANTS if VARIANTS.origin(name) == "bench.models.variants"]


@pytest.mark.parametrize("name", [*NAMES, "lin_pen+pgd_at"])
def test_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the smallest residual network; test_check_plugin uses the contract's own."""
    monkeypatch.setattr("bench.contracts.variant_contract.BACKBONE", "test_resnet")
    assert [str(check) for check in check_variant(name) if check.problem] == []


@pytest.mark.parametrize("name", NAMES)
def test_entry_names_a_paper(name: str) -> None:
    assert re.search(r"arXiv \d{4}\.\d{4,5}|OpenReview|ECCV", VARIANTS.get(name).source)


def test_equal_seeds_build_equal_weights_whatever_came_before() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.rand(17)
        spec = VARIANTS.get("lpc").spec
        built = build_classifier(
            ModelSpec(name="resnet10t"), spec, image_size=8, num_classes=3, mean=(0,) * 3, std=(1,) * 3, seed=seed
        )
        return torch.cat([p.flatten() for p in built.classifier.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))

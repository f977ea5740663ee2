"""Every family of timm makes a backbone of images of 8 px, the smallest that this project meets."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from families import FAMILY_MODELS, SMALLEST

from bench.models.backbones import build_backbone

SIDE = 8
LARGE = 50_000_000
# A family per kind that backbones tell apart: small or native stem; images kept at 8 px, enlarged to 16, 24 or 32,
# or to the only size that the architecture takes; features from maps, tokens, two branches or two classifiers.
QUICK = (
    "byobnet", "convnext", "crossvit", "efficientformer_v2", "levit", "mlp_mixer", "pit", "vision_transformer",
    "vovnet", "xcit",
)  # fmt: skip


def slow_unless(quick: Any, name: str, *values: Any) -> Any:
    return pytest.param(*values, marks=[] if name in quick else pytest.mark.slow, id=name)


def test_every_family_of_the_installed_timm_is_tested() -> None:
    assert set(FAMILY_MODELS) == {f for f in timm.list_modules() if timm.list_models(module=f)}


def test_the_table_is_the_one_of_the_timm_it_was_made_with() -> None:
    if timm.__version__ != "1.0.31":
        pytest.skip("the table was made with timm 1.0.31")
    assert set(SMALLEST) == set(timm.list_modules())
    assert FAMILY_MODELS == SMALLEST


@pytest.mark.parametrize("name", [slow_unless(QUICK, family, name) for family, name in FAMILY_MODELS.items()])
def test_an_image_of_8_px_becomes_features_with_gradients(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, image_size=SIDE, num_classes=10)
    module = backbone.module
    assert (backbone.native_size, backbone.classifier) == (SIDE, None)
    assert backbone.stem in {"native", "small"}
    assert backbone.img_size >= SIDE
    # The largest would need gigabytes for their gradients; those of the images show as well that all is connected.
    module.requires_grad_(sum(p.numel() for p in module.parameters()) < LARGE)
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        check(module.eval()(images), backbone)

    features = module.train()(images.requires_grad_())
    check(features, backbone)
    # Features behind a layer norm have a constant sum: weigh them apart.
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def check(features: Any, backbone: Any) -> None:
    assert features.shape == (2, backbone.num_features)
    assert features.isfinite().all()

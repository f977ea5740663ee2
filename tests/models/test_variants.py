"""Every built-in variant, number by number, as its source has it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.core.specs import AdversarySpec, VariantSpec
from bench.models.heads import HEADS
from bench.models.variants import VARIANTS

RECIPE = "recipe"
PUBLISHED = {
    "baseline": VariantSpec(),
    "baseline_wd": VariantSpec(weight_decay=0.1),
    "lin_pen": VariantSpec(head="linear", latent_dim=64),
    "nonlin_pen": VariantSpec(head="silu", latent_dim=64),
    "lpc": VariantSpec(head="linear", latent_dim=64, penalty="mean_square", schedule=RECIPE, balance_dim=64),
    "lpc_wide": VariantSpec(head="linear", latent_dim=128, penalty="mean_square", schedule=RECIPE, balance_dim=64),
    "lpc_narrow": VariantSpec(head="linear", latent_dim=32, penalty="mean_square", schedule=RECIPE, balance_dim=64),
    "lpc_no_pen": VariantSpec(penalty="mean_square", schedule=RECIPE, balance_dim=64),
    "lpc_scl": VariantSpec(
        head="linear", latent_dim=64, penalty="mean_square", schedule=RECIPE, balance_dim=64,
        term="supervised_contrastive_authors", term_weight=1.0,
    ),
    "lpc_exp": VariantSpec(head="linear", latent_dim=64, penalty="exp_mean_square", schedule=RECIPE, balance_dim=64),
    "scl": VariantSpec(term="supervised_contrastive_authors", term_weight=1.0),
    "scl_khosla": VariantSpec(term="supervised_contrastive", term_weight=1.0),
    "arcface": VariantSpec(criterion="arcface"),
    "cosface": VariantSpec(criterion="cosface"),
    "center_loss": VariantSpec(term="center_loss", term_weight=0.003),
    "label_smoothing": VariantSpec(criterion="label_smoothing"),
    "feature_norm": VariantSpec(penalty="mean_square", schedule="constant", gamma=1.0),
    "l1_pen": VariantSpec(head="silu", latent_dim=64, penalty="mean_l1", schedule="constant", gamma=1e-4),
    "dropout_pen": VariantSpec(head="dropout", latent_dim=64),
    "pgd_at": VariantSpec(adversary=AdversarySpec(norm="linf", eps=None, steps=10, step_size=2 / 8), ema=0.995),
}  # fmt: skip


PGD, PGD_L2 = AdversarySpec(steps=10, step_size=2 / 8), AdversarySpec(norm="l2", steps=10, step_size=15 / 128)
PUBLISHED |= {
    "pgd_at_l2": VariantSpec(adversary=PGD_L2, ema=0.995),
    "trades": VariantSpec(adversary=PGD, ema=0.995, training_step="trades", step_weight=6.0),
    "mart": VariantSpec(adversary=PGD, ema=0.995, training_step="mart", step_weight=5.0),
    "fast_at": VariantSpec(adversary=AdversarySpec(steps=1, step_size=1.0, start=2.0, projected=False), ema=0.995),
    "awp": VariantSpec(adversary=PGD, ema=0.995, weight_perturbation=0.01),
    "awp_l2": VariantSpec(adversary=PGD_L2, ema=0.995, weight_perturbation=0.01),
    "augmix": VariantSpec(training_step="augmix", step_weight=12.0),
    "gaussian_aug": VariantSpec(noise=0.1, noise_share=0.5),
    "input_gradient_penalty": VariantSpec(training_step="input_gradient_penalty", step_weight=0.02),
    "jacobian_penalty": VariantSpec(training_step="jacobian_penalty", step_weight=0.01),
    "spectral_norm": VariantSpec(spectral_norm=True),
}


def test_there_are_these_variants() -> None:
    """Rivals are in test_rivals."""
    assert {name for name in VARIANTS if VARIANTS.origin(name) == "bench.models.variants"} >= PUBLISHED.keys()


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_a_variant_is_what_its_source_has(name: str) -> None:
    assert VARIANTS.get(name).spec == PUBLISHED[name]


def test_heads_do_what_they_are_called() -> None:
    features = torch.randn(4000, 6)
    assert isinstance(HEADS.get("linear").build(6, 3), nn.Linear)
    nonlinear = HEADS.get("silu").build(6, 3)
    assert torch.equal(nonlinear(features), nn.functional.silu(nonlinear[0](features)))
    dropout = HEADS.get("dropout").build(6, 3).train()
    assert float((dropout(features) == 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert torch.equal(dropout.eval()(features), dropout[0](features))

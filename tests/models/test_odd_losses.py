"""Parts of a loss that are not one number with a gradient: an error that names the part, never a silent baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.errors import CellFailure
from bench.core.specs import VariantSpec
from bench.models.auxiliary_losses import Batch
from bench.models.objective import Objective
from bench.models.penalties import PENALTIES, PenaltyEntry
from bench.models.schedules import TrainingFacts

FACTS = TrainingFacts(epochs=1, steps_per_epoch=1, lr=0.1, num_classes=3, latent_dim=4, gamma=1.0)
SPEC = VariantSpec(penalty="odd", schedule="constant", gamma=1.0)


def loss(penalty: Callable[[Tensor], Any]) -> Tensor:
    PENALTIES.register("odd", PenaltyEntry(summary="s", source="s", function=penalty), origin="tests")
    try:
        latents = torch.ones(5, 4, requires_grad=True)
        batch = Batch(latents, latents, latents[:, :3], torch.zeros(5, dtype=torch.int64))
        return Objective(SPEC, FACTS, latent_dim=4).loss(batch, gamma=0.0, epoch=1)
    finally:
        PENALTIES.remove("odd")


@pytest.mark.parametrize(
    ("penalty", "message"),
    [
        (lambda z: z.detach().square().mean(), "the penalty has no gradient"),
        (lambda z: torch.tensor(1.0), "the penalty has no gradient"),
        (lambda z: z.square().mean(1), r"returned torch.float32 of shape \(5,\)"),
        (lambda z: z.square().mean().view(1), r"of shape \(1,\)"),
        (lambda z: z.mean().long(), "returned torch.int64"),
        (lambda z: z.mean().item(), "returned float"),
        (lambda z: 1, "returned int"),
        (lambda z: z.mean().to("meta"), "returned a number on meta"),
        (lambda z: None, "returned NoneType"),
        (lambda z: (z.mean(),), "returned tuple"),
    ],
)
def test_an_odd_penalty_is_named(penalty: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(CellFailure, match=message) as caught:
        loss(penalty)
    assert caught.value.reason == "loss_error"


def test_a_penalty_may_have_a_gradient_of_zero() -> None:
    assert loss(lambda z: (z - 2).clamp(min=0).mean()).requires_grad

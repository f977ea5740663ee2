"""A plug-in's gradient attack is held against the audit's attacks without gradients, as a built-in one is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from controls import ordinary
from test_controls import SEED, audited, flags
from torch import Tensor, nn

from bench.attacks import ATTACKS, AttackEntry, SampleRng, pgd
from bench.core.specs import Norm


class Hidden(nn.Module):
    """The network behind pixels that pass no gradient of use: it points the other way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(2 * inputs.detach() - inputs)
        return logits


@pytest.fixture(params=[True, False], ids=["declared", "not declared"])
def uses_gradient(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Register an attack that knows how the gradients are hidden."""
    inner = ordinary(SEED)

    def adaptive(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng) -> Tensor:
        return pgd(inner, inputs, labels, norm=norm, eps=eps, rng=rng)

    entry = AttackEntry(summary="s", source="s", function=adaptive, uses_gradient=request.param)
    ATTACKS.register("adaptive", entry, origin="a plug-in")
    yield request.param
    ATTACKS.remove("adaptive")


def test_images_that_a_plug_ins_gradients_broke_are_no_evidence_of_masking(uses_gradient: bool, tmp_path: Path) -> None:
    """Without the trait its gradients are not held against Square, which then seems to find what they do not."""
    model = Hidden(ordinary(SEED)).eval()
    record = audited(model, tmp_path, ("fgsm", "pgd", "adaptive"), n=100)
    assert ("black_box_stronger" in flags(record)) != uses_gradient

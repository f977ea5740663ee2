"""Adversarial weight perturbation against its steps by hand, as in the authors' code: proxy, perturb, restore."""

from __future__ import annotations

import copy

import pytest
import torch
from steps import linear_model, pgd, some_context
from torch import Tensor
from torch.nn import functional as F

from bench.core.specs import VariantSpec
from bench.models.classifier import Classifier
from bench.models.step_loss import step_loss

SIZE = 0.05
AWP = VariantSpec(adversary=pgd(), weight_perturbation=SIZE)


def by_hand(model: Classifier, images: Tensor, labels: Tensor) -> tuple[float, list[Tensor]]:
    """Return loss and gradients at the weights of a copy moved by one ascent step of a proxy, per matrix."""
    proxy, moved = copy.deepcopy(model), copy.deepcopy(model)
    (-F.cross_entropy(proxy(images), labels)).backward()
    torch.optim.SGD(proxy.parameters(), lr=0.01).step()
    with torch.no_grad():
        for old, new, target in zip(model.parameters(), proxy.parameters(), moved.parameters(), strict=True):
            if old.ndim > 1:
                difference = new - old
                target += SIZE * old.norm() / difference.norm() * difference
    loss = F.cross_entropy(moved(images), labels)
    loss.backward()
    return loss.item(), [parameter.grad for parameter in moved.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("norm", [False, True])
def test_awp_is_its_steps_by_hand(norm: bool) -> None:
    context = some_context(AWP, linear_model(norm=norm))
    model = context.model.train()
    before = copy.deepcopy(model)
    loss = step_loss(AWP, context)
    expected, gradients = by_hand(before, context._perturbed[0], context.batch.labels)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    loss.backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, atol=1e-10)
    for parameter, old in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, old)
    assert context.last is not None
    assert not torch.allclose(context.last.outputs, before(context._perturbed[0]))  # at the perturbed weights


def test_the_loss_is_larger_at_the_worst_weights_and_images_are_attacked_once() -> None:
    plain = some_context(VariantSpec(adversary=pgd()))
    context = some_context(AWP)
    assert step_loss(AWP, context).item() > step_loss(VariantSpec(adversary=pgd()), plain).item()
    assert torch.equal(context._perturbed[0], plain._perturbed[0])
    assert len(context._perturbed) == 1


def test_running_statistics_and_terms_change_once() -> None:
    """The first pass leaves no trace: the statistics are those of one pass, at the worst weights."""
    variant = VariantSpec(adversary=pgd(), weight_perturbation=SIZE, term="center_loss", term_weight=0.1)
    context = some_context(variant, linear_model(norm=True).train())
    context.objective.term.double()  # type: ignore[union-attr]
    norm = context.model.backbone[2]
    step_loss(variant, context)
    assert int(norm.num_batches_tracked) == 1
    assert context.last is not None
    centres = context.objective.term.centres  # type: ignore[union-attr]
    z, labels = context.last.latents, context.batch.labels
    for k in range(len(centres)):
        mine = z[labels == k]
        assert torch.allclose(centres[k], 0.5 * mine.sum(0) / (1 + len(mine)))


@pytest.mark.parametrize("step", ["trades", "mart"])
def test_it_works_around_other_steps(step: str) -> None:
    variant = VariantSpec(adversary=pgd(), training_step=step, step_weight=6.0)
    worst = VariantSpec(adversary=pgd(), training_step=step, step_weight=6.0, weight_perturbation=SIZE)
    assert step_loss(worst, some_context(worst)).item() > step_loss(variant, some_context(variant)).item()

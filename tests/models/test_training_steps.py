"""Losses of the training steps against their equations, in float64, written once more from the papers."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from steps import CLASSES, COUNT, linear_model, pgd, some_batch, some_context
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import BenchError, CellFailure
from bench.core.specs import VariantSpec
from bench.models.adversarial_steps import boosted_cross_entropy, divergence
from bench.models.smoothness_steps import jensen_shannon
from bench.models.step_loss import passes_per_step, step_loss
from bench.models.training_steps import TRAINING_STEPS, StepEntry, check_step
from bench.models.variants import VARIANTS

TRADES = VariantSpec(training_step="trades", step_weight=6.0, adversary=pgd())
MART = VariantSpec(training_step="mart", step_weight=5.0, adversary=pgd())
LPC = {"penalty": "mean_square", "schedule": "constant", "gamma": 0.7}


def some_outputs(count: int, *, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_divergence_is_that_of_torch() -> None:
    p, q = some_outputs(7), some_outputs(14)[7:]
    expected = F.kl_div(q.log_softmax(1), p.softmax(1), reduction="none").sum(1)
    assert torch.allclose(divergence(p, q), expected, atol=1e-14)
    assert torch.allclose(divergence(p, p), torch.zeros(7, dtype=torch.float64))


def test_boosted_cross_entropy_is_the_equation() -> None:
    outputs, labels = some_outputs(40), torch.arange(40) % CLASSES
    expected = []
    for logits, label in zip(outputs.tolist(), labels.tolist(), strict=True):
        total = sum(math.exp(o) for o in logits)
        p = [math.exp(o) / total for o in logits]
        expected.append(-math.log(p[label]) - math.log(1 - max(p[k] for k in range(CLASSES) if k != label)))
    assert boosted_cross_entropy(outputs, labels).tolist() == pytest.approx(expected, rel=1e-12)
    certain = torch.tensor([[0.0, 60.0, 0.0, 0.0]])  # float32: 1 − p is 0, its logarithm is not
    assert float(boosted_cross_entropy(certain, torch.tensor([0]))) == pytest.approx(120 - math.log(3), rel=1e-6)


def test_jensen_shannon_is_the_entropy_of_the_mean_minus_the_mean_entropy() -> None:
    views = [some_outputs(7 * (i + 1))[-7:] for i in range(3)]
    probabilities = [v.softmax(1) for v in views]

    def entropy(p: Tensor) -> Tensor:
        return torch.distributions.Categorical(probs=p).entropy()

    expected = entropy(sum(probabilities) / 3) - sum(map(entropy, probabilities)) / 3  # type: ignore[arg-type]
    assert torch.allclose(jensen_shannon(*views), expected, atol=1e-13)
    far = [1e4 * F.one_hot(torch.tensor([k]), CLASSES).double() for k in range(3)]
    assert float(jensen_shannon(*far)) == pytest.approx(math.log(3))  # its maximum


@pytest.mark.parametrize("penalised", [False, True])
def test_trades_is_its_equation(penalised: bool) -> None:
    variant = dataclasses.replace(TRADES, **LPC) if penalised else TRADES
    context = some_context(variant)
    loss = step_loss(variant, context)
    found = context._perturbed[0]
    model, (images, labels) = context.model, context.batch
    p, q = model(images).softmax(1), model(found).softmax(1)
    expected = F.nll_loss(p.log(), labels) + 6.0 * F.kl_div(q.log(), p, reduction="batchmean")
    if penalised:
        expected = expected + 0.7 * model.features(images).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for mine, theirs in zip(torch.autograd.grad(loss, list(model.parameters())), wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)  # both predictions have a gradient
    assert context.last is not None
    assert torch.equal(context.last.outputs, model(images))


def test_the_adversary_of_trades_finds_the_largest_divergence() -> None:
    """Larger than at a thousand random corners of the ball, and than where the cross-entropy is largest."""
    context = some_context(TRADES)
    step_loss(TRADES, context)
    model, images = context.model, context.batch.images
    clean = model(images)
    best = divergence(clean, model(context._perturbed[0])).sum()
    generator = torch.Generator().manual_seed(3)
    corners = [torch.randint(0, 2, images.shape, generator=generator) * 2 - 1 for _ in range(1000)]
    assert all(divergence(clean, model(images + 0.1 * corner)).sum().item() <= best.item() for corner in corners)
    assert float((context._perturbed[0] - images).abs().max()) == pytest.approx(0.1)
    found = images + 0.001 * context.random.normal("trades", *images.shape[1:])
    for _ in range(10):  # the search of the authors' code, step by step
        leaf = found.detach().requires_grad_()
        loss = F.kl_div(model(leaf).log_softmax(1), clean.detach().softmax(1), reduction="sum")
        found = found + 0.025 * torch.autograd.grad(loss, leaf)[0].sign()
        found = torch.minimum(torch.maximum(found, images - 0.1), images + 0.1).clamp(0, 1)
    assert torch.allclose(found, context._perturbed[0], atol=1e-12)
    other = some_context(VariantSpec(adversary=pgd())).attack()
    assert divergence(clean, model(other)).sum().item() < best.item()


@pytest.mark.parametrize("penalised", [False, True])
def test_mart_is_its_equation(penalised: bool) -> None:
    variant = dataclasses.replace(MART, **LPC) if penalised else MART
    context = some_context(variant)
    loss = step_loss(variant, context)
    model, (images, labels) = context.model, context.batch
    found = context._perturbed[0]
    p, q = model(images).softmax(1), model(found).softmax(1)
    of_label = F.one_hot(labels, CLASSES).bool()
    main = -q[of_label].log() - (1 - q.masked_fill(of_label, 0).amax(1)).log()
    doubt = 1 - p[of_label]
    expected = (main + 5.0 * (p * (p / q).log()).sum(1) * doubt).mean()
    if penalised:
        expected = expected + 0.7 * model.features(found).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for mine, theirs in zip(torch.autograd.grad(loss, list(model.parameters())), wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)
    assert context.last is not None
    assert torch.equal(context.last.outputs, model(found))


def test_both_start_near_the_image() -> None:
    """With no step, the images are those of the Gaussian start of the authors' code, 0.001 wide."""
    for variant in (TRADES, MART):
        still = dataclasses.replace(variant, adversary=dataclasses.replace(pgd(), steps=0))
        context = some_context(still)
        step_loss(still, context)
        delta = context._perturbed[0] - context.batch.images
        assert float(delta.std()) == pytest.approx(0.001, rel=0.2)


@pytest.mark.parametrize("adversary", [None, pgd()])
def test_the_gradient_penalty_is_its_equation(adversary: object) -> None:
    """For a linear classifier, ∂L_i/∂x_i = Wᵀ(p_i − e_y), without automatic differentiation."""
    variant = VariantSpec(training_step="input_gradient_penalty", step_weight=0.02, adversary=adversary)  # type: ignore[arg-type]
    context = some_context(variant)
    loss = step_loss(variant, context)
    model, labels = context.model, context.batch.labels
    images = context._perturbed[0]
    weight = model.output.weight @ model.backbone[1].weight  # (K, D)
    outputs = model(images)
    norms = ((outputs.softmax(1) - F.one_hot(labels, CLASSES)) @ weight).norm(dim=1)
    expected = F.cross_entropy(outputs, labels) + 0.02 * norms.mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for mine, theirs in zip(torch.autograd.grad(loss, list(model.parameters())), wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-12)


def test_the_jacobian_penalty_has_the_frobenius_norm_as_its_mean() -> None:
    """The Jacobian of a linear classifier is its weight. The estimate is averaged over images and epochs."""
    variant = VariantSpec(training_step="jacobian_penalty", step_weight=0.01)
    model, estimates = linear_model(), []
    weight = (model.output.weight @ model.backbone[1].weight).detach()
    for epoch in range(150):
        context = some_context(variant, model)
        context.random._epoch = epoch  # type: ignore[attr-defined]
        loss = step_loss(variant, context)
        assert context.last is not None
        estimates.append((loss - F.cross_entropy(context.last.outputs, context.batch.labels)).item())
        direction = F.normalize(context.random.normal("jacobian", CLASSES))
        by_hand = CLASSES * (direction @ weight).square().sum(1).mean()
        assert estimates[-1] == pytest.approx(0.005 * float(by_hand), rel=1e-8)
    assert sum(estimates) / 150 == pytest.approx(0.005 * float(weight.square().sum()), rel=0.08)


def test_augmix_is_cross_entropy_and_the_divergence_of_three_views() -> None:
    variant = VariantSpec(training_step="augmix", step_weight=12.0, **LPC)  # type: ignore[arg-type]
    context = some_context(variant)
    seen: list[Tensor] = []
    compute = context.compute

    def watched(images: Tensor, labels: Tensor) -> object:
        seen.append(images)
        return compute(images, labels)

    context.compute = watched  # type: ignore[assignment]
    loss = step_loss(variant, context)
    model, (images, labels) = context.model, context.batch
    (every,) = seen
    clean, first, second = every.chunk(3)
    assert torch.equal(clean, images)
    assert not torch.equal(first, second)
    p = [model(view).softmax(1) for view in (clean, first, second)]
    mean = (sum(p) / 3).log()  # type: ignore[union-attr, arg-type]
    divergences = sum(F.kl_div(mean, q, reduction="batchmean") for q in p) / 3
    expected = F.cross_entropy(model(images), labels) + 12 * divergences + 0.7 * model.features(images).square().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    assert context.last is not None
    assert len(context.last.labels) == COUNT


def test_a_step_runs_again_on_the_same_images() -> None:
    context = some_context(VariantSpec(adversary=pgd()))
    first, second = context.attack(), context.attack(start=torch.zeros_like(some_batch().images))
    context.rewind()
    assert context.attack() is first
    assert context.attack() is second
    assert context.attack() is not second


def test_steps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BenchError, match="variant 'v' has the training step 'trades', which needs an adversary"):
        check_step("v", dataclasses.replace(TRADES, adversary=None))
    check_step("v", TRADES)
    check_step("v", VariantSpec(training_step="input_gradient_penalty"))


def test_a_step_must_return_one_number_with_a_gradient() -> None:
    entry = StepEntry(summary="s", source="s", function=lambda batch, context: batch.images)
    TRAINING_STEPS.register("many", entry, origin="test")
    try:
        for size in (0.0, 0.01):
            variant = VariantSpec(training_step="many", weight_perturbation=size)
            with pytest.raises(CellFailure, match="the training step returned"):
                step_loss(variant, some_context(variant))
    finally:
        TRAINING_STEPS.remove("many")


def test_the_passes_of_a_step_are_declared() -> None:
    """For the estimate of the duration: with weight perturbation, every step is computed twice."""
    expected = {"baseline": 1, "pgd_at": 1, "awp": 2, "mart": 2, "augmix": 3}
    assert {name: passes_per_step(VARIANTS.get(name).spec) for name in expected} == expected

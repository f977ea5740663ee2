"""The search for a training perturbation against what can be computed: a linear model's worst image, ball and box."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import LinearModel
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec
from bench.models.adversary import Adversary, Loss, Uniform, ascend

EPS = 0.1
PGD = AdversarySpec(eps=EPS)
START = AdversarySpec(eps=EPS, steps=0)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def starts(seed: int = 0) -> Uniform:
    generator = draws(seed)
    return lambda images: 2 * torch.rand(images.shape, generator=generator) - 1


def some_images(count: int = 6, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand(count, 3, 4, 4, generator=draws(1))


def loss_of(model: nn.Module, labels: Tensor) -> Loss:
    return lambda images: F.cross_entropy(model(images), labels)


def some_network() -> nn.Sequential:
    """With everything that has a mode or a state: batch norm, dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(32, 3)
    )


@pytest.mark.parametrize("seed", range(5))
def test_on_a_linear_model_the_search_ends_at_the_worst_image(seed: int) -> None:
    """L = log(1 + e^{−m}), m = ±(w·x + b): the worst image is x ∓ ε·sign w, where m is smaller by ε·‖w‖₁."""
    torch.manual_seed(seed)
    model = LinearModel(torch.randn(48), bias=0.3)
    images, labels = some_images(low=EPS, high=1 - EPS), torch.tensor([0, 1, 0, 1, 1, 0])
    found = ascend(loss_of(model, labels), images, PGD, uniform=starts(seed))
    sides = torch.where(labels == 0, 1.0, -1.0)  # class 0 fears a higher score
    direction = sides.view(-1, 1, 1, 1) * model.weight.detach().sign().view(3, 4, 4)
    assert torch.equal(found, images + EPS * direction)
    margins = -sides * (images.flatten(1) @ model.weight.detach() + 0.3)
    expected = F.softplus(EPS * model.weight.detach().abs().sum() - margins)
    losses = F.cross_entropy(model(found), labels, reduction="none")
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_at_the_edge_of_the_box_the_worst_image_is_clipped() -> None:
    model, images = LinearModel(torch.ones(48), bias=0.0), torch.full((1, 3, 4, 4), 1 - EPS / 2)
    found = ascend(loss_of(model, torch.tensor([0])), images, PGD, uniform=starts())
    assert torch.equal(found, torch.ones_like(found))


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_the_perturbation_stays_in_the_ball_and_in_the_box(steps: int) -> None:
    images, labels = some_images(64).mul(1.2).sub(0.1).clamp(0, 1), torch.arange(64) % 3
    assert {0.0, 1.0} <= set(images.flatten().tolist())
    spec = AdversarySpec(eps=0.3, steps=steps, step_size=0.9)
    found = ascend(loss_of(some_network().eval(), labels), images, spec, uniform=starts())
    assert float((found - images).abs().max()) <= 0.3 + 1e-7
    assert float((found - images).abs().max()) > 0.29
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad


def test_a_pixel_outside_the_box_goes_no_further_out_and_no_further_than_the_ball() -> None:
    images = torch.tensor([-0.3, -0.05, 1.05, 1.3]).repeat(12).view(1, 3, 4, 4)
    model = LinearModel(torch.full((48,), 0.1), bias=0.0)
    for label in (0, 1):
        found = ascend(loss_of(model, torch.tensor([label])), images, PGD, uniform=starts())
        expected = [-0.2, 0.05, 1.05, 1.3] if label == 0 else [-0.3, -0.05, 0.95, 1.2]
        assert found.flatten()[:4].tolist() == pytest.approx(expected)


def test_the_start_is_uniform_in_the_ball() -> None:
    images = torch.full((100, 3, 4, 4), 0.5)
    delta = ascend(lambda _: torch.tensor(0.0), images, START, uniform=starts()) - images
    assert float(delta.mean()) == pytest.approx(0, abs=0.05 * EPS)
    assert float(delta.square().mean()) == pytest.approx(EPS**2 / 3, rel=0.05)
    assert float(delta.abs().max()) <= EPS + 1e-7


def test_equal_generators_give_equal_perturbations_and_other_ones_others() -> None:
    images, labels = some_images(), torch.arange(6) % 3
    loss = loss_of(some_network().eval(), labels)
    spec = AdversarySpec(eps=EPS, steps=2)  # too few to forget where it started
    first, second, other = (ascend(loss, images, spec, uniform=starts(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    shared = starts()
    assert torch.equal(ascend(loss, images, spec, uniform=shared), first)
    assert not torch.equal(ascend(loss, images, spec, uniform=shared), first)


def test_the_search_leaves_the_model_as_it_was() -> None:
    """Weights and their gradients, running statistics, every module's own mode, and the global generator."""
    model = some_network().train()
    model[4].eval()  # a mode that is not that of the whole
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    images, kept = some_images(), some_images()
    modes: list[bool] = []
    model[1].register_forward_hook(lambda module, *_: modes.append(module.training))
    found = Adversary(PGD).perturb(model, loss_of(model, torch.arange(6) % 3), images, uniform=starts())
    assert not torch.equal(found, images)
    assert modes == [False] * 10
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(bool((parameter.grad == 7).all()) for parameter in model.parameters() if parameter.grad is not None)
    assert [module.training for module in model] == [True, True, True, True, False, True]
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(images, kept)
    assert not images.requires_grad


def test_a_search_that_fails_leaves_the_mode() -> None:
    def broken(images: Tensor) -> Tensor:
        raise ValueError

    model = some_network().train()
    with pytest.raises(ValueError):  # noqa: PT011 - the one raised above
        Adversary(PGD).perturb(model, broken, some_images(), uniform=starts())
    assert all(module.training for module in model.modules())


def test_without_an_adversary_or_with_a_budget_of_nothing_images_are_trained_on_as_they_are() -> None:
    model, images = some_network(), some_images()
    loss = loss_of(model, torch.arange(6) % 3)
    assert Adversary(None).perturb(model, loss, images, uniform=starts()) is images
    assert torch.equal(Adversary(AdversarySpec(eps=0.0)).perturb(model, loss, images, uniform=starts()), images)


@pytest.mark.parametrize("factor", [0.0, math.nan])
def test_without_a_slope_the_image_stays_where_the_search_began(factor: float) -> None:
    found = [ascend(lambda x: (factor * x).sum(), some_images(), s, uniform=starts()) for s in (PGD, START)]
    assert torch.equal(*found)


def test_an_adversary_needs_a_budget() -> None:
    with pytest.raises(BenchError, match="needs a budget"):
        Adversary(AdversarySpec())

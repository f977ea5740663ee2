"""The search for a training perturbation against what can be computed: a linear model's worst image, ball and box."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from helpers import LinearModel
from scipy.stats import kstest
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec
from bench.data.sample_random import SampleRandom
from bench.models import adversary
from bench.models.adversary import Adversary, Loss, random_start
from bench.models.variants import VARIANTS

EPS = 0.1
PGD = AdversarySpec(eps=EPS)
START = AdversarySpec(eps=EPS, steps=0)
PGD_L2 = AdversarySpec(norm="l2", eps=EPS)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def starts(seed: int = 0, count: int = 6) -> SampleRandom:
    return SampleRandom(seed, 1, torch.arange(count))


def ascend(loss: Loss, images: Tensor, spec: AdversarySpec, *, seed: int = 0) -> Tensor:
    return adversary.ascend(loss, images, spec, start=random_start(images, spec, starts(seed, len(images))))


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
    found = ascend(loss_of(model, labels), images, PGD, seed=seed)
    sides = torch.where(labels == 0, 1.0, -1.0)  # class 0 fears a higher score
    direction = sides.view(-1, 1, 1, 1) * model.weight.detach().sign().view(3, 4, 4)
    assert torch.equal(found, images + EPS * direction)
    margins = -sides * (images.flatten(1) @ model.weight.detach() + 0.3)
    expected = F.softplus(EPS * model.weight.detach().abs().sum() - margins)
    losses = F.cross_entropy(model(found), labels, reduction="none")
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_at_the_edge_of_the_box_the_worst_image_is_clipped() -> None:
    model, images = LinearModel(torch.ones(48), bias=0.0), torch.full((1, 3, 4, 4), 1 - EPS / 2)
    found = ascend(loss_of(model, torch.tensor([0])), images, PGD)
    assert torch.equal(found, torch.ones_like(found))


@pytest.mark.parametrize("seed", range(5))
def test_in_l2_the_search_ends_at_the_worst_image_of_a_linear_model(seed: int) -> None:
    """The worst image is x ∓ ε·w/‖w‖₂, where the margin is smaller by ε·‖w‖₂ (float64)."""
    torch.manual_seed(seed)
    model = LinearModel(torch.randn(48, dtype=torch.float64), bias=0.3)
    images = some_images(low=EPS, high=1 - EPS).double()
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    found = ascend(loss_of(model, labels), images, dataclasses.replace(PGD_L2, steps=100), seed=seed)
    weight = model.weight.detach()
    sides = torch.where(labels == 0, 1.0, -1.0)
    worst = images + EPS * sides.view(-1, 1, 1, 1) * (weight / weight.norm()).view(3, 4, 4)
    assert float((found - worst).abs().max()) < 1e-6
    margins = -sides * (images.flatten(1) @ weight + 0.3)
    losses = F.cross_entropy(model(found), labels, reduction="none")
    assert losses.tolist() == pytest.approx(F.softplus(EPS * weight.norm() - margins).tolist(), rel=1e-9)


def test_the_start_in_l2_is_uniform_in_the_ball() -> None:
    """In D dimensions (‖δ‖/ε)^D is uniform on [0, 1], and the direction has mean 0."""
    images = torch.full((20000, 1, 1, 3), 0.5)
    spec = dataclasses.replace(PGD_L2, steps=0)
    delta = (ascend(lambda _: torch.tensor(0.0), images, spec) - images).flatten(1)
    radii = delta.norm(dim=1) / EPS
    assert kstest((radii**3).numpy(), "uniform").pvalue > 0.01
    height = (delta / delta.norm(dim=1, keepdim=True))[:, 0]  # uniform on [−1, 1] for a point of the sphere in space
    assert kstest((height / 2 + 0.5).numpy(), "uniform").pvalue > 0.01
    assert float((delta.T @ delta / len(delta)).fill_diagonal_(0).abs().max()) < 0.02 * EPS**2


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_in_l2_the_perturbation_stays_in_the_ball_and_in_the_box(steps: int) -> None:
    images, labels = some_images(64).mul(1.2).sub(0.1).clamp(0, 1), torch.arange(64) % 3
    spec = AdversarySpec(norm="l2", eps=0.7, steps=steps, step_size=0.9)
    found = ascend(loss_of(some_network().eval(), labels), images, spec)
    lengths = (found - images).flatten(1).norm(dim=1)
    assert float(lengths.max()) <= 0.7 + 1e-6
    assert float(lengths.max()) > 0.4
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_a_tiny_gradient_in_l2_is_a_full_step() -> None:
    """Its square is below the smallest float32."""
    images = some_images(low=0.4, high=0.6)
    found = [ascend(lambda x, f=factor: (f * x).sum(), images, PGD_L2) for factor in (1.0, 1e-30)]
    assert torch.allclose(*found, atol=1e-6)


def test_a_step_of_n_fgsm_is_the_published_one() -> None:
    """δ = η + ε·sign ∇, η uniform on [−2ε, 2ε], and no projection: pixel by pixel."""
    spec = AdversarySpec(eps=EPS, steps=1, step_size=1.0, start=2.0, projected=False)
    assert dataclasses.replace(VARIANTS.get("fast_at").spec.adversary, eps=EPS) == spec  # type: ignore[type-var]
    images, model = some_images(low=3 * EPS, high=1 - 3 * EPS), LinearModel(torch.randn(48, generator=draws(3)), 0.3)
    noise = 2 * EPS * (2 * starts(7).uniform("adversary", 3, 4, 4) - 1)
    found = ascend(loss_of(model, torch.zeros(6, dtype=torch.int64)), images, spec, seed=7)
    expected = images + noise + EPS * model.weight.detach().sign().view(3, 4, 4)
    assert torch.allclose(found, expected, atol=1e-6)
    assert float((found - images).abs().max()) > 2.5 * EPS
    clipped = ascend(loss_of(model, torch.zeros(6, dtype=torch.int64)), torch.ones_like(images), spec, seed=7)
    assert float(clipped.max()) == 1


@pytest.mark.parametrize("steps", [0, 1, 10])
def test_the_perturbation_stays_in_the_ball_and_in_the_box(steps: int) -> None:
    images, labels = some_images(64).mul(1.2).sub(0.1).clamp(0, 1), torch.arange(64) % 3
    assert {0.0, 1.0} <= set(images.flatten().tolist())
    spec = AdversarySpec(eps=0.3, steps=steps, step_size=0.9)
    found = ascend(loss_of(some_network().eval(), labels), images, spec)
    assert float((found - images).abs().max()) <= 0.3 + 1e-7
    assert float((found - images).abs().max()) > 0.29
    assert found.min() >= 0
    assert found.max() <= 1
    assert not found.requires_grad


def test_a_pixel_outside_the_box_goes_no_further_out_and_no_further_than_the_ball() -> None:
    images = torch.tensor([-0.3, -0.05, 1.05, 1.3]).repeat(12).view(1, 3, 4, 4)
    model = LinearModel(torch.full((48,), 0.1), bias=0.0)
    for label in (0, 1):
        found = ascend(loss_of(model, torch.tensor([label])), images, PGD)
        expected = [-0.2, 0.05, 1.05, 1.3] if label == 0 else [-0.3, -0.05, 0.95, 1.2]
        assert found.flatten()[:4].tolist() == pytest.approx(expected)


def test_the_start_is_uniform_in_the_ball() -> None:
    images = torch.full((100, 3, 4, 4), 0.5)
    delta = ascend(lambda _: torch.tensor(0.0), images, START) - images
    assert float(delta.mean()) == pytest.approx(0, abs=0.05 * EPS)
    assert float(delta.square().mean()) == pytest.approx(EPS**2 / 3, rel=0.05)
    assert float(delta.abs().max()) <= EPS + 1e-7


def test_equal_generators_give_equal_perturbations_and_other_ones_others() -> None:
    images, labels = some_images(), torch.arange(6) % 3
    loss = loss_of(some_network().eval(), labels)
    spec = AdversarySpec(eps=EPS, steps=2)  # too few to forget where it started
    first, second, other = (ascend(loss, images, spec, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


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
    found = Adversary(PGD).perturb(model, loss_of(model, torch.arange(6) % 3), images, random=starts())
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
        Adversary(PGD).perturb(model, broken, some_images(), random=starts())
    assert all(module.training for module in model.modules())


def test_without_an_adversary_or_with_a_budget_of_nothing_images_are_trained_on_as_they_are() -> None:
    model, images = some_network(), some_images()
    loss = loss_of(model, torch.arange(6) % 3)
    assert Adversary(None).perturb(model, loss, images, random=starts()) is images
    assert torch.equal(Adversary(AdversarySpec(eps=0.0)).perturb(model, loss, images, random=starts()), images)


@pytest.mark.parametrize("factor", [0.0, math.nan])
def test_without_a_slope_the_image_stays_where_the_search_began(factor: float) -> None:
    found = [ascend(lambda x: (factor * x).sum(), some_images(), s) for s in (PGD, START)]
    assert torch.equal(*found)
    start = dataclasses.replace(PGD_L2, steps=0)
    found = [ascend(lambda x: (factor * x).sum(), some_images(), s) for s in (PGD_L2, start)]
    assert torch.equal(*found)


def test_an_adversary_needs_a_budget() -> None:
    with pytest.raises(BenchError, match="needs a budget"):
        Adversary(AdversarySpec())

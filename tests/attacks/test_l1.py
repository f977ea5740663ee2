"""The L1 ball in the box, against independent solvers in float64 and the authors' program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyautoattack.autopgd_base import L1_projection
from scipy.optimize import linprog, minimize
from torch import Tensor

from bench.attacks.geometry import l1_ball as l1
from bench.attacks.geometry.norms import inwards, length, sample_ball, sample_sphere

SHAPE = (3, 5, 5)


def drawn(count: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images with a third of their pixels at the walls, and points that far away; float64."""
    generator = torch.Generator().manual_seed(seed)
    images = (1.5 * torch.rand(count, *SHAPE, generator=generator).double() - 0.25).clamp(0, 1)
    return images, images + spread * torch.randn(count, *SHAPE, generator=generator).double()


def by_bisection(image: Tensor, point: Tensor, radius: float) -> Tensor:
    """The projection by the dual: the multiplier of ‖δ‖₁ ≤ ε is bisected to the last bit, pixel by pixel."""

    def at(multiplier: float) -> Tensor:
        delta = point - image
        return torch.clamp(delta.sign() * (delta.abs() - multiplier).clamp_min(0), -image, 1 - image)

    low, high = 0.0, float((point - image).abs().max())
    if float(at(0.0).abs().sum()) <= radius:
        return at(0.0)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if float(at(middle).abs().sum()) > radius else (low, middle)
    return at(high)


@pytest.mark.parametrize("spread", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("radius", [0.05, 1.0, 5.0, 100.0])
def test_the_projection_is_the_nearest_point(spread: float, radius: float) -> None:
    images, points = drawn(12, spread)
    found = l1.project(points, images, radius) - images
    expected = torch.stack([by_bisection(x, y, radius) for x, y in zip(images, points, strict=True)])
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    assert float(length(found, "l1").max()) <= radius + 1e-12


def test_a_general_solver_finds_nothing_nearer() -> None:
    generator = np.random.default_rng(0)
    for _ in range(10):
        image, point, radius = generator.random(4), generator.normal(0.5, 1, 4), 0.7
        # δ = a − b with a, b ≥ 0
        split = np.concatenate((np.eye(4), -np.eye(4)), 1)
        solved = minimize(
            lambda ab, d=point - image, split=split: ((split @ ab - d) ** 2).sum(),
            np.full(8, 0.01),
            method="SLSQP",
            bounds=[(0, room) for room in (*(1 - image), *image)],
            constraints={"type": "ineq", "fun": lambda ab, radius=radius: radius - ab.sum()},
            options={"ftol": 1e-16, "maxiter": 500},
        )
        tensors = (torch.tensor(each).view(1, 1, 2, 2) for each in (point, image))
        ours = l1.project(*tensors, radius).flatten().numpy() - image
        assert np.allclose(ours, split @ solved.x, atol=1e-6)


@pytest.mark.parametrize("radius", [0.3, 3.0, 12.0])
def test_the_projection_is_that_of_the_authors(radius: float) -> None:
    """Theirs is float32 throughout."""
    images, points = drawn(32, 0.5, seed=3)
    theirs = points + L1_projection(images, points - images, radius)
    assert torch.allclose(l1.project(points, images, radius), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radii_belong_to_the_sample_and_what_rests_is_the_image(dtype: torch.dtype) -> None:
    images, points = (each.to(dtype) for each in drawn(5, 0.5))
    radii = torch.tensor([0.0, 0.1, 1.0, 5.0, 1000.0], dtype=dtype)
    found = l1.project(points, images, radii)
    assert found.dtype == dtype
    assert torch.equal(found[0], images[0])
    for i in range(5):
        assert torch.equal(found[i : i + 1], l1.project(points[i : i + 1], images[i : i + 1], float(radii[i])))
    assert torch.equal(found[4], points[4].clamp(0, 1))
    resting = (found == images).flatten(1).sum(1)
    assert resting[1] > 60
    again = l1.project(found, images, radii)
    assert torch.allclose(again, found, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)


@pytest.mark.parametrize("eps", [0.2, 3.0, 1000.0])
def test_no_other_perturbation_of_ball_and_box_rises_more(eps: float) -> None:
    images, _ = drawn(6, 0.0)
    gradient = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    gradient[:, 0] *= gradient[:, 0] > 0
    delta = l1.steepest_in_box(images, gradient, eps)
    for image, slope, ours in zip(images.flatten(1), gradient.flatten(1), delta.flatten(1), strict=True):
        cost = torch.cat((-slope, slope)).numpy()
        rooms = [(0, room) for room in (*(1 - image).tolist(), *image.tolist())]
        best = linprog(cost, A_ub=np.ones((1, len(cost))), b_ub=[eps], bounds=rooms)
        assert float(slope @ ours) == pytest.approx(-best.fun, abs=1e-9)
        assert float(ours.abs().sum()) <= eps + 1e-12
        assert ((image + ours >= -1e-12) & (image + ours <= 1 + 1e-12)).all()


def test_sparse_signs_are_the_steepest_and_of_length_one() -> None:
    gradient = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    gradient[3] = 0
    found = l1.sparse_sign(gradient, torch.tensor([1, 10, 75, 5]))
    assert (found != 0).flatten(1).sum(1).tolist() == [1, 10, 75, 0]
    assert torch.allclose(length(found, "l1"), torch.tensor([1.0, 1, 1, 0]))
    assert torch.equal(found.sign()[2], gradient.sign()[2])
    chosen = found[1] != 0
    assert gradient[1].abs()[chosen].min() > gradient[1].abs()[~chosen].max()


def test_uniform_draws_fill_the_ball_and_the_edge() -> None:
    """In D dimensions the share inside radius r is (r/ε)^D; no pixel and no sign is preferred."""
    draws = sample_ball(torch.arange(3000), (1, 1, 3), "l1", 2.0)
    lengths = length(draws, "l1")
    assert float(lengths.max()) <= 2.0 + 1e-6
    for radius in (0.5, 1.0, 1.5):
        assert (lengths < radius).double().mean().item() == pytest.approx((radius / 2) ** 3, abs=0.03)
    edge = sample_sphere(torch.arange(3000), (1, 1, 3), "l1", 2.0)
    assert torch.allclose(length(edge, "l1"), torch.full((3000,), 2.0))
    # On the simplex every coordinate has mean 1/3 and variance 1/18.
    assert (edge.abs() / 2).mean(0).flatten().tolist() == pytest.approx([1 / 3] * 3, abs=0.015)
    assert (edge.abs() / 2).var(0).flatten().tolist() == pytest.approx([1 / 18] * 3, abs=0.004)
    assert float(edge.mean().abs()) < 0.05


def test_a_gradient_that_leads_out_of_the_box_counts_for_nothing() -> None:
    points = torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]).view(1, 1, 1, 5)
    gradient = torch.tensor([-1.0, 1.0, -1.0, 1.0, -1.0]).view(1, 1, 1, 5)
    assert inwards(points, gradient).flatten().tolist() == [0, 1, -1, 0, -1]

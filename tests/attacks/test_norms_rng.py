"""Balls and the randomness that belongs to a sample."""

from __future__ import annotations

import math

import pytest
import torch

from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.geometry.norms import dual_length, length, project, sample_ball, sample_sphere, steepest
from bench.core.specs import Norm


def test_uniform_linf_draws_fill_the_cube() -> None:
    draws = sample_ball(torch.arange(400), (3, 4, 4), "linf", 0.1)
    assert draws.abs().max() <= 0.1
    assert draws.mean().abs() < 0.1 / math.sqrt(3) / math.sqrt(draws.numel()) * 4
    assert draws.var().item() == pytest.approx(0.1**2 / 3, rel=0.05)


def test_uniform_l2_draws_fill_the_ball() -> None:
    """The share inside radius r is (r/ε)^D."""
    lengths = length(sample_ball(torch.arange(2000), (1, 1, 3), "l2", 2.0), "l2")
    assert lengths.max() <= 2.0
    assert (lengths < 1.0).double().mean().item() == pytest.approx(1 / 8, abs=0.03)


def test_noise_belongs_to_the_sample_and_not_to_its_place() -> None:
    ids = [f"test/{i}" for i in range(10)]
    together = SampleRng(3, "pgd", ids).uniform("start", 0, (3, 2, 2))
    for place in (0, 4, 9):
        alone = SampleRng(3, "pgd", [ids[place]]).uniform("start", 0, (3, 2, 2))
        assert torch.equal(alone[0], together[place])
    reversed_ = SampleRng(3, "pgd", ids[::-1]).uniform("start", 0, (3, 2, 2))
    assert torch.equal(reversed_.flip(0), together)


@pytest.mark.parametrize(
    "other",
    [
        SampleRng(4, "pgd", ["a"]).uniform("start", 0, (8,)),
        SampleRng(3, "apgd", ["a"]).uniform("start", 0, (8,)),
        SampleRng(3, "pgd", ["b"]).uniform("start", 0, (8,)),
        SampleRng(3, "pgd", ["a"]).uniform("radius", 0, (8,)),
        SampleRng(3, "pgd", ["a"]).uniform("start", 1, (8,)),
    ],
)
def test_noise_depends_on_each_of_its_keys(other: torch.Tensor) -> None:
    assert not torch.equal(SampleRng(3, "pgd", ["a"]).uniform("start", 0, (8,)), other)


def test_selecting_keeps_the_samples_own_noise() -> None:
    rng = SampleRng(0, "pgd", ["a", "b", "c"])
    keep = torch.tensor([True, False, True])
    assert torch.equal(rng.select(keep).normal("x", 0, (4,)), rng.normal("x", 0, (4,))[keep])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    SampleRng(0, "pgd", ["a"]).normal("x", 0, (4,))
    assert torch.equal(before, torch.get_rng_state())


def test_a_library_seed_knows_the_attack_and_no_sample() -> None:
    assert SampleRng(0, "autoattack", ["a"]).library_seed() == SampleRng(0, "autoattack", ["b", "c"]).library_seed()
    assert SampleRng(0, "autoattack", []).library_seed() != SampleRng(1, "autoattack", []).library_seed()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_edge_draws_have_the_length_of_the_radius(norm: Norm) -> None:
    draws = sample_sphere(torch.arange(50), (3, 4, 4), norm, 0.3)
    assert length(draws, norm) == pytest.approx(torch.full((50,), 0.3), abs=1e-6)
    assert draws.mean().abs() < 0.02


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_projection_is_in_ball_and_box_and_leaves_what_is_inside(norm: Norm) -> None:
    centre = torch.rand(50, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = centre + sample_ball(torch.arange(50), (3, 4, 4), norm, 9.0).double()
    found = project(far, centre, norm, 0.3)
    assert float(length(found - centre, norm).max()) <= 0.3 + 1e-12
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert torch.allclose(project(found, centre, norm, 0.3), found, rtol=0, atol=1e-14)


def test_no_other_direction_of_length_one_rises_more() -> None:
    """⟨g, d⟩ is the dual norm: ‖g‖₁ for linf, ‖g‖₂ for l2, max|g| for l1."""
    gradient = torch.randn(20, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for norm, order in (("linf", 1), ("l2", 2), ("l1", torch.inf)):
        direction = steepest(gradient, norm)
        assert float(length(direction, norm).max()) <= 1 + 1e-12
        rise = (gradient * direction).flatten(1).sum(1)
        assert torch.allclose(rise, dual_length(gradient, norm))
        assert torch.allclose(rise, torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1))
    assert not steepest(torch.zeros(1, 3, 2, 2), "l2").any()

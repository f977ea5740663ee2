"""The projection on a hyperplane in the box against scipy's solvers, the authors' functions and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyautoattack.fab_projections import projection_l1, projection_l2, projection_linf
from scipy.optimize import linprog, minimize
from torch import Tensor

from bench.attacks.geometry.hyperplane import project
from bench.attacks.geometry.norms import length
from bench.core.specs import Norm

NORMS = ("linf", "l2", "l1")
REFERENCE = {"linf": projection_linf, "l2": projection_l2, "l1": projection_l1}


def planes(count: int, pixels: int, share: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points, some pixels of which lie at the walls, and planes ``share`` of the way to the last corner; float64.

    A few weights are 0, and half the planes lie on either side.
    """
    generator = torch.Generator().manual_seed(seed)
    points = (1.4 * torch.rand(count, pixels, generator=generator).double() - 0.2).clamp(0, 1)
    normals = torch.randn(count, pixels, generator=generator).double()
    normals[torch.rand(count, pixels, generator=generator) < 0.1] = 0
    side = torch.where(torch.arange(count) % 2 == 0, 1.0, -1.0).double()
    return points, normals, (normals * points).sum(1) - share * side * reach(points, normals * side[:, None])


def reach(points: Tensor, normals: Tensor) -> Tensor:
    """By how much w·x can fall inside the box, (B,)."""
    return (normals.clamp_min(0) * points - normals.clamp_max(0) * (1 - points)).sum(1)


def on_plane(points: Tensor, normals: Tensor, offsets: Tensor, step: Tensor) -> Tensor:
    return ((normals * (points + step)).sum(1) - offsets).abs()


def least(point: np.ndarray, normal: np.ndarray, offset: float, norm: Norm) -> float:
    """The least length of a step to the plane, by a general solver."""
    gap = offset - normal @ point
    if norm == "linf":
        pixels, one = len(point), np.ones((len(point), 1))
        inequality = np.block([[np.eye(pixels), -one], [-np.eye(pixels), -one]])
        found = linprog(
            np.append(np.zeros(pixels), 1.0),
            A_ub=inequality,
            b_ub=np.zeros(2 * pixels),
            A_eq=np.append(normal, 0.0)[None],
            b_eq=[gap],
            bounds=[*zip(-point, 1 - point, strict=True), (0, None)],
        )
        assert found.success
        return float(found.fun)
    if norm == "l1":
        rooms = [*((0, room) for room in 1 - point), *((0, room) for room in point)]
        found = linprog(np.ones(2 * len(point)), A_eq=np.append(normal, -normal)[None], b_eq=[gap], bounds=rooms)
        assert found.success
        return float(found.fun)
    found = minimize(
        lambda d: d @ d,
        np.zeros(len(point)),
        jac=lambda d: 2 * d,
        bounds=list(zip(-point, 1 - point, strict=True)),
        constraints={"type": "eq", "fun": lambda d: normal @ d - gap, "jac": lambda d: normal},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert found.success
    return float(np.sqrt(found.fun))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("pixels", [1, 2, 3, 12])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_step_is_the_shortest_that_reaches_the_plane(norm: Norm, pixels: int, share: float) -> None:
    points, normals, offsets = planes(6, pixels, share, seed=pixels)
    step = project(points, normals, offsets, norm)
    assert ((points + step >= 0) & (points + step <= 1)).all()
    assert (on_plane(points, normals, offsets, step) < 1e-12).all()
    expected = [least(*case, norm) for case in zip(points.numpy(), normals.numpy(), offsets.tolist(), strict=True)]
    assert torch.allclose(length(step, norm), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999, 1.5])
def test_the_step_is_that_of_the_authors(norm: Norm, share: float) -> None:
    points, normals, offsets = planes(16, 200, share)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        expected = REFERENCE[norm](points, normals, offsets)
    finally:
        torch.set_default_dtype(previous)
    assert torch.allclose(project(points, normals, offsets, norm), expected, rtol=0, atol=1e-9)
    single = project(points.float(), normals.float(), offsets.float(), norm)
    assert single.dtype == torch.float32
    # In L1 one pixel takes what rounding leaves of all others, divided by its weight, which may be small.
    assert torch.allclose(single.double(), expected, rtol=0, atol=1e-4 if norm != "l1" else 5e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_outside_the_box_is_approached_as_far_as_the_corner(norm: Norm) -> None:
    points, normals, offsets = planes(8, 30, 1.2)
    falling = (normals * points).sum(1) > offsets
    assert falling.any()
    assert not falling.all()
    corner = torch.where((normals > 0) == falling[:, None], 0.0, 1.0).double()
    expected = torch.where(normals == 0, 0.0, corner - points)
    assert torch.equal(project(points, normals, offsets, norm), expected)


@pytest.mark.parametrize("norm", NORMS)
def test_without_walls_near_the_length_is_the_distance(norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)
    normals, gap = torch.randn(5, 40, generator=generator).double(), torch.tensor([0.1, -0.1, 1e-3, -1e-9, 0.0])
    points = torch.full_like(normals, 0.5)
    step = project(points, normals, (normals * points).sum(1) - gap.double(), norm)
    dual = {"linf": normals.abs().sum(1), "l2": normals.norm(dim=1), "l1": normals.abs().amax(1)}[norm]
    assert torch.allclose(length(step, norm), gap.double().abs() / dual, rtol=1e-5, atol=1e-16)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_the_scale_of_the_weights_does_not_matter(norm: Norm, dtype: torch.dtype, scale: float) -> None:
    points, normals, offsets = (each.to(dtype) for each in planes(6, 50, 0.4))
    expected = project(points, normals, offsets, norm)
    scaled = project(points, normals * scale, offsets * scale, norm)
    assert expected.abs().amax(1).min() > 0.01
    assert torch.allclose(scaled, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_weights_and_room_of_very_different_size(norm: Norm) -> None:
    power = torch.arange(40).double()
    points = (2.0**-power).expand(40, 40)
    normals = (4.0**power / 4.0**20).expand(40, 40)
    most = reach(points, normals)
    share = torch.linspace(0.01, 0.999, 40).double()
    step = project(points, normals, (normals * points).sum(1) - share * most, norm)
    assert (((normals * -step).sum(1) / most - share).abs() < 1e-12).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_plane_without_slope_is_not_approached(norm: Norm) -> None:
    points = torch.tensor([[0.0, 0.5, 1.0]] * 3)
    offsets = torch.tensor([0.0, 1.0, -1.0])
    assert torch.equal(project(points, torch.zeros(3, 3), offsets, norm), torch.zeros(3, 3))
    assert project(points, torch.full((3, 3), torch.nan), offsets, norm).isnan().all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_row_does_not_depend_on_the_others(norm: Norm) -> None:
    cases = [planes(3, 100, share) for share in (0.01, 0.5, 0.95, 2.0)]
    points, normals, offsets = (torch.cat(each) for each in zip(*cases, strict=True))
    together = project(points, normals, offsets, norm)
    for row in range(len(points)):
        alone = project(points[row : row + 1], normals[row : row + 1], offsets[row : row + 1], norm)
        assert torch.equal(alone[0], together[row])

"""The norm balls that bound a perturbation: length, direction, projection and uniform draws. δ and x are (N, C, H, W).

Longer computations for L1 are in :mod:`bench.attacks.geometry.l1_ball`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.attacks.engine.counter_rng import bulk_normal, bulk_uniform, derive, uniform
from bench.attacks.geometry import l1_ball as l1
from bench.core.specs import Norm

_TINY = 1e-12  # as in the published programs: gradients below it are rounding errors and have almost no effect


def length(delta: Tensor, norm: Norm) -> Tensor:
    """Return ‖δ‖ of every sample, (N,), in the type of ``delta``."""
    flat = delta.flatten(1)
    if norm == "l1":
        return flat.abs().sum(1)
    return flat.abs().amax(1) if norm == "linf" else flat.square().sum(1).sqrt()


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """Return the direction of length 1 in which a linear function of this gradient rises most, (N, C, H, W).

    It is sign(g) for linf and g/‖g‖₂ for l2. For l1, it is the sign of the steepest pixel, or the mean over several
    equally steep pixels. A zero gradient gives 0.
    """
    if norm == "l1":
        return l1.sparse_sign(gradient, torch.ones_like(gradient[:, 0, 0, 0], dtype=torch.int64))
    if norm == "linf":
        return torch.sign(gradient)
    return _unit(gradient)


def dual_length(gradient: Tensor, norm: Norm) -> Tensor:
    """Return ‖g‖ in the dual norm, (N,): the slope of a linear function along :func:`steepest`."""
    flat = gradient.flatten(1)
    if norm == "l1":
        return flat.abs().amax(1)
    return flat.abs().sum(1) if norm == "linf" else flat.square().sum(1).sqrt()


def inwards(points: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient with 0 for pixels at a bound of the box where it points out of the box, (N, C, H, W)."""
    return torch.where(((points <= 0) & (gradient < 0)) | ((points >= 1) & (gradient > 0)), 0, gradient)


def unit_l1(gradient: Tensor) -> Tensor:
    """Return g/‖g‖₁ of every sample, (N, C, H, W); a zero gradient stays 0."""
    return gradient / (gradient.flatten(1).abs().sum(1) + _TINY).view(-1, 1, 1, 1)


def shrunk(delta: Tensor, norm: Norm, radii: Tensor) -> Tensor:
    """Return the perturbations nearest to ``delta`` of length at most ``radii``, (N,). The box is ignored."""
    if norm == "l1":
        flat = delta.double().flatten(1)
        return l1.shrunk(flat, torch.full_like(flat, torch.inf), radii.double()).to(delta).view_as(delta)
    wide = radii.view(-1, 1, 1, 1)
    if norm == "linf":
        return torch.minimum(torch.maximum(delta, -wide), wide)
    return delta * (wide / torch.maximum(length(delta, norm).view(-1, 1, 1, 1), wide.clamp_min(_TINY)))


def project(points: Tensor, centre: Tensor, norm: Norm, eps: float) -> Tensor:
    """Project points onto the ε-ball around ``centre``, then onto the box [0, 1]; see :func:`projection`."""
    return projection(centre, norm, eps)(points)


def projection(centre: Tensor, norm: Norm, eps: float | Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that projects points onto the ε-ball around ``centre``, then onto the box [0, 1].

    ``eps`` is one number, or a radius per sample, (N,).

    For l2, these are two projections, one after the other, as in the published attacks. The result is in both sets,
    because the centre is in the box, but it is not always the nearest point of the intersection. For l1, the result is
    the nearest point of the intersection.
    """
    if norm == "l1":
        return lambda points: l1.project(points, centre, eps)
    if norm == "linf":
        wide = eps.view(-1, 1, 1, 1) if isinstance(eps, Tensor) else eps
        low, high = (centre - wide).clamp_min_(0), (centre + wide).clamp_max_(1)
        return lambda points: torch.clamp(points, low, high)

    def shrunk(points: Tensor) -> Tensor:
        delta = points - centre
        shrink = eps / length(delta, norm).clamp_min(eps)
        return torch.addcmul(centre, delta, shrink.view(-1, 1, 1, 1)).clamp_(0, 1)

    return shrunk


def sample_sphere(keys: Tensor, shape: tuple[int, ...], norm: Norm, eps: float) -> Tensor:
    """Draw a random perturbation of length ε for every key, (B, *shape) float32, for the starts of Auto-PGD.

    linf: uniform in the cube, then scaled to its surface. l2 and l1: uniform on the sphere of the norm.
    """
    if norm == "l1":
        return eps * l1.uniform_draw(keys, shape, edge=True)
    if norm == "linf":
        cube = 2 * bulk_uniform(keys, shape) - 1
        return eps * cube / length(cube, norm).view(-1, 1, 1, 1)
    return eps * _unit(bulk_normal(keys, shape))


def sample_ball(keys: Tensor, shape: tuple[int, ...], norm: Norm, eps: float) -> Tensor:
    """Draw a perturbation uniformly from the ball for every key, (B, *shape) float32.

    For l2, this is a normal direction times a radius ε·u^(1/D), with u uniform and D the number of elements (Muller
    1959).
    """
    if norm == "l1":
        return eps * l1.uniform_draw(keys, shape, edge=False)
    if norm == "linf":
        return eps * (2 * bulk_uniform(keys, shape) - 1)
    direction = _unit(bulk_normal(derive(keys, "direction"), shape))
    radius = eps * uniform(keys, "radius").pow(1 / max(direction[:1].numel(), 1))
    return direction * radius.to(direction.dtype).view(-1, 1, 1, 1)


def random_points(inputs: Tensor, keys: Tensor, norm: Norm, eps: float) -> Tensor:
    """Draw points uniformly from the balls around ``inputs``, (B, C, H, W), and clip them to [0, 1]."""
    return (inputs + sample_ball(keys, tuple(inputs.shape[1:]), norm, eps).to(inputs)).clamp(0, 1)


def _unit(delta: Tensor) -> Tensor:
    return delta / (length(delta, "l2") + _TINY).view(-1, 1, 1, 1)

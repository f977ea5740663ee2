"""The balls that bound a perturbation: length and uniform draws. δ is (N, C, H, W)."""

from __future__ import annotations

from torch import Tensor

from attacks.rng import SampleRng
from bench.core.specs import Norm


def length(delta: Tensor, norm: Norm) -> Tensor:
    """‖δ‖ of every sample, (N,), in the type of ``delta``."""
    flat = delta.flatten(1)
    return flat.abs().amax(1) if norm == "linf" else flat.square().sum(1).sqrt()


def uniform_in_ball(rng: SampleRng, shape: tuple[int, ...], norm: Norm, eps: float, *, step: int) -> Tensor:
    """One uniform draw from the ball for every sample, (N, *shape).

    For l2 a normal direction times a radius ε·u^(1/D), u uniform (Muller 1959), D the number of elements.
    """
    if norm == "linf":
        return (2 * rng.uniform("start", step, shape) - 1) * eps
    direction = rng.normal("start", step, shape)
    dimension = direction[0].numel() if len(rng) else 1
    radius = eps * rng.uniform("radius", step, (1,)).pow(1 / dimension)
    return direction * (radius.view(-1) / length(direction, norm).clamp_min(1e-12)).view(-1, 1, 1, 1)

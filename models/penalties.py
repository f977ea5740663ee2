"""Penalties on the latents z (B, d): pure functions that return a scalar, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bench.core.registry import Registry

LARGEST_EXPONENT = 20.0  # e^x is continued by its tangent above this x; float32 overflows at e^88


@dataclass(frozen=True, kw_only=True)
class PenaltyEntry:
    """A penalty. ``per_sample(d)`` is the weight of one sample's own norm at γ = 1: Σ_j z_j², or Σ_j |z_j| for L1.

    ``per_sample`` is None for penalties without a constant weight per sample.
    """

    summary: str
    source: str
    function: Callable[[Tensor], Tensor]
    per_sample: Callable[[int], float] | None = None


PENALTIES: Registry[PenaltyEntry] = Registry("penalty")


def mean_square(latents: Tensor) -> Tensor:
    r"""Compute the penalty of latent point collapse,  (1 / (B·d)) Σ_i Σ_j z_ij².

    It is a mean over the batch *and* over the latent dimensions, as in the authors' code, so that the weight of one
    sample's ‖z‖² is γ/d. ``latents`` is (B, d). Source: Sbailo and Ghiringhelli, arXiv 2310.08224.
    """
    return latents.square().mean()


def exp_mean_square(latents: Tensor) -> Tensor:
    r"""Compute the penalty of the first version of the paper,  exp((1 / (B·d)) Σ_i Σ_j z_ij²).

    Its minimum is 1. For a mean square above 20, the exponential is continued by its tangent at 20, which is finite in
    float32 and has a gradient of the same direction. ``latents`` is (B, d). Source: arXiv 2310.08224v1.
    """
    square = latents.square().mean()
    inside = square.clamp(max=LARGEST_EXPONENT)
    return inside.exp() * (1 + square - inside)  # the factor is exactly 1 up to the limit, and the tangent above it


def mean_l1(latents: Tensor) -> Tensor:
    r"""Compute (1 / B) Σ_i ‖z_i‖₁, a mean over the batch and a sum over the width: γ is the weight of a sample's norm.

    ``latents`` is (B, d). Source: the ablation NonlinPenL1 of OpenReview FwlM1k4ODx, which states the weight 1e-4 but
    not the axes of the mean. With a mean over the width as well, the penalty would be negligible.
    """
    return latents.abs().sum(1).mean()


_ORIGIN = "bench.models.penalties"
PENALTIES.register(
    "mean_square",
    PenaltyEntry(
        summary="mean of z² over batch and width",
        source="Sbailo and Ghiringhelli, arXiv 2310.08224",
        function=mean_square,
        per_sample=lambda width: 1 / width,
    ),
    origin=_ORIGIN,
)
PENALTIES.register(
    "exp_mean_square",
    PenaltyEntry(
        summary="exp of the mean of z² over batch and width",
        source="Sbailo and Ghiringhelli, arXiv 2310.08224v1",
        function=exp_mean_square,
    ),
    origin=_ORIGIN,
)
PENALTIES.register(
    "mean_l1",
    PenaltyEntry(
        summary="mean over the batch of ‖z‖₁",
        source="Sbailo and Ghiringhelli, OpenReview FwlM1k4ODx",
        function=mean_l1,
        per_sample=lambda width: 1.0,
    ),
    origin=_ORIGIN,
)

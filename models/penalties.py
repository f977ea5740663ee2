"""Penalties on the latents z (B, d): pure functions to a scalar, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bench.core.registry import Registry

LARGEST_EXPONENT = 20.0  # beyond it, e^x goes on along its tangent: float32 ends at e^88


@dataclass(frozen=True, kw_only=True)
class PenaltyEntry:
    """``per_sample(d)`` is what a γ of 1 puts on a single sample's own norm: Σ_j z_j², or Σ_j |z_j| for L1.

    None where there is no such constant.
    """

    summary: str
    source: str
    function: Callable[[Tensor], Tensor]
    per_sample: Callable[[int], float] | None = None


PENALTIES: Registry[PenaltyEntry] = Registry("penalty")


def mean_square(latents: Tensor) -> Tensor:
    r"""The penalty of latent point collapse,  (1 / (B·d)) Σ_i Σ_j z_ij².

    It is a mean over the batch *and* over the latent dimensions, as in the authors' code, so that a weight γ puts
    γ/d on a sample's ‖z‖². ``latents`` is (B, d). Source: Sbailo and Ghiringhelli, arXiv 2310.08224.
    """
    return latents.square().mean()


def exp_mean_square(latents: Tensor) -> Tensor:
    r"""The penalty of the first version,  exp((1 / (B·d)) Σ_i Σ_j z_ij²);  its least value is 1.

    Where the mean square exceeds 20 the exponential is continued by its tangent there, which keeps it finite in
    float32 and pulls in the same direction. ``latents`` is (B, d). Source: arXiv 2310.08224v1.
    """
    square = latents.square().mean()
    inside = square.clamp(max=LARGEST_EXPONENT)
    return inside.exp() * (1 + square - inside)  # the factor is exactly 1 below, and the tangent above


def mean_l1(latents: Tensor) -> Tensor:
    r"""(1 / B) Σ_i ‖z_i‖₁: a mean over the batch, a sum over the width, so that γ is the weight of a sample's norm.

    ``latents`` is (B, d). Source: the ablation NonlinPenL1 of OpenReview FwlM1k4ODx, which gives the weight 1e-4 and
    does not say over what it averages; a mean over the width too would leave nothing of it.
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

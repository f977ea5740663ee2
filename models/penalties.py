"""Penalties on the latents z (B, d): pure functions to a scalar, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bench.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class PenaltyEntry:
    summary: str
    source: str
    function: Callable[[Tensor], Tensor]


PENALTIES: Registry[PenaltyEntry] = Registry("penalty")


def mean_square(latents: Tensor) -> Tensor:
    r"""The penalty of latent point collapse,  (1 / (B·d)) Σ_i Σ_j z_ij².

    It is a mean over the batch *and* over the latent dimensions, as in the authors' code, so that a weight γ puts
    γ/d on a sample's ‖z‖². ``latents`` is (B, d). Source: Sbailo and Ghiringhelli, arXiv 2310.08224.
    """
    return latents.square().mean()


PENALTIES.register(
    "mean_square",
    PenaltyEntry(
        summary="mean of z² over batch and width",
        source="Sbailo and Ghiringhelli, arXiv 2310.08224",
        function=mean_square,
    ),
    origin="models.penalties",
)

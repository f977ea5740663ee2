"""Heads: modules from the backbone's features h (N, D) to the latents z (N, d), the input of the output layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from bench.core.errors import BenchError
from bench.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class HeadEntry:
    """A head. ``build(num_features, latent_dim)`` returns a module from (N, num_features) to (N, latent_dim)."""

    summary: str
    build: Callable[[int, int], nn.Module]


HEADS: Registry[HeadEntry] = Registry("head")


def no_head(num_features: int, latent_dim: int) -> nn.Module:
    """Build the identity, z = h. Raises BenchError unless ``latent_dim`` equals ``num_features``."""
    if latent_dim != num_features:
        raise BenchError(
            f"a variant without a penultimate layer has the backbone's {num_features} latents, not {latent_dim}; "
            "omit latent_dim, or choose another head."
        )
    return nn.Identity()


def linear_head(num_features: int, latent_dim: int) -> nn.Module:
    """Build z = W_H h + b_H. Without a non-linearity, the latents have both signs."""
    return nn.Linear(num_features, latent_dim)


def nonlinear_head(num_features: int, latent_dim: int) -> nn.Module:
    """Build z = SiLU(W_H h + b_H), an ablation: SiLU bounds negative latents."""
    return nn.Sequential(nn.Linear(num_features, latent_dim), nn.SiLU())


def dropout_head(num_features: int, latent_dim: int) -> nn.Module:
    """Build z = Dropout(W_H h + b_H) with p = 0.5."""
    return nn.Sequential(nn.Linear(num_features, latent_dim), nn.Dropout(0.5))


_ORIGIN = "bench.models.heads"
HEADS.register("none", HeadEntry(summary="no layer: the latents are the features", build=no_head), origin=_ORIGIN)
HEADS.register("linear", HeadEntry(summary="a linear layer of latent_dim", build=linear_head), origin=_ORIGIN)
HEADS.register(
    "silu", HeadEntry(summary="a linear layer of latent_dim, then SiLU", build=nonlinear_head), origin=_ORIGIN
)
HEADS.register(
    "dropout",
    HeadEntry(summary="a linear layer of latent_dim, then dropout with p = 0.5", build=dropout_head),
    origin=_ORIGIN,
)

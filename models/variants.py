"""The training-time ideas. A variant is data: adding one is adding an entry."""

from __future__ import annotations

from dataclasses import dataclass

from bench.core.registry import Registry
from bench.core.specs import VariantSpec
from bench.core.vocabulary import BASELINE


@dataclass(frozen=True, kw_only=True)
class VariantEntry:
    summary: str
    source: str
    spec: VariantSpec


VARIANTS: Registry[VariantEntry] = Registry("variant")

ORIGIN = "models.variants"

VARIANTS.register(
    BASELINE,
    VariantEntry(
        summary="cross-entropy on the backbone's own features",
        source="the ablation without a penultimate layer in arXiv 2310.08224",
        spec=VariantSpec(),
    ),
    origin=ORIGIN,
)
VARIANTS.register(
    "lpc",
    VariantEntry(
        summary="latent point collapse: a linear layer of 64 and γ times the mean square of its latents",
        source="Sbailo and Ghiringhelli, arXiv 2310.08224",
        spec=VariantSpec(head="linear", latent_dim=64, penalty="mean_square", schedule="short"),
    ),
    origin=ORIGIN,
)

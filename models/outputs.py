"""Output layers: modules from latents (N, d) to outputs (N, K), the logits that are attacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class OutputEntry:
    """An output layer. ``build(latent_dim, num_classes)`` returns a module from (N, latent_dim) to (N, num_classes)."""

    summary: str
    build: Callable[[int, int], nn.Module]


COSINE_SCALE = 16.0

OUTPUTS: Registry[OutputEntry] = Registry("output")


class CosineOutput(nn.Module):
    """Cosine logits o_k = 16·⟨z, w_k⟩ / (‖z‖·‖w_k‖), in [−16, 16], used in training and evaluation.

    The scale does not change predictions, but it changes the cross-entropy that attacks use. At scale 1, the gradient
    hardly distinguishes the runner-up from the other classes. At 64, the final scale of ArcFace, the gradient vanishes
    in float32. 16 is the initial scale of ArcFace.
    """

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_classes, latent_dim)))

    def forward(self, latents: Tensor) -> Tensor:
        """Return the outputs (N, K) of ``latents`` (N, d)."""
        return COSINE_SCALE * F.linear(F.normalize(latents), F.normalize(self.weight))


_ORIGIN = "bench.models.outputs"
OUTPUTS.register("linear", OutputEntry(summary="Wz + b", build=nn.Linear), origin=_ORIGIN)
OUTPUTS.register(
    "cosine", OutputEntry(summary="16 times the cosines with the rows of W", build=CosineOutput), origin=_ORIGIN
)

"""Output layers: modules from latents (N, d) to outputs (N, K), the logits that are attacked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class OutputEntry:
    """An output layer. ``build(latent_dim, num_classes)`` returns a module from (N, latent_dim) to (N, num_classes)."""

    summary: str
    build: Callable[[int, int], nn.Module]


COSINE_SCALE = 16.0
LATENT_LENGTH = 16.0  # α of FixedLengthOutput

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


class FixedLengthOutput(nn.Module):
    """Logits W(α·z/‖z‖) + b of latents with the fixed length α = 16: the L2-constrained softmax of Ranjan et al. 2017.

    The paper (arXiv 1703.09507) derives that α must be at least log(p(K − 2)/(1 − p)) for a mean probability p of the
    label. For p = 0.9, 16 is enough for 987,000 classes. The value 16 is chosen here.
    """

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, num_classes)

    def forward(self, latents: Tensor) -> Tensor:
        """Return the outputs (N, K) of ``latents`` (N, d)."""
        outputs: Tensor = self.linear(LATENT_LENGTH * F.normalize(latents))
        return outputs


class SimplexOutput(nn.Linear):
    """Logits Wz with fixed weights and without a bias: the rows of W are the simplex of :func:`simplex`.

    W is a buffer: it is stored, and not trained. Source: Zhu et al. 2021, arXiv 2105.02375, with d = K, and Yang et al.
    2022, arXiv 2203.09081. Raises BenchError for fewer than K − 1 latents.
    """

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        if latent_dim < num_classes - 1:
            raise BenchError(
                f"a simplex of {num_classes} classes needs at least {num_classes - 1} latents, and the penultimate "
                f"layer has {latent_dim}; set --latent-dim {num_classes}."
            )
        super().__init__(latent_dim, num_classes, bias=False)
        weight = simplex(num_classes, latent_dim)
        del self.weight
        self.register_buffer("weight", weight)


def simplex(num_classes: int, dimensions: int) -> Tensor:
    """Return K vectors of length 1 with pairwise cosines −1/(K − 1), (K, d), in a random orientation; d ≥ K − 1."""
    corners = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    basis = torch.linalg.svd(corners)[0][:, : num_classes - 1]  # (K, K − 1), orthonormal, spans the corners
    rotation = torch.linalg.qr(torch.randn(dimensions, num_classes - 1, dtype=torch.float64))[0]  # (d, K − 1)
    return F.normalize(corners @ basis @ rotation.T).float()


_ORIGIN = "bench.models.outputs"
OUTPUTS.register("linear", OutputEntry(summary="Wz + b", build=nn.Linear), origin=_ORIGIN)
OUTPUTS.register(
    "cosine", OutputEntry(summary="16 times the cosines with the rows of W", build=CosineOutput), origin=_ORIGIN
)
OUTPUTS.register(
    "fixed_length", OutputEntry(summary="Wz + b of latents of length 16", build=FixedLengthOutput), origin=_ORIGIN
)
OUTPUTS.register(
    "simplex", OutputEntry(summary="Wz with fixed W on a simplex, without bias", build=SimplexOutput), origin=_ORIGIN
)

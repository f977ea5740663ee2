"""Auxiliary loss terms that depend on more than the latents z: modules from a batch to a scalar, registered by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.registry import Registry

TEMPERATURE = 0.05
CENTRE_RATE = 0.5


class Batch(NamedTuple):
    """Tensors of one training step, from the backbone to the output layer."""

    features: Tensor  # (B, D), h
    latents: Tensor  # (B, d), z
    outputs: Tensor  # (B, K), logits or cosines
    labels: Tensor  # (B,)


@dataclass(frozen=True, kw_only=True)
class TermEntry:
    """An auxiliary loss. ``build(latent_dim, num_classes)`` returns a module that maps a Batch to a scalar.

    The buffers of the module are its state.
    """

    summary: str
    source: str
    build: Callable[[int, int], nn.Module]


TERMS: Registry[TermEntry] = Registry("term")


class SupervisedContrastive(nn.Module):
    r"""Supervised contrastive loss on the features h.

    (1/|A|) Σ_{i∈A} −1/|P(i)| Σ_{p∈P(i)} log( e^{u_i·u_p/τ} / Σ_{a≠i} e^{u_i·u_a/τ} )

    u = h/‖h‖. P(i) is the set of the other images of i's class in the batch. A is the set of the images with non-empty
    P(i). τ is 0.05, with one view per image, as in the authors' comparison. The loss is 0 if no class occurs twice.
    Source: Khosla et al., arXiv 2004.11362, eq. (2).
    """

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        unit = F.normalize(batch.features)
        similarity = unit @ unit.T / TEMPERATURE
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        log_share = similarity - similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
        positive = (batch.labels[:, None] == batch.labels) & ~itself
        count = positive.sum(1)
        anchors = count > 0
        mean_log = log_share.masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)
        return -mean_log[anchors].sum() / anchors.sum().clamp(min=1)


class CenterLoss(nn.Module):
    r"""Center loss on the latents z:  ½ · (1/B) Σ_i ‖z_i − c_{y_i}‖².

    After every batch, the class centres are updated by c_j ← c_j − α·Δ_j,

        Δ_j = Σ_{i: y_i = j} (c_j − z_i) / (1 + |{i: y_i = j}|),   α = 0.5.

    Source: Wen et al., ECCV 2016, eq. (2) to (4). The loss is a mean over the batch, like the cross-entropy, instead of
    the sum in the paper.
    """

    centres: Tensor

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(num_classes, latent_dim))

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar, and update the class centres."""
        difference = batch.latents - self.centres[batch.labels]
        loss = difference.square().sum(1).mean() / 2
        self._update_centres(difference.detach(), batch.labels)
        return loss

    @torch.no_grad()
    def _update_centres(self, difference: Tensor, labels: Tensor) -> None:
        pull = torch.zeros_like(self.centres).index_add_(0, labels, difference.to(self.centres))
        count = torch.bincount(labels, minlength=len(self.centres)).to(pull)
        self.centres = self.centres + CENTRE_RATE * pull / (1 + count[:, None])


_ORIGIN = "bench.models.auxiliary_losses"
TERMS.register(
    "supervised_contrastive",
    TermEntry(
        summary="pulls the features of a class together, pushes all others away",
        source="Khosla et al. 2020, arXiv 2004.11362",
        build=lambda latent_dim, num_classes: SupervisedContrastive(),
    ),
    origin=_ORIGIN,
)
TERMS.register(
    "center_loss",
    TermEntry(
        summary="squared distance of the latents from their class's moving centre",
        source="Wen et al. 2016, ECCV",
        build=CenterLoss,
    ),
    origin=_ORIGIN,
)

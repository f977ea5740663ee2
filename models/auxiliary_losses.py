"""Auxiliary loss terms that depend on more than the latents z: modules from a batch to a scalar, registered by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.registry import Registry

TEMPERATURE = 0.05
AUTHORS_FLOOR = 1e-8  # added by the authors to the sum of exponentials, relative to the largest possible one
CENTRE_RATE = 0.5
NC1_RIDGE, NC1_FLOOR = 1e-3, 1e-12  # relative and smallest regularisation of BatchNC1


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
    r"""Supervised contrastive loss on the features h, with u = h/‖h‖, τ = 0.05 and one view per image.

    (1/|A|) Σ_{i∈A} −1/|P(i)| Σ_{p∈P(i)} log( e^{u_i·u_p/τ} / Σ_{a≠i} e^{u_i·u_a/τ} )

    P(i) is the set of the other images of i's class in the batch. A is the set of the images with non-empty P(i). The
    loss is 0 if no class occurs twice. Source: Khosla et al., arXiv 2004.11362, eq. (2).

    With ``as_authors``, it is the comparison of the authors of LPC (arXiv 2310.08224, their code of November 2025): an
    image without a partner counts as 0, so that the sum over A is divided by the size B of the batch instead of |A|,
    and e^{1/τ}·1e-8 is added to the denominator. With K balanced classes, the first difference is a factor of about
    1 − (1 − 1/K)^(B−1): 0.72 for 100 classes and a batch of 128, and 1 for 10 classes.
    """

    def __init__(self, *, as_authors: bool = False) -> None:
        super().__init__()
        self.as_authors = as_authors

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        unit = F.normalize(batch.features)
        similarity = unit @ unit.T / TEMPERATURE
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        others = similarity.masked_fill(itself, -torch.inf)
        if self.as_authors:
            added = similarity.new_full((len(unit), 1), 1 / TEMPERATURE + math.log(AUTHORS_FLOOR))
            others = torch.cat([others, added], dim=1)
        log_share = similarity - others.logsumexp(1, keepdim=True)
        positive = (batch.labels[:, None] == batch.labels) & ~itself
        count = positive.sum(1)
        mean_log = log_share.masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)  # 0 without a partner
        return -mean_log.sum() / (len(unit) if self.as_authors else (count > 0).sum().clamp(min=1))


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
        count = pull.new_zeros(len(pull)).index_add_(0, labels, pull.new_ones(len(labels)))
        self.centres = self.centres + CENTRE_RATE * pull / (1 + count[:, None])


class BatchNC1(nn.Module):
    r"""NC1 of the latents z of a batch:  tr(Σ_W Σ_B⁺)/K'  =  Σ_i ‖M⁺ᵀ(z_i − μ_{y_i})‖² / (B − K').

    μ_c are the class means in the batch, M (K', d) has the rows μ_c − μ_G with μ_G the mean of the μ_c, and K' is the
    number of classes in the batch. Σ_W is pooled over the batch. M⁺ = Mᵀ(MMᵀ + ρI)⁻¹ is regularised by ρ, 1e-3 of the
    mean of the diagonal of MMᵀ, so that directions in which the means hardly differ have a bounded weight.

    The value is invariant under z → cz, so that, unlike the penalty of LPC, it cannot be lowered by smaller latents. It
    is 0 for a batch with one class, or with one image per class. Definition of NC1: Papyan et al. 2020.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        z = batch.latents
        one_hot = F.one_hot(batch.labels, self.num_classes).to(z)  # (B, K)
        counts = one_hot.sum(0)
        present = (counts > 0).to(z)
        n_present = present.sum()
        means = one_hot.T @ z / counts.clamp(min=1)[:, None]  # (K, d), 0 for absent classes
        centred = (means - means.sum(0) / n_present) * present[:, None]
        gram = centred @ centred.T  # (K, K)
        ridge = (NC1_RIDGE * gram.trace() / n_present).clamp(min=NC1_FLOOR)
        eye = torch.eye(self.num_classes, dtype=z.dtype, device=z.device)
        projected = (z - means[batch.labels]) @ centred.T  # (B, K)
        # solve_ex does not wait for the device, as solve does to check for a singular matrix.
        coordinates: Tensor = torch.linalg.solve_ex(gram + ridge * eye, projected.T).result
        return coordinates.square().sum() / (len(z) - n_present).clamp(min=1)


class LogitSqueezing(nn.Module):
    r"""Logit squeezing:  (1/B) Σ_i ‖o_i‖₂, the mean Euclidean length of the logits.

    Source: Kannan et al. 2018, arXiv 1803.06373. The lengths are not squared, as in the code of Mosbach et al., arXiv
    1810.12042.
    """

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        loss: Tensor = torch.linalg.vector_norm(batch.outputs, dim=1).mean()
        return loss


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
    "supervised_contrastive_authors",
    TermEntry(
        summary="the same, with images without a partner counted as 0, as in the authors' comparison",
        source="Khosla et al. 2020, arXiv 2004.11362; code of Sbailo and Ghiringhelli, arXiv 2310.08224",
        build=lambda latent_dim, num_classes: SupervisedContrastive(as_authors=True),
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
TERMS.register(
    "batch_nc1",
    TermEntry(
        summary="NC1 of each batch, the variability within the classes relative to that between them",
        source="definition of NC1, Papyan et al. 2020, arXiv 2008.08186",
        build=lambda latent_dim, num_classes: BatchNC1(num_classes),
    ),
    origin=_ORIGIN,
)
TERMS.register(
    "logit_squeezing",
    TermEntry(
        summary="mean Euclidean length of the logits",
        source="Kannan et al. 2018, arXiv 1803.06373",
        build=lambda latent_dim, num_classes: LogitSqueezing(),
    ),
    origin=_ORIGIN,
)

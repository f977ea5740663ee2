"""Training steps that make the outputs change slowly with the image: gradient penalties and AugMix.

The gradient penalties differentiate a gradient with respect to the image once more (double backpropagation, Drucker and
LeCun 1992). Attention then runs in its plain form, because the fused forms have no second derivative.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.models.augmix import augment_and_mix
from bench.models.auxiliary_losses import Batch
from bench.models.training_steps import TRAINING_STEPS, StepContext, StepEntry, TrainingBatch


def input_gradient_penalty(batch: TrainingBatch, context: StepContext) -> Tensor:
    """Compute the loss of the variant + λ·mean_i ‖∂L_i/∂x_i‖₂, where L_i is the criterion of image i.

    The criterion is a mean over the batch, so that L_i has the gradient B·∂L/∂x_i. λ is the weight of the step. The
    norm is not squared, as in Kireev, Andriushchenko and Flammarion 2021, arXiv 2103.02325. Ross and Doshi-Velez 2018,
    arXiv 1711.09404, square it.
    """
    images = context.attack().detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        found = context.forward(images)
        (gradient,) = torch.autograd.grad(context.criterion(found.outputs), images, create_graph=True)
    norms = torch.linalg.vector_norm(len(images) * gradient.flatten(1), dim=1)
    loss: Tensor = context.loss(found) + context.weight * norms.mean()
    return loss


def jacobian_penalty(batch: TrainingBatch, context: StepContext) -> Tensor:
    """Compute the loss of the variant + λ/2·mean_i ‖J_i‖²_F, where J_i = ∂o_i/∂x_i is (K, D).

    The squared norm is estimated by K·‖vᵀJ_i‖², where v is uniform on the unit sphere in K dimensions (Hoffman, Roberts
    and Yaida 2019, arXiv 1908.02729, eq. 11). λ is the weight of the step.
    """
    images = context.attack().detach().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        found = context.forward(images)
        count = found.outputs.shape[1]
        directions = F.normalize(context.random.normal("jacobian", count))
        (gradient,) = torch.autograd.grad((directions * found.outputs).sum(), images, create_graph=True)
    return context.loss(found) + context.weight / 2 * count * gradient.square().flatten(1).sum(1).mean()


def jensen_shannon(*outputs: Tensor) -> Tensor:
    """Compute (1/n)·Σ_j KL(p_j ‖ M) per image, where p_j is the softmax of the j-th (B, K), and M their mean."""
    log_p = torch.stack(outputs).log_softmax(2)
    log_mean = log_p.logsumexp(0) - math.log(len(outputs))
    return (log_p.exp() * (log_p - log_mean)).sum(2).mean(0)


def augmix(batch: TrainingBatch, context: StepContext) -> Tensor:
    """Compute the loss of the variant on clean images + λ·mean JS(p, p₁, p₂), with λ the weight of the step.

    p₁ and p₂ are the predictions of two mixtures of the same image, see :mod:`bench.models.augmix`. The three versions
    are one batch, so that batch norm uses their common statistics, as in the code of Hendrycks et al. 2020 (arXiv
    1912.02781).
    """
    views = [augment_and_mix(batch.images, context.random, purpose=f"augmix{view}") for view in (1, 2)]
    every = context.compute(torch.cat([batch.images, *views]), batch.labels.repeat(3))
    clean, *mixed = (Batch(*parts) for parts in zip(*(tensor.chunk(3) for tensor in every), strict=True))
    context.last = clean
    return context.loss(clean) + context.weight * jensen_shannon(*(b.outputs for b in (clean, *mixed))).mean()


_ORIGIN = "bench.models.smoothness_steps"
TRAINING_STEPS.register(
    "input_gradient_penalty",
    StepEntry(
        summary="the loss of the variant, and step_weight times the norm of its gradient with respect to the image",
        source="Kireev et al. 2021, arXiv 2103.02325; Ross and Doshi-Velez 2018, arXiv 1711.09404",
        function=input_gradient_penalty,
        passes=3.0,
    ),
    origin=_ORIGIN,
)
TRAINING_STEPS.register(
    "jacobian_penalty",
    StepEntry(
        summary="the loss of the variant, and half of step_weight times the squared norm of the outputs' Jacobian",
        source="Hoffman et al. 2019, arXiv 1908.02729",
        function=jacobian_penalty,
        passes=3.0,
    ),
    origin=_ORIGIN,
)
TRAINING_STEPS.register(
    "augmix",
    StepEntry(
        summary="the loss of the variant, and step_weight times the divergence of predictions for mixed images",
        source="Hendrycks et al. 2020, arXiv 1912.02781",
        function=augmix,
        adversary="unused",
        passes=3.0,
    ),
    origin=_ORIGIN,
)

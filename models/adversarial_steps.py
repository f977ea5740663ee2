r"""Training steps of adversarial training with two forward passes: TRADES and MART.

x' is the image found by the adversary, p = softmax(f(x)) and p' = softmax(f(x')). Both passes of the step are in
training mode, one after the other, as in the authors' code. As in the standard step, penalties of the variant apply to
the images of its main loss: the clean images in TRADES, the perturbed ones in MART.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models.adversary import evaluating
from bench.models.training_steps import TRAINING_STEPS, StepContext, StepEntry, TrainingBatch

START_STD = 0.001  # of the Gaussian start of the search, in units of [0, 1] pixels, in the code of both papers


def divergence(outputs: Tensor, others: Tensor) -> Tensor:
    """Compute KL(softmax(outputs) ‖ softmax(others)) = Σ_k p_k·(log p_k − log q_k) per image; both are (B, K)."""
    log_p, log_q = outputs.log_softmax(1), others.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def trades(batch: TrainingBatch, context: StepContext) -> Tensor:
    """Compute the loss of TRADES (Zhang et al. 2019, arXiv 1901.08573, eq. 5), with β the weight of the step.

    L = criterion(f(x), y) + β·mean KL(p ‖ p') + penalties. The adversary maximises KL(p ‖ p'), from a Gaussian start
    near the image, because the gradient of KL is 0 at the image itself.
    """
    with evaluating(context.model), torch.no_grad():
        target = context.compute(batch.images, batch.labels).outputs
    found = context.attack(
        lambda images: divergence(target, context.compute(images, batch.labels).outputs).mean(),
        start=START_STD * context.random.normal("trades", *batch.images.shape[1:]),
    )
    clean = context.forward(batch.images)
    perturbed = context.compute(found, batch.labels)
    return context.loss(clean) + context.weight * divergence(clean.outputs, perturbed.outputs).mean()


def boosted_cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Compute −log p_y − log(1 − max_{k≠y} p_k) per image; ``outputs`` are (B, K) (Wang et al. 2020, eq. 8).

    1 − p_k is the sum of the other probabilities, which is not rounded to 0. The authors' code adds 1e-4 to it instead.
    """
    log_p = outputs.log_softmax(1)
    of_label = F.one_hot(labels, outputs.shape[1]).bool()
    rival = log_p.detach().masked_fill(of_label, -torch.inf).argmax(1, keepdim=True)
    of_rival = torch.zeros_like(of_label).scatter(1, rival, value=True)
    not_rival = log_p.masked_fill(of_rival, -torch.inf).logsumexp(1)
    return -log_p.gather(1, labels[:, None]).squeeze(1) - not_rival


def mart(batch: TrainingBatch, context: StepContext) -> Tensor:
    """Compute the loss of MART (Wang et al. 2020, OpenReview rklOg6EFwS, eq. 11), with λ the weight of the step.

    L = mean[BCE(p', y) + λ·KL(p ‖ p')·(1 − p_y)] + penalties, where BCE is :func:`boosted_cross_entropy`. The adversary
    maximises the cross-entropy, from a Gaussian start near the image.
    """
    found = context.attack(start=START_STD * context.random.normal("mart", *batch.images.shape[1:]))
    clean = context.compute(batch.images, batch.labels).outputs
    perturbed = context.forward(found)
    doubt = 1 - clean.softmax(1).gather(1, batch.labels[:, None]).squeeze(1)
    main = boosted_cross_entropy(perturbed.outputs, batch.labels)
    consistency = divergence(clean, perturbed.outputs) * doubt
    return (main + context.weight * consistency).mean() + context.penalties(perturbed)


_ORIGIN = "bench.models.adversarial_steps"
TRAINING_STEPS.register(
    "trades",
    StepEntry(
        summary="the loss of the variant on clean images, and step_weight times the divergence of the predictions",
        source="Zhang et al. 2019, arXiv 1901.08573",
        function=trades,
        adversary="required",
        passes=2.5,  # the target of the adversary is a forward pass
    ),
    origin=_ORIGIN,
)
TRAINING_STEPS.register(
    "mart",
    StepEntry(
        summary="boosted cross-entropy of perturbed images, and step_weight times the divergence of uncertain images",
        source="Wang et al. 2020, OpenReview rklOg6EFwS",
        function=mart,
        adversary="required",
        criterion=False,
        passes=2.0,
    ),
    origin=_ORIGIN,
)

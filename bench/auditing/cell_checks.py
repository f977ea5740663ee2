"""Sanity checks of the model in every cell: a flag beside its number where it fails, and a remark among its notes.

``randomised``, a flag: asked twice about the same images, the model answers differently, so that an attack of one draw
says little (Athalye et al. 2018, arXiv 1802.00420). A remark: the margin has no gradient at the clean image, where
attacks that follow one stand still (Carlini et al. 2019, arXiv 1902.06705); the audit says whether anything comes of
it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.auditing.gradients import input_gradient
from bench.auditing.model_checks import randomised
from bench.auditing.spread import spread
from bench.core.specs import Finding
from bench.data.tensors import Images
from models.margins import logit_margins

ASKED = 1000  # images at most, one of every part of them
ZERO_SHARE = 0.01  # of the attacked images: what goes unsaid moves an accuracy by a point at most


def check_randomised(
    model: nn.Module, images: Images, indices: Tensor, device: torch.device, batch_size: int
) -> tuple[Finding, ...]:
    """Two passes over the images at ``indices``, (M,) int64, in the same batches, in evaluation mode."""
    asked = spread(indices, ASKED)
    found = randomised(model, (images.inputs(part, device) for part in asked.split(batch_size)))
    return () if found is None else (found,)


def check_gradients(
    model: nn.Module, images: Images, indices: Tensor, device: torch.device, batch_size: int
) -> tuple[str, ...]:
    """A remark if ∇ₓ(o_y − max_{j≠y} o_j) is 0, or is none, at many of the clean images at ``indices``, (M,) int64."""
    model.eval()
    asked = spread(indices, ASKED)
    zero = sum(
        int(_no_gradient(model, images.inputs(part, device), images.labels[part].to(device)).sum())
        for part in asked.split(batch_size)
    )
    if zero <= ZERO_SHARE * len(asked):
        return ()
    return (f"the margin has no gradient at {zero} of {len(asked)} attacked images",)


def _no_gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    points = inputs.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(points)
        # Integers have no margin that could be differentiated, and none that fits a mask of −∞.
        margin = logit_margins(logits if logits.is_floating_point() else logits.to(points), labels).sum()
    return (input_gradient(margin, points) == 0).flatten(1).all(1)

"""Sanity checks of the model under attack: what they find is a flag of the cell, beside its number and on the board.

``randomised``: asked twice about the same images, the model answers differently, so that an attack of one draw says
little (Athalye et al. 2018, arXiv 1802.00420). ``zero_gradient``: the margin has no gradient at the clean image, where
attacks that follow one stand still (Carlini et al. 2019, arXiv 1902.06705).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.data.tensors import Images
from models.margins import logit_margins

ASKED = 1000  # images at most, evenly spaced
LOGITS_APART = 1e-4  # of the largest logit: more than rounding makes of equal images in equal batches
ZERO_SHARE = 0.01  # of the attacked images: what goes unflagged moves an accuracy by a point at most


class Finding(NamedTuple):
    flag: str  # one of bench.core.vocabulary.FLAGS
    note: str


def check_randomised(
    model: nn.Module, images: Images, indices: Tensor, device: torch.device, batch_size: int
) -> tuple[Finding, ...]:
    """Two passes over the images at ``indices``, (M,) int64, in the same batches, in evaluation mode."""
    model.eval()
    differ, furthest, asked = 0, 0.0, _spread(indices)
    with torch.no_grad():
        for part in asked.split(batch_size):
            inputs = images.inputs(part, device)
            first, second = model(inputs.clone()), model(inputs.clone())
            apart = (first - second).abs().amax(1).nan_to_num(torch.inf, torch.inf)
            unlike = (apart > LOGITS_APART * first.abs().amax()) | apart.isinf()  # NaN is no equal
            differ += int(unlike.sum())
            furthest = max(furthest, float(apart.max()))
    if not differ:
        return ()
    note = f"logits of {differ} of {len(asked)} images differ between two passes, by up to {furthest:.3g}"
    return (Finding("randomised", f"randomised: {note}"),)


def check_gradients(
    model: nn.Module, images: Images, indices: Tensor, device: torch.device, batch_size: int
) -> tuple[Finding, ...]:
    """∇ₓ(o_y − max_{j≠y} o_j) at the clean images at ``indices``, (M,) int64; where there is none it is 0."""
    model.eval()
    asked = _spread(indices)
    zero = sum(
        int(_no_gradient(model, images.inputs(part, device), images.labels[part].to(device)).sum())
        for part in asked.split(batch_size)
    )
    if zero <= ZERO_SHARE * len(asked):
        return ()
    return (Finding("zero_gradient", f"zero_gradient: on {zero} of {len(asked)} attacked images"),)


def _no_gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    points = inputs.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(points)
        # Integers have no margin that could be differentiated, and none that fits a mask of −∞.
        margin = logit_margins(logits if logits.is_floating_point() else logits.to(points), labels).sum()
    if not margin.requires_grad:
        return torch.ones_like(labels, dtype=torch.bool)
    (gradient,) = torch.autograd.grad(margin, points, allow_unused=True)
    return torch.ones_like(labels, dtype=torch.bool) if gradient is None else (gradient == 0).flatten(1).all(1)


def _spread(indices: Tensor) -> Tensor:
    """At most ``ASKED`` of them, evenly spaced: the images of a set may be in the order of their classes."""
    return indices[:: max(-(-len(indices) // ASKED), 1)]

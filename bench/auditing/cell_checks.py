"""Sanity checks of the model in every cell: a flag beside its number where it fails, and a remark among its notes.

``randomised``, a flag: asked twice about the same images, the model answers differently, so that an attack of one draw
says little (Athalye et al. 2018, arXiv 1802.00420).

``zero_gradient``, a flag where it holds for most attacked images and a note where it holds for some: the gradient of
the margin is zero at the clean image, where attacks that follow it stand still (Carlini et al. 2019, arXiv 1902.06705).
An absent gradient is a failure of the cell, never a flag.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.gradients import differentiate
from bench.auditing.model_checks import randomised
from bench.auditing.spread import spread
from bench.core.specs import Finding
from bench.data.tensors import Images
from models.margins import logit_margins

ASKED = 1000  # images at most, one of every part of them
FLAGGED_SHARE = 0.5  # of the attacked images
ZERO_SHARE = 0.01  # of the attacked images: what goes unsaid moves an accuracy by a point at most


def check_randomised(
    model: nn.Module, images: Images, indices: Tensor, device: torch.device, batch_size: int
) -> tuple[Finding, ...]:
    """Two passes over the images at ``indices``, (M,) int64, in the same batches, in evaluation mode."""
    asked = spread(indices, ASKED)
    found = randomised(model, (images.inputs(part, device) for part in asked.split(batch_size)))
    return () if found is None else (found,)


class ZeroGradients(NamedTuple):
    """Clean images at which the margin's gradient is exactly zero, so that an attack that follows it stands still."""

    findings: tuple[Finding, ...] = ()  # a flag where they are most of the images
    notes: tuple[str, ...] = ()  # a note where they are more than a few


def check_gradients(
    model: nn.Module, images: Images, indices: Tensor, device: torch.device, batch_size: int
) -> ZeroGradients:
    """Count the images at ``indices``, (M,) int64, with ∇ₓ(o_y − max_{j≠y} o_j) = 0.

    Raises CellFailure("no_gradient") where there is no gradient at all.
    """
    model.eval()
    asked = spread(indices, ASKED)
    zero = sum(
        int(_zero_gradient(model, images.inputs(part, device), images.labels[part].to(device)).sum())
        for part in asked.split(batch_size)
    )
    if zero <= ZERO_SHARE * len(asked):
        return ZeroGradients()
    note = f"the gradient of the margin is zero at {zero} of {len(asked)} attacked images"
    if zero <= FLAGGED_SHARE * len(asked):
        return ZeroGradients(notes=(note,))
    return ZeroGradients((Finding("zero_gradient", f"zero_gradient: {note}"),))


def _zero_gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    gradient = differentiate(model, inputs, lambda logits: logit_margins(logits, labels)).gradient
    return (gradient == 0).flatten(1).all(1)

"""Sanity checks of the model in every cell: a flag beside its number where it fails, and a remark among its notes.

``randomised``, a flag: asked twice about the same images, the model answers differently, so that an attack of one draw
says little (Athalye et al. 2018, arXiv 1802.00420).

``zero_gradient``, a flag where it holds for most attacked images and a note where it holds for some: the gradient of
the margin is zero at the clean image, where attacks that follow it stand still (Carlini et al. 2019, arXiv 1902.06705).
An absent gradient is a failure of the cell, never a flag.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.attacks.gradients import differentiate
from bench.core.errors import CellFailure
from bench.core.records import Finding
from bench.data.tensors import Images, spread
from bench.models.margins import logit_margins
from bench.sanity.model_checks import randomised

Perturb = Callable[[Tensor, Sequence[str]], Tensor]  # images (B, C, H, W) and their ids to points in their balls

ASKED = 1000  # images at most, one of every part of them
ASKED_PERTURBED = 100
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
    model: nn.Module,
    images: Images,
    indices: Tensor,
    device: torch.device,
    batch_size: int,
    perturbed: Perturb | None = None,
) -> ZeroGradients:
    """Count the images at ``indices``, (M,) int64, with ∇ₓ(o_y − max_{j≠y} o_j) = 0, clean and ``perturbed``.

    A model may hide its gradients off the clean images alone, as by detaching whatever is not a grey level of 8 bits.
    Raises CellFailure("no_gradient") where there is no gradient at all, and CellFailure("nan_gradient") where it is NaN
    or infinite at more than ``ZERO_SHARE`` of the images.
    """
    model.eval()
    found = _counted(model, images, spread(indices, ASKED), device, batch_size, lambda points, _: points, "")
    if found.findings or perturbed is None:
        return found
    there = _counted(
        model, images, spread(indices, ASKED_PERTURBED), device, batch_size, perturbed, " after a random perturbation"
    )
    return ZeroGradients(there.findings, (*found.notes, *there.notes))


def _counted(
    model: nn.Module,
    images: Images,
    asked: Tensor,
    device: torch.device,
    batch_size: int,
    perturbed: Perturb,
    where: str,
) -> ZeroGradients:
    zero = broken = 0
    for part in asked.split(batch_size):
        points = perturbed(images.inputs(part, device), [images.ids[i] for i in part.tolist()])
        labels = images.labels[part].to(device)
        gradient = margin_gradient(model, points, labels).flatten(1)
        zero += int((gradient == 0).all(1).sum())
        broken += int((~gradient.isfinite()).any(1).sum())
    if broken > ZERO_SHARE * len(asked):
        raise CellFailure(
            "nan_gradient",
            f"the gradient of the margin is NaN or infinite at {broken} of {len(asked)} attacked images{where}; no "
            "attack can follow it. A common cause is torch.where around a power or a root at 0: clamp its argument.",
        )
    if zero <= ZERO_SHARE * len(asked):
        return ZeroGradients()
    note = f"the gradient of the margin is zero at {zero} of {len(asked)} attacked images{where}"
    if zero <= FLAGGED_SHARE * len(asked):
        return ZeroGradients(notes=(note,))
    return ZeroGradients((Finding("zero_gradient", f"zero_gradient: {note}"),))


def margin_gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """∇ₓ(o_y − max_{j≠y} o_j) at ``inputs``, (B, C, H, W)."""
    return differentiate(model, inputs, lambda logits: logit_margins(logits, labels)).gradient

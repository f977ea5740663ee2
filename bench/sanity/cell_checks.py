"""Sanity checks of the model in every cell. A failed check adds a flag to the cell or a note to its row.

``randomised`` (flag): two passes over the same images give different logits, one after the other, or before and after
the attack. An attack on one random draw is then not conclusive (Athalye et al. 2018, arXiv 1802.00420).

``zero_gradient`` (a flag if it affects most of the attacked images, a note if it affects some): the gradient of the
margin is zero at the clean image, so that gradient attacks do not move (Carlini et al. 2019, arXiv 1902.06705). For a
model without a gradient the cell fails.
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
from bench.sanity.model_checks import randomised, unequal

Perturb = Callable[[Tensor, Sequence[str]], Tensor]  # (images (B, C, H, W), ids) -> points in the balls of the images

CHECKED = 1000  # maximum number of checked images, spread evenly over all images
CHECKED_AGAIN = 50  # maximum number of images whose logits before and after an attack are compared
CHECKED_PERTURBED = 100  # maximum number of checked perturbed images
FLAGGED_SHARE = 0.5  # a flag is raised above this share of the attacked images
ZERO_SHARE = 0.01  # smaller shares are ignored: they change an accuracy by one point at most


def check_randomised(
    model: nn.Module, images: Images, indices: Tensor, device: torch.device, batch_size: int
) -> tuple[Finding, ...]:
    """Compare two passes in evaluation mode over the images at ``indices``, (M,) int64, in the same batches."""
    checked = spread(indices, CHECKED)
    finding = randomised(model, (inputs for inputs, _ in images.batches(checked.split(batch_size), device)))
    return () if finding is None else (finding,)


def clean_logits(model: nn.Module, images: Images, device: torch.device, batch_size: int) -> Tensor:
    """Return the logits of ``CHECKED_AGAIN`` clean images, (M, K) float32 on the CPU."""
    model.eval()
    checked = spread(torch.arange(len(images)), CHECKED_AGAIN).split(batch_size)
    with torch.no_grad():
        parts = [model(inputs.clone()).to("cpu", torch.float32) for inputs, _ in images.batches(checked, device)]
    return torch.cat(parts)


def check_unchanged(before: Tensor, after: Tensor) -> tuple[Finding, ...]:
    """Compare the results of :func:`clean_logits` before and after an attack. The model may count its calls."""
    changed = int(unequal(before, after).sum())
    if not changed:
        return ()
    note = f"logits of {changed} of {len(before)} images changed during the attack"
    return (Finding("randomised", f"randomised: {note}"),)


class ZeroGradients(NamedTuple):
    """Findings on images with an exactly zero gradient of the margin, at which gradient attacks do not move."""

    findings: tuple[Finding, ...] = ()  # a flag if the share exceeds FLAGGED_SHARE
    notes: tuple[str, ...] = ()  # a note if the share exceeds ZERO_SHARE only


def check_gradients(
    model: nn.Module,
    images: Images,
    indices: Tensor,
    device: torch.device,
    batch_size: int,
    perturbed: Perturb | None = None,
) -> ZeroGradients:
    """Count the images at ``indices``, (M,) int64, with ∇ₓ(o_y − max_{j≠y} o_j) = 0, clean and ``perturbed``.

    Perturbed images are also checked, because a model may hide its gradients only there. Example: a model that detaches
    pixels without an 8-bit value. Raise CellFailure("no_gradient") for a model without a gradient. Raise
    CellFailure("nan_gradient") if the gradient is NaN or infinite at more than ``ZERO_SHARE`` of the images.
    """
    model.eval()
    at_clean = _counted(model, images, spread(indices, CHECKED), device, batch_size, lambda points, _: points, "")
    if at_clean.findings or perturbed is None:
        return at_clean
    at_perturbed = _counted(
        model, images, spread(indices, CHECKED_PERTURBED), device, batch_size, perturbed, " after a random perturbation"
    )
    return ZeroGradients(at_perturbed.findings, (*at_clean.notes, *at_perturbed.notes))


def _counted(
    model: nn.Module,
    images: Images,
    checked: Tensor,
    device: torch.device,
    batch_size: int,
    perturbed: Perturb,
    where: str,
) -> ZeroGradients:
    zero = nonfinite = 0
    parts = checked.split(batch_size)
    for part, (inputs, labels) in zip(parts, images.batches(parts, device), strict=True):
        points = perturbed(inputs, [images.ids[i] for i in part.tolist()])
        gradient = margin_gradient(model, points, labels).flatten(1)
        zero += int((gradient == 0).all(1).sum())
        nonfinite += int((~gradient.isfinite()).any(1).sum())
    if nonfinite > ZERO_SHARE * len(checked):
        raise CellFailure(
            "nan_gradient",
            f"the gradient of the margin is NaN or infinite at {nonfinite} of {len(checked)} attacked images{where}; "
            "no attack can follow it. A common cause is torch.where around a power or a root at 0: clamp its argument.",
        )
    if zero <= ZERO_SHARE * len(checked):
        return ZeroGradients()
    note = f"the gradient of the margin is zero at {zero} of {len(checked)} attacked images{where}"
    if zero <= FLAGGED_SHARE * len(checked):
        return ZeroGradients(notes=(note,))
    return ZeroGradients((Finding("zero_gradient", f"zero_gradient: {note}"),))


def margin_gradient(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return ∇ₓ(o_y − max_{j≠y} o_j) at ``inputs``, (B, C, H, W)."""
    return differentiate(model, inputs, lambda logits: logit_margins(logits, labels)).gradient

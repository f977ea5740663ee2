"""Asking a model, whatever it is: logits that can be computed with, and a gradient that is 0 where there is none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.core.errors import CellFailure


def logits_at(model: nn.Module, points: Tensor) -> Tensor:
    """The logits of ``points``, (B, K), in a floating-point type.

    Raises CellFailure("nan_logits") where one of them is not finite: to what has no class no attack can give another,
    and an image is not robust because a model has no answer nearby.
    """
    logits: Tensor = model(points)
    if not torch.isfinite(logits).all():
        raise CellFailure("nan_logits", "the model returned NaN or infinite logits to the attack.")
    return logits if logits.is_floating_point() else logits.to(points.dtype)


def gradient_of(total: Tensor, points: Tensor) -> Tensor:
    """∂total/∂points, in the shape of ``points``; 0 where nothing differentiable leads from one to the other."""
    if not total.requires_grad:
        return torch.zeros_like(points)
    (gradient,) = torch.autograd.grad(total, points, materialize_grads=True)
    return gradient

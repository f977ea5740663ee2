"""Compute the local sensitivity at images: the margin, its gradient, and a first-order radius.

    m(x) = f_y(x) − max_{j≠y} f_j(x),   radius ≈ m/‖∇m‖₂

‖∇m‖ alone does not measure robustness: logits multiplied by c have c times the gradient and the same predictions. The
radius does not depend on c. For a linear model, the radius is the distance to the boundary. For other models, it is an
estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from bench.diagnostics.latents import Floats, Value, undefined
from bench.models.margins import logit_margins


@dataclass(frozen=True)
class LocalSensitivity:
    """Gradients of the margin with respect to pixels in [0, 1], in logits per unit of L2."""

    n: int
    n_correct: int
    gradient_norm_mean: Value  # mean over all images
    gradient_norm_max: Value
    zero_gradient_share: (
        Value  # share of images with margin gradient exactly 0 (gradients of the cross-entropy vanish earlier)
    )
    local_radius_median: Value  # median over correctly classified images, in pixel L2; a zero gradient gives infinity


def slopes(classify: Callable[[Tensor], Tensor], points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return m and ‖∂m/∂point‖₂ of one batch, (N,) float64. ``classify`` maps ``points``, (N, ...), to logits (N, K).

    The derivatives have the dtype of ``points``. Their squares are summed in float64, so that squares of small float32
    values do not underflow.
    """
    points = points.detach().requires_grad_()
    with torch.enable_grad():
        margin = logit_margins(classify(points), labels)
    (gradient,) = torch.autograd.grad(margin, points, torch.ones_like(margin))
    return margin.detach().double(), torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)


def margin_gradients(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Return the margin m and ‖∇ₓm‖₂ of every image, both (N,) float64, on the images' device.

    ``images`` is (N, 3, H, W), in [0, 1], with the device and dtype of ``model``. ``model`` maps pixels to logits and
    is put in evaluation mode. ``labels`` is (N,), int64.
    """
    model.eval()
    batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
    results = [slopes(model, batch, truth) for batch, truth in batches]
    return torch.cat([margin for margin, _ in results]), torch.cat([norm for _, norm in results])


def local_sensitivity(model: nn.Module, images: Tensor, labels: Tensor, *, batch_size: int) -> LocalSensitivity:
    """Return :func:`summarise` of :func:`margin_gradients`."""
    return summarise(*margin_gradients(model, images, labels, batch_size))


def summarise(margin: Tensor, norm: Tensor) -> LocalSensitivity:
    """Compute the local sensitivity of a model from m and ‖∇m‖, both (N,).

    Images with a small gradient are included, because models with masked gradients have many of them. An image is
    correctly classified if m > 0.
    """
    m, g = margin.double().cpu().numpy(), norm.double().cpu().numpy()
    correct = m > 0
    n, n_correct = len(m), int(correct.sum())
    n_nonfinite = int((~np.isfinite(m) | ~np.isfinite(g)).sum())
    if not n or n_nonfinite:
        reason = (
            f"the margin or its gradient is not finite on {n_nonfinite} of {n} images" if n else "no images were given"
        )
        unknown = undefined(reason)
        return LocalSensitivity(n, n_correct, unknown, unknown, unknown, unknown)
    radius = _median_radius(m[correct], g[correct])
    return LocalSensitivity(
        n, n_correct, Value(float(g.mean())), Value(float(g.max())), Value(float((g == 0).mean())), radius
    )


def _median_radius(m: Floats, g: Floats) -> Value:
    if not len(m):
        return undefined("no image is classified correctly")
    with np.errstate(divide="ignore"):  # a positive margin with a zero gradient has an infinite radius
        median = float(np.median(m / g))
    missing = undefined("the gradient is zero at half of the correctly classified images or more")
    return Value(median) if math.isfinite(median) else missing

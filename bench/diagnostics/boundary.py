"""Compute distances to a decision boundary: verify adversarial images and shorten perturbations by bisection."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bench.diagnostics.latents import Floats


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """Return the predicted classes, (N,), without gradients."""
    with torch.no_grad():
        classes: Tensor = model(images).argmax(1)
    return classes


def adversarial(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return which ``images`` are in [0, 1], have finite logits and are not predicted as ``classes``, (N,) bool."""
    with torch.no_grad():
        logits = model(images)
    inside = ((images >= 0) & (images <= 1)).flatten(1).all(1)  # false for NaN
    verdict: Tensor = inside & logits.isfinite().all(1) & (logits.argmax(1) != classes)
    return verdict


def smallest_fraction(model: nn.Module, images: Tensor, moved: Tensor, classes: Tensor, halvings: int) -> Tensor:
    """Find by bisection a small t in (0, 1], (M,), for which x + t·(moved − x) is not predicted as ``classes``.

    ``images`` and ``moved`` are (M, C, H, W). ``moved`` is not predicted as ``classes``. The result is a point where
    the segment crosses the decision boundary. It is the first crossing only if the segment crosses the boundary once.
    """
    low = torch.zeros(len(images), dtype=images.dtype, device=images.device)
    high = torch.ones_like(low)
    if not len(images):
        return high
    for _ in range(halvings):
        middle = (low + high) / 2
        fooled = predict(model, between(images, moved, middle)) != classes
        low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)
    return high


def between(images: Tensor, moved: Tensor, fraction: Tensor) -> Tensor:
    """Return x + t·(moved − x) for ``fraction`` t, (M,)."""
    return images + fraction.view(-1, 1, 1, 1) * (moved - images)


def lengths(vectors: Tensor) -> Floats:
    """Return ‖v‖₂ of ``vectors`` (N, C, H, W). The squares are summed in float64."""
    return as_floats(torch.linalg.vector_norm(vectors.flatten(1), dim=1, dtype=torch.float64))


def as_floats(values: Tensor) -> Floats:
    """Convert a tensor to a float64 array."""
    array: Floats = np.asarray(values.double().cpu().numpy())
    return array

"""Distances to a decision boundary: verified adversarial images, shortened by bisection, and their lengths."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from bench.diagnostics.latents import Floats


def predict(model: nn.Module, images: Tensor) -> Tensor:
    """The predicted classes, (N,), without gradients."""
    with torch.no_grad():
        classes: Tensor = model(images).argmax(1)
    return classes


def adversarial(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return which ``images`` lie in [0, 1] and get finite logits and another class in a new pass, (N,) bool."""
    with torch.no_grad():
        logits = model(images)
    inside = ((images >= 0) & (images <= 1)).flatten(1).all(1)  # false for NaN
    verdict: Tensor = inside & logits.isfinite().all(1) & (logits.argmax(1) != classes)
    return verdict


def smallest_fraction(model: nn.Module, images: Tensor, moved: Tensor, classes: Tensor, halvings: int) -> Tensor:
    """The smallest t in (0, 1] found by bisection where x + t·(moved − x) has another class than ``classes``, (M,).

    ``moved`` itself has another class. The point is a crossing of the boundary; the first one only if the segment
    crosses once.
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
    """x + t·(moved − x)."""
    return images + fraction.view(-1, 1, 1, 1) * (moved - images)


def lengths(vectors: Tensor) -> Floats:
    """‖v‖₂ of (N, C, H, W), summed up in float64."""
    return as_floats(torch.linalg.vector_norm(vectors.flatten(1), dim=1, dtype=torch.float64))


def as_floats(values: Tensor) -> Floats:
    """A tensor as a float64 array."""
    array: Floats = np.asarray(values.double().cpu().numpy())
    return array

"""Compute the logit margin, which is positive if an image is correctly classified."""

from __future__ import annotations

from torch import Tensor


def logit_margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """Compute o_y − max_{j≠y} o_j, (N,), from ``outputs`` (N, K ≥ 2) and ``labels`` (N,)."""
    own = labels[:, None]
    others = outputs.scatter(1, own, -float("inf"))
    # In a tie, max has the gradient of one class; amax would average the gradients.
    return outputs.gather(1, own).squeeze(1) - others.max(1).values

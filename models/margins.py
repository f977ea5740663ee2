"""The logit margin, the quantity that decides whether an image is broken."""

from __future__ import annotations

from torch import Tensor


def logit_margins(outputs: Tensor, labels: Tensor) -> Tensor:
    """o_y − max_{j≠y} o_j, (N,), from ``outputs`` (N, K ≥ 2) and ``labels`` (N,); positive where the image is right."""
    own = labels[:, None]
    others = outputs.scatter(1, own, -float("inf"))
    return outputs.gather(1, own).squeeze(1) - others.max(1).values  # max takes one class where amax averages ties

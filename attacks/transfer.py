"""Images that are made to fool one model and are shown to another: MI-FGSM to its last step.

Dong et al. 2018 (arXiv 1710.06081) meant the momentum for this: g_{t+1} = μ·g_t + ∇L/‖∇L‖₁, x_{t+1} = Π(x_t + α·sign
g_{t+1}), α = ε/T. L is the margin of Carlini and Wagner, which no scale of the logits blinds. Unlike an attack on the
model itself the walk does not end at the first break: an image that has just crossed one boundary seldom crosses
another.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attacks.gradients import gradient_of, logits_at
from attacks.l1 import steepest_in_box
from attacks.norms import project, steepest, unit_l1
from attacks.objectives import margin
from bench.core.specs import Norm

MOMENTUM = 1.0


def transfer_images(source: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, steps: int) -> Tensor:
    """Images inside the ball around ``inputs``, (N, C, H, W) in [0, 1], on which ``source`` is as wrong as they get.

    ``labels`` are (N,), int64. Deterministic; ``steps`` passes in each direction. Raises CellFailure("nan_logits").
    """
    points, accumulated = inputs, torch.zeros_like(inputs)
    for _ in range(steps):
        points = points.detach().requires_grad_()
        gradient = gradient_of(margin(logits_at(source, points), labels).sum(), points)
        accumulated = MOMENTUM * accumulated + unit_l1(gradient)
        moved = points.detach() + _step(points.detach(), accumulated, norm, eps / steps)
        points = project(moved, inputs, norm, eps)
    return points.detach()


def _step(points: Tensor, heading: Tensor, norm: Norm, size: float) -> Tensor:
    return steepest_in_box(points, heading, size) if norm == "l1" else size * steepest(heading, norm)

"""Images that are made to fool one model and are shown to another: MI-FGSM to its last step.

Dong et al. 2018 (arXiv 1710.06081) meant the momentum for this: g_{t+1} = μ·g_t + ∇L/‖∇L‖₁, x_{t+1} = Π(x_t + α·sign
g_{t+1}), α = ε/T. L is the margin of Carlini and Wagner, which no scale of the logits blinds. Unlike an attack on the
model itself the walk does not end at the first break: an image that has just crossed one boundary seldom crosses
another.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.attacks.geometry.l1_ball import steepest_in_box
from bench.attacks.geometry.norms import project, steepest, unit_l1
from bench.attacks.gradients import differentiate
from bench.attacks.objectives import margin
from bench.core.specs import Norm
from bench.runtime.torch_state import harness_torch_state

MOMENTUM = 1.0


@harness_torch_state()
def transfer_images(source: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, steps: int) -> Tensor:
    """Images inside the ball around ``inputs``, (N, C, H, W) in [0, 1], on which ``source`` is as wrong as they get.

    ``labels`` are (N,), int64. Deterministic; ``steps`` passes in each direction. Raises CellFailure("nan_logits").
    """
    labels = labels.clone()  # as a gradient cannot pass through tensors of the caller's inference mode
    points, accumulated = inputs.detach(), torch.zeros_like(inputs)
    for _ in range(steps):
        gradient = differentiate(source, points, lambda logits: margin(logits, labels)).gradient
        accumulated = MOMENTUM * accumulated + unit_l1(gradient)
        moved = points + _step(points, accumulated, norm, eps / steps)
        points = project(moved, inputs, norm, eps)
    return points


def _step(points: Tensor, heading: Tensor, norm: Norm, size: float) -> Tensor:
    return steepest_in_box(points, heading, size) if norm == "l1" else size * steepest(heading, norm)

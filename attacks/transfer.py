"""Transfer attack: make images adversarial for one model by MI-FGSM, for the evaluation of another model.

Dong et al. 2018 (arXiv 1710.06081) designed the momentum for transfer: g_{t+1} = μ·g_t + ∇L/‖∇L‖₁, x_{t+1} = Π(x_t +
α·sign g_{t+1}), α = ε/T. L is the margin of Carlini and Wagner, which does not saturate at any scale of the logits.
Unlike an attack on the model itself, the search runs all its steps instead of ending at the first adversarial point: an
image that has just crossed the boundary of one model seldom crosses the boundary of another model.
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
    """Return images in the ball around ``inputs``, (N, C, H, W) in [0, 1], that maximise the margin of ``source``.

    ``labels`` are (N,), int64. Deterministic, with ``steps`` forward and backward passes per image. Raises
    CellFailure("nan_logits") for NaN or infinite logits, and CellFailure("no_gradient") for a model without gradients.
    """
    labels = labels.clone()  # a tensor made in inference mode cannot be saved for the backward pass
    points, accumulated = inputs.detach(), torch.zeros_like(inputs)
    for _ in range(steps):
        gradient = differentiate(source, points, lambda logits: margin(logits, labels)).gradient
        accumulated = MOMENTUM * accumulated + unit_l1(gradient)
        moved = points + _step(points, accumulated, norm, eps / steps)
        points = project(moved, inputs, norm, eps)
    return points


def _step(points: Tensor, direction: Tensor, norm: Norm, size: float) -> Tensor:
    return steepest_in_box(points, direction, size) if norm == "l1" else size * steepest(direction, norm)

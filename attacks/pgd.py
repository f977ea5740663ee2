"""Projected gradient descent, Madry et al. 2018 (arXiv 1706.06083), through foolbox.

x_{t+1} = Π(x_t + α·sign ∇ CE(f(x_t), y)), Π the projection on the ball around x and on [0, 1], x_0 uniform in the ball;
for l2 ∇/‖∇‖₂ takes the place of the sign.
"""

from __future__ import annotations

from typing import Any

import foolbox
import torch
from torch import Tensor, nn

from attacks.norms import uniform_in_ball
from attacks.rng import SampleRng
from bench.core.specs import AttackSpec

_METHODS = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}


def step_size(eps: float, steps: int) -> float:
    """α = 2.5·ε/steps, the size of Madry et al.'s own code: enough to cross the ball and to settle.

    foolbox's default of ε/30 does not reach the ball's edge in 20 steps. A single step gets ε.
    """
    return min(eps, 2.5 * eps / steps)


def pgd(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor:
    """``params["steps"]`` steps from each of ``params["restarts"]`` starts; later starts take what is still standing.

    Shapes as in :class:`attacks.registry.Attack`.
    """
    steps, restarts = int(spec.params["steps"]), int(spec.params["restarts"])
    found = _descend(model, inputs, labels, spec, rng, steps, restart=0)
    for restart in range(1, restarts):
        with torch.no_grad():
            standing = model(found).argmax(1) == labels
        if not standing.any():
            break
        found = found.clone()
        found[standing] = _descend(
            model, inputs[standing], labels[standing], spec, rng.select(standing), steps, restart=restart
        )
    return found


def _descend(
    model: nn.Module, inputs: Tensor, labels: Tensor, spec: AttackSpec, rng: SampleRng, steps: int, *, restart: int
) -> Tensor:
    """One run of foolbox's loop from our own starting points, so that they belong to the samples."""
    noise = uniform_in_ball(rng, tuple(inputs.shape[1:]), spec.norm, spec.eps, step=restart)
    method: Any = _METHODS[spec.norm](abs_stepsize=step_size(spec.eps, steps), steps=steps, random_start=True)
    method.get_random_start = lambda x0, epsilon: x0 + type(x0)(noise)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
    adversarials: Tensor = method.run(bounded, inputs, foolbox.criteria.Misclassification(labels), epsilon=spec.eps)
    return adversarials

"""Projected gradient descent, Madry et al. 2018 (arXiv 1706.06083), through foolbox, from the starts of our own PGD."""

from __future__ import annotations

from typing import Any

import foolbox
import torch
from torch import Tensor, nn

from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.untouched import untouched
from bench.attacks.geometry.norms import sample_ball
from bench.attacks.pgd_attack import start_keys, step_size
from bench.core.specs import Norm
from bench.runtime.torch_state import harness_torch_state

_METHODS = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}


@harness_torch_state()
def pgd(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    eps: float,
    rng: SampleRng,
    steps: int,
    restarts: int,
) -> Tensor:
    """Make ``steps`` steps from each of ``restarts`` starts. Later starts attack only the remaining images.

    Shapes are as in :class:`bench.attacks.registry.Attack`.
    """
    inputs = inputs.detach()
    with untouched(model):  # foolbox calls backward()
        adversarials = _descend(model, inputs, labels, norm, eps, rng, steps, restart=0)
        for restart in range(1, restarts):
            with torch.no_grad():
                remaining = model(adversarials).argmax(1) == labels
            if not remaining.any():
                break
            adversarials, rest_rng = adversarials.clone(), rng.select(remaining)
            adversarials[remaining] = _descend(
                model, inputs[remaining], labels[remaining], norm, eps, rest_rng, steps, restart=restart
            )
    return adversarials


def _descend(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float,
    rng: SampleRng,
    steps: int,
    *,
    restart: int,
) -> Tensor:
    """Run foolbox's loop once, with the starting points and the step size of this project's PGD.

    Foolbox's default step of ε/30 would not reach the surface of the ball in 20 steps.
    """
    noise = sample_ball(start_keys(rng.keys(), restart), tuple(inputs.shape[1:]), norm, eps).to(inputs)
    method: Any = _METHODS[norm](abs_stepsize=step_size(eps, steps), steps=steps, random_start=True)
    method.get_random_start = lambda x0, epsilon: x0 + type(x0)(noise)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
    adversarials: Tensor = method.run(bounded, inputs, foolbox.criteria.Misclassification(labels), epsilon=eps)
    return adversarials

"""Projected gradient descent, Madry et al. 2018 (arXiv 1706.06083), through foolbox, from the starts of our own."""

from __future__ import annotations

from typing import Any

import foolbox
import torch
from torch import Tensor, nn

from bench.attacks.norms import ball_draw
from bench.attacks.pgd import start_keys, step_size
from bench.attacks.rng import SampleRng
from bench.core.specs import AttackSpec
from bench.runtime.torch_state import harness_torch_state

_METHODS = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}


@harness_torch_state()
def pgd(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor:
    """``params["steps"]`` steps from each of ``params["restarts"]`` starts; later starts take what is still standing.

    Shapes as in :class:`bench.attacks.registry.Attack`.
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
    """One run of foolbox's loop from our own starting points and with our own step size.

    Its default step of ε/30 would not reach the ball's edge in 20 steps.
    """
    noise = ball_draw(start_keys(rng.keys(), restart), tuple(inputs.shape[1:]), spec.norm, spec.eps).to(inputs)
    method: Any = _METHODS[spec.norm](abs_stepsize=step_size(spec.eps, steps), steps=steps, random_start=True)
    method.get_random_start = lambda x0, epsilon: x0 + type(x0)(noise)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
    adversarials: Tensor = method.run(bounded, inputs, foolbox.criteria.Misclassification(labels), epsilon=spec.eps)
    return adversarials

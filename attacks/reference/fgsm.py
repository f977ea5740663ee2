"""The fast gradient sign method, Goodfellow et al. 2015 (arXiv 1412.6572), through foolbox.

x' = clip(x + ε·sign ∇_x CE(f(x), y), 0, 1);  for l2  x' = clip(x + ε·∇/‖∇‖₂, 0, 1).
"""

from __future__ import annotations

import foolbox
from torch import Tensor, nn

from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.untouched import untouched
from bench.core.specs import Norm
from bench.runtime.torch_state import harness_torch_state

_METHODS = {"linf": foolbox.attacks.LinfFastGradientAttack, "l2": foolbox.attacks.L2FastGradientAttack}


@harness_torch_state()
def fgsm(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng) -> Tensor:
    """Make one step to the surface of the ball. Deterministic. Shapes: :class:`bench.attacks.registry.Attack`."""
    inputs, attack = inputs.detach(), _METHODS[norm](random_start=False)
    with untouched(model):  # foolbox calls backward()
        bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=inputs.device)
        adversarials: Tensor = attack.run(bounded, inputs, foolbox.criteria.Misclassification(labels), epsilon=eps)
    return adversarials

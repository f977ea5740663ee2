"""The fast gradient sign method, Goodfellow et al. 2015 (arXiv 1412.6572).

x' = clip(x + ε·sign ∇_x CE(f(x), y), 0, 1);  for l2  x' = clip(x + ε·∇/‖∇‖₂, 0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attacks.gradients import gradient_of, logits_at
from attacks.norms import steepest
from attacks.objectives import cross_entropy_gap
from attacks.prepared import search_model
from attacks.queries import Attacked, allowance_of, outcome
from attacks.rng import SampleRng
from bench.core.specs import AttackSpec


def fgsm(
    model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng
) -> Tensor | Attacked:
    """One step to the edge of the ball; deterministic. Shapes as in :class:`attacks.registry.Attack`.

    The gradient is that of the log-odds, which has the direction of cross-entropy's and does not vanish.
    """
    points = inputs.detach().requires_grad_()
    with torch.enable_grad():
        loss = cross_entropy_gap(logits_at(search_model(model), points), labels).sum()
    adversarials = (inputs + spec.eps * steepest(gradient_of(loss, points), spec.norm)).clamp(0, 1)
    uncut = torch.zeros_like(labels, dtype=torch.bool)  # by any bound: this is one pass
    return outcome(allowance_of(spec, labels), adversarials, uncut)

"""The fast gradient sign method, Goodfellow et al. 2015 (arXiv 1412.6572).

x' = clip(x + ε·sign ∇_x CE(f(x), y), 0, 1);  for l2  x' = clip(x + ε·∇/‖∇‖₂, 0, 1);

for l1 the point of the ball and the box where the linearised loss is greatest: pixels go to their walls, the steepest
first, for as long as ε lasts (Croce and Hein 2021, arXiv 2103.01208). Foolbox's L1 form steps along ∇/‖∇‖₁, which uses
only a part of ε on the pixels that matter; so the L1 form has no reference here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.attacks.gradients import differentiate
from bench.attacks.l1 import steepest_in_box
from bench.attacks.norms import steepest
from bench.attacks.objectives import cross_entropy_gap
from bench.attacks.prepared import search_model
from bench.attacks.queries import Attacked, allowance_of, outcome
from bench.attacks.rng import SampleRng
from bench.core.specs import AttackSpec
from bench.runtime.torch_state import harness_torch_state


@harness_torch_state()
def fgsm(model: nn.Module, inputs: Tensor, labels: Tensor, *, spec: AttackSpec, rng: SampleRng) -> Tensor | Attacked:
    """One step to the edge of the ball; deterministic. Shapes as in :class:`bench.attacks.registry.Attack`.

    The gradient is that of the log-odds, which has the direction of cross-entropy's and does not vanish.
    """
    labels = labels.clone()  # as a gradient cannot pass through tensors of the caller's inference mode
    found = differentiate(search_model(model), inputs, lambda logits: cross_entropy_gap(logits, labels))
    adversarials = (inputs + _step(inputs, found.gradient, spec)).clamp(0, 1)
    uncut = torch.zeros_like(labels, dtype=torch.bool)  # by any bound: this is one pass
    return outcome(allowance_of(spec, labels), adversarials, uncut)


def _step(inputs: Tensor, gradient: Tensor, spec: AttackSpec) -> Tensor:
    if spec.norm == "l1":
        return steepest_in_box(inputs, gradient, spec.eps)
    return spec.eps * steepest(gradient, spec.norm)

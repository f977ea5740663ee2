"""Adversarial weight perturbation:  min_w max_{v ∈ V} E L(w + v)  (Wu, Xia and Wang 2020, arXiv 2004.05884).

V restricts the perturbation of each weight matrix relative to the matrix: ‖v_l‖ ≤ γ‖w_l‖. The inner maximum is
approximated by one step along the gradient,

    v_l = γ·‖w_l‖ · g_l/‖g_l‖,   g_l = ∂L/∂w_l,

and the weights are updated by the gradient of the loss at w + v. Biases and the scales and shifts of normalisation
layers are not perturbed. γ is the ``weight_perturbation`` of the variant.

The gradient is applied to the weights w. The authors' code adds v to the weights, lets the optimiser update them, and
subtracts v: with weight decay, it decays w + v instead of w.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.models.objective import scalar
from bench.models.training_steps import StepContext, TrainingBatch, TrainingStep


class _Step(nn.Module):
    """A training step as a module that contains the model, so that its weights can be replaced for one call."""

    def __init__(self, function: TrainingStep, model: nn.Module) -> None:
        super().__init__()
        self.function, self.model = function, model

    def forward(self, batch: TrainingBatch, context: StepContext) -> Tensor:
        return self.function(batch, context)


def loss_at_worst_weights(function: TrainingStep, context: StepContext, size: float) -> Tensor:
    """Compute the loss of the step ``function`` at the perturbed weights, with a gradient for the weights.

    ``size`` is γ. Images are attacked at the weights w, once. Running statistics are updated by the second pass only.
    Raises CellFailure("loss_error") for a step that returns no scalar with a gradient.
    """
    step = _Step(function, context.model)
    weights = {name: weight for name, weight in step.named_parameters() if weight.ndim > 1 and "weight" in name}
    modules: list[nn.Module] = [context.model]
    if context.objective.term is not None:
        modules.append(context.objective.term)
    with _restored_buffers(modules):
        loss = scalar("training step", step(context.batch, context), None)
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    worst = {
        name: weight if gradient is None else weight + size * _scaled(gradient, weight)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    context.rewind()
    return scalar("training step", functional_call(step, worst, (context.batch, context)), None)


def _scaled(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return ``gradient`` with the norm of ``weight``, detached; 0 for a gradient of 0."""
    unit = gradient / torch.linalg.vector_norm(gradient).clamp_min(1e-20)
    scaled: Tensor = unit * torch.linalg.vector_norm(weight.detach())
    return scaled


@contextmanager
def _restored_buffers(modules: list[nn.Module]) -> Iterator[None]:
    """Restore the buffers of ``modules`` on exit, such as the running statistics of batch norm."""
    saved: list[tuple[nn.Module, str, Tensor, Tensor]] = [
        (module, name, buffer, buffer.clone())
        for root in modules
        for module in root.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, value in saved:
                setattr(module, name, buffer.copy_(value))

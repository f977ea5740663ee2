"""The loss of one optimiser step of a variant, from its registered training step."""

from __future__ import annotations

from torch import Tensor

from bench.core.specs import VariantSpec
from bench.models.objective import scalar
from bench.models.training_steps import TRAINING_STEPS, StepContext
from bench.models.weight_perturbation import loss_at_worst_weights


def step_loss(variant: VariantSpec, context: StepContext) -> Tensor:
    """Compute the loss of one step of ``variant``, a scalar; at perturbed weights if the variant perturbs them.

    Raises CellFailure("loss_error") for a step that returns no scalar with a gradient.
    """
    function = TRAINING_STEPS.get(variant.training_step).function
    if variant.weight_perturbation:
        return loss_at_worst_weights(function, context, variant.weight_perturbation)
    return scalar("training step", function(context.batch, context), None)


def passes_per_step(variant: VariantSpec) -> float:
    """Return the number of forward and backward passes per image of one step, without those of the adversary."""
    return TRAINING_STEPS.get(variant.training_step).passes * (2 if variant.weight_perturbation else 1)

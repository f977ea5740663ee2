"""Training steps: functions from a batch of images to the loss of one optimiser step, registered by name.

The standard step attacks the images if the variant has an adversary, and computes the loss of the variant,

    L = criterion(o, y) + γ·penalty(z) + term_weight·term.

A method that needs another loop, for example two forward passes per step, registers its own function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from bench.core.registry import Registry
from bench.core.specs import VariantSpec
from bench.models.auxiliary_losses import Batch
from bench.models.classifier import Classifier
from bench.models.objective import Objective, scalar

STANDARD_STEP = "standard"


class TrainingBatch(NamedTuple):
    """Augmented images of one step, (B, 3, S, S), float32 in [0, 1] up to added noise, and labels, (B,) int64."""

    images: Tensor
    labels: Tensor


@dataclass
class StepContext:
    """Functions and values that a training step may use.

    ``uniform(images)`` returns random numbers in [−1, 1) of the shape of ``images``. They depend on the seed, the epoch
    and the image only. ``weight`` is the weight of the step's own part of the loss, from the variant.
    """

    model: Classifier
    objective: Objective
    batch: TrainingBatch
    epoch: int  # from 1
    epochs: int
    gamma: float | Tensor  # weight of the penalty
    weight: float
    compute: Callable[[Tensor, Tensor], Batch]  # images and labels to all tensors of a forward pass
    uniform: Callable[[Tensor], Tensor]
    last: Batch | None = field(default=None, init=False)  # the last forward pass; its accuracy and margin are recorded

    def forward(self, images: Tensor) -> Batch:
        """Run the model on ``images`` (B, 3, S, S), in the precision of the training, and keep the result as last."""
        self.last = self.compute(images, self.batch.labels)
        return self.last

    def criterion(self, outputs: Tensor) -> Tensor:
        """Compute the criterion of the variant of ``outputs`` (B, K), a scalar."""
        return self.objective.criterion(outputs, self.batch.labels, epoch=self.epoch)

    def penalties(self, batch: Batch) -> Tensor | float:
        """Compute γ·penalty(z) + term_weight·term; 0.0 for a variant with neither. Update the state of the term."""
        return self.objective.penalties(batch, gamma=self.gamma)

    def loss(self, batch: Batch) -> Tensor:
        """Compute the loss of the variant, criterion and penalties, a scalar."""
        return self.objective.loss(batch, gamma=self.gamma, epoch=self.epoch)

    def attack(self, loss: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the images of the batch perturbed by the adversary of the variant, (B, 3, S, S), detached.

        The adversary maximises ``loss``, a function from images to a scalar, by default the criterion. Without an
        adversary, the images are returned unchanged.
        """
        maximised = loss or (lambda images: self.criterion(self.compute(images, self.batch.labels).outputs))
        return self.objective.adversary.perturb(self.model, maximised, self.batch.images, uniform=self.uniform)


TrainingStep = Callable[[TrainingBatch, StepContext], Tensor]


@dataclass(frozen=True, kw_only=True)
class StepEntry:
    """A training step. ``function(batch, context)`` returns the loss, a scalar with a gradient.

    It must call ``context.forward`` at least once. Accuracy and margin of the epoch are those of its last call.
    """

    summary: str
    source: str
    function: TrainingStep


TRAINING_STEPS: Registry[StepEntry] = Registry("training step")


def standard_step(batch: TrainingBatch, context: StepContext) -> Tensor:
    """Compute the loss of the variant on the images of the batch, perturbed if the variant has an adversary."""
    return context.loss(context.forward(context.attack()))


TRAINING_STEPS.register(
    STANDARD_STEP,
    StepEntry(
        summary="the loss of the variant, on perturbed images if it has an adversary", source="", function=standard_step
    ),
    origin="bench.models.training_steps",
)


def step_loss(variant: VariantSpec, context: StepContext) -> Tensor:
    """Compute the loss of one step of ``variant``, a scalar.

    Raises CellFailure("loss_error") for a step that returns no scalar with a gradient.
    """
    return scalar("training step", TRAINING_STEPS.get(variant.training_step).function(context.batch, context), None)

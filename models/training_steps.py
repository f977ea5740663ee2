"""Training steps: functions from a batch of images to the loss of one optimiser step, registered by name.

The standard step attacks the images if the variant has an adversary, and computes the loss of the variant,

    L = criterion(o, y) + γ·penalty(z) + term_weight·term.

A method that needs another loop, for example two forward passes per step, registers its own function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from bench.core.errors import BenchError
from bench.core.registry import Registry
from bench.core.specs import VariantSpec
from bench.models.auxiliary_losses import Batch
from bench.models.classifier import Classifier
from bench.models.image_random import ImageRandom
from bench.models.objective import Objective

STANDARD_STEP = "standard"


class TrainingBatch(NamedTuple):
    """Augmented images of one step, (B, 3, S, S), float32 in [0, 1] up to added noise, and labels, (B,) int64."""

    images: Tensor
    labels: Tensor


@dataclass
class StepContext:
    """Functions and values that a training step may use.

    ``random`` gives random numbers per image, which depend on the seed, the epoch, the image and their purpose only.
    ``weight`` is the weight of the step's own part of the loss, ``step_weight`` of the variant.
    """

    model: Classifier
    objective: Objective
    batch: TrainingBatch
    epoch: int  # from 1
    epochs: int
    gamma: float | Tensor  # weight of the penalty
    weight: float
    compute: Callable[[Tensor, Tensor], Batch]  # images and labels to all tensors of a forward pass
    random: ImageRandom
    last: Batch | None = field(default=None, init=False)  # the last forward pass; its accuracy and margin are recorded

    def __post_init__(self) -> None:
        self._perturbed: list[Tensor] = []  # results of ``attack``, in order
        self._n_attacks = 0  # calls of ``attack`` since the last ``rewind``

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

    def attack(self, loss: Callable[[Tensor], Tensor] | None = None, *, start: Tensor | None = None) -> Tensor:
        """Return the images of the batch perturbed by the adversary of the variant, (B, 3, S, S), detached.

        The adversary maximises ``loss``, a function from images to a scalar, by default the criterion. ``start`` is the
        first perturbation, (B, 3, S, S), by default a random point of the ball. Without an adversary, the images are
        returned unchanged.
        """
        if self._n_attacks == len(self._perturbed):
            maximised = loss or (lambda images: self.criterion(self.compute(images, self.batch.labels).outputs))
            adversary, images = self.objective.adversary, self.batch.images
            self._perturbed.append(adversary.perturb(self.model, maximised, images, random=self.random, start=start))
        self._n_attacks += 1
        return self._perturbed[self._n_attacks - 1]

    def rewind(self) -> None:
        """Run the step again: the next calls of ``attack`` return the same images as before, in the same order."""
        self._n_attacks = 0


TrainingStep = Callable[[TrainingBatch, StepContext], Tensor]


@dataclass(frozen=True, kw_only=True)
class StepEntry:
    """A training step. ``function(batch, context)`` returns the loss, a scalar with a gradient.

    It must call ``context.forward`` at least once. Accuracy and margin of the epoch are those of its last call.
    ``adversary`` states whether the step calls ``context.attack``: "required" and "unused" are refused for a variant
    without and with an adversary. ``criterion`` is False for a step with a loss of its own in place of the variant's
    criterion. ``passes`` is the number of forward and backward passes per image, without those of the adversary. It is
    used to estimate the duration.
    """

    summary: str
    source: str
    function: TrainingStep
    adversary: Literal["optional", "required", "unused"] = "optional"
    criterion: bool = True
    passes: float = 1.0


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


def check_step(name: str, spec: VariantSpec) -> None:
    """Raise BenchError if the training step of the variant ``name`` does not fit its adversary or its criterion."""
    entry, step = TRAINING_STEPS.get(spec.training_step), spec.training_step
    if entry.adversary == "required" and spec.adversary is None:
        raise BenchError(f"variant {name!r} has the training step {step!r}, which needs an adversary; set one.")
    if entry.adversary == "unused" and spec.adversary is not None:
        raise BenchError(
            f"variant {name!r} has the training step {step!r}, which attacks no image, and an adversary; "
            "leave one of them out."
        )
    default = VariantSpec().criterion
    if not entry.criterion and spec.criterion != default:
        raise BenchError(
            f"variant {name!r} has the training step {step!r}, which replaces the criterion, and the criterion "
            f"{spec.criterion!r}; leave one of them out."
        )


from bench.models import adversarial_steps, smoothness_steps  # noqa: E402, F401 - register steps in the registry above

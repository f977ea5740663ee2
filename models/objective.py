"""The training loss of a variant:  L = criterion(o, y) + γ·penalty(z) + weight·term."""

from __future__ import annotations

from torch import Tensor

from bench.core.errors import BenchError, CellFailure
from bench.core.specs import VariantSpec
from bench.models import adaptive_gamma  # noqa: F401 - registers its schedule
from bench.models.adversary import Adversary
from bench.models.auxiliary_losses import TERMS, Batch
from bench.models.losses import CRITERIA
from bench.models.penalties import PENALTIES
from bench.models.schedules import SCHEDULES, GammaState, ScheduleEntry, StepStats, TrainingFacts

NO_PENALTY = GammaState(0.0)


def scalar(part: str, value: object, source: Tensor | None) -> Tensor:
    """Return ``value``, the result of ``part``, if it is a scalar of floats with a gradient.

    It needs no gradient if ``source``, the input of the part, has none. Raises CellFailure("loss_error") otherwise.
    """
    if not isinstance(value, Tensor):
        raise CellFailure("loss_error", f"the {part} returned {type(value).__name__}; return a tensor of one number.")
    if value.is_meta:
        raise CellFailure("loss_error", f"the {part} returned a number on meta; return one that is computed.")
    if value.ndim or not value.is_floating_point():
        raise CellFailure(
            "loss_error", f"the {part} returned {value.dtype} of shape {tuple(value.shape)}; return one float."
        )
    if (source is None or source.requires_grad) and not value.requires_grad:
        raise CellFailure("loss_error", f"the {part} has no gradient; remove detach(), item() and torch.no_grad().")
    return value


class Objective:
    """Loss of a variant for one training, and the adversary of its inner maximisation.

    Raises BenchError for a penalty without a schedule, a schedule without a penalty, or an adversary without a budget.
    """

    def __init__(self, variant: VariantSpec, facts: TrainingFacts, *, latent_dim: int) -> None:
        if (variant.penalty is None) != (variant.schedule is None):
            raise BenchError(
                "a variant must have both a penalty and a schedule of its weight, or neither; penalty is "
                f"{variant.penalty!r} and schedule is {variant.schedule!r}: set the other one too."
            )
        self.facts = facts
        self.adversary = Adversary(variant.adversary)
        self._criterion = CRITERIA.get(variant.criterion).function
        self._penalty = PENALTIES.get(variant.penalty) if variant.penalty else None
        self._schedule: ScheduleEntry | None = SCHEDULES.get(variant.schedule) if variant.schedule else None
        self.term = TERMS.get(variant.term).build(latent_dim, facts.num_classes) if variant.term else None
        self._term_weight = variant.term_weight
        self._width = latent_dim

    def start(self) -> GammaState:
        """Return the schedule's state before the first step; γ is 0 without a penalty."""
        return self._schedule.start(self.facts) if self._schedule else NO_PENALTY

    def advance(self, state: GammaState, done: StepStats) -> GammaState:
        """Return the schedule's state for the next step, given the statistics ``done`` of the last step."""
        return self._schedule.advance(state, done, self.facts) if self._schedule else NO_PENALTY

    def criterion(self, outputs: Tensor, labels: Tensor, *, epoch: int) -> Tensor:
        """Compute the criterion of ``outputs`` (B, K) and ``labels`` (B,), a scalar.

        The adversary maximises this part of the loss only: penalties do not depend on labels, and terms have state.
        """
        return scalar("criterion", self._criterion(outputs, labels, epoch, self.facts), outputs)

    def loss(self, batch: Batch, *, gamma: float | Tensor, epoch: int) -> Tensor:
        """Compute the loss of one step, criterion + penalties, a scalar. Update the state of the auxiliary term."""
        return self.criterion(batch.outputs, batch.labels, epoch=epoch) + self.penalties(batch, gamma=gamma)

    def penalties(self, batch: Batch, *, gamma: float | Tensor) -> Tensor | float:
        """Compute γ·penalty(z) + term_weight·term, a scalar. Update the state of the auxiliary term.

        Raises CellFailure("loss_error") for a part that is not one number, or that has no gradient although its input
        has one: a detached penalty would change nothing.
        """
        total: Tensor | float = 0.0
        if self._penalty is not None:
            total = gamma * scalar("penalty", self._penalty.function(batch.latents), batch.latents)
        if self.term is not None:
            total = total + self._term_weight * scalar("term", self.term(batch), batch.latents)
        return total

    def per_sample(self, gamma: float) -> float | None:
        """Return the weight of one image's own norm of z at ``gamma``.

        None without a penalty, or for a penalty without a constant weight per image.
        """
        if self._penalty is None or self._penalty.per_sample is None:
            return None
        return gamma * self._penalty.per_sample(self._width)

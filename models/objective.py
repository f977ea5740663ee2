"""The training loss of a variant:  L = CE(Wz + b, y) + γ(epoch)·penalty(z)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.specs import VariantSpec
from models.penalties import PENALTIES
from models.schedules import SCHEDULES, TrainingFacts


@dataclass(frozen=True)
class Objective:
    """A variant's loss for one training."""

    variant: VariantSpec
    facts: TrainingFacts

    def gamma(self, epoch: int) -> float:
        """The penalty's weight in ``epoch``, from 1; 0 without a penalty. Raises BenchError without a schedule."""
        if self.variant.penalty is None:
            return 0.0
        if self.variant.schedule is None:
            raise BenchError(f"a variant with the penalty {self.variant.penalty!r} needs a schedule for its weight.")
        return SCHEDULES.get(self.variant.schedule).gamma(epoch, self.facts)

    def loss(self, logits: Tensor, latents: Tensor, labels: Tensor, *, gamma: float) -> Tensor:
        """The scalar loss of a batch: ``logits`` (B, K), ``latents`` (B, d), ``labels`` (B,)."""
        loss = F.cross_entropy(logits, labels)
        if self.variant.penalty is None:
            return loss
        return loss + gamma * PENALTIES.get(self.variant.penalty).function(latents)

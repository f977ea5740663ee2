"""The model under test with a faster copy for the search. The harness may pass the pair to an attack as one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from bench.attacks.engine.checkpoint import Checkpoint

Shrink = Callable[[int], int]  # from a batch size that ran out of memory to the next size to try; may raise
StageReport = Callable[[str, int, int], None]  # name of a finished stage of an ensemble, images attacked, images broken


class FastModel(nn.Module):
    """The model under test with its search model. The forward pass runs the model under test.

    ``search_model`` computes nearly the same logits and gives gradients. A point found on the search model is
    adversarial only if the model under test also misclassifies it. ``shrink`` is called when memory runs out. Without
    ``shrink``, running out of memory is an error. ``checkpoint`` saves the state of searches. ``on_stage`` is called
    after every stage of an ensemble.
    """

    def __init__(
        self,
        model: nn.Module,
        search_model: nn.Module,
        shrink: Shrink | None = None,
        checkpoint: Checkpoint | None = None,
        on_stage: StageReport | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.search_model = search_model
        self.shrink = shrink
        self.checkpoint = checkpoint
        self.on_stage = on_stage

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the model under test, (N, K)."""
        logits: Tensor = self.model(inputs)
        return logits


def search_model(model: nn.Module) -> nn.Module:
    """Return the model to differentiate: the search model of a FastModel, or ``model`` itself."""
    return model.search_model if isinstance(model, FastModel) else model


def confirming_model(model: nn.Module) -> nn.Module | None:
    """Return the model under test if it must confirm points of a different search model; None otherwise."""
    return model.model if isinstance(model, FastModel) and model.search_model is not model.model else None


def shrink_function(model: nn.Module) -> Shrink | None:
    """Return the function to call when memory runs out; None without one."""
    return model.shrink if isinstance(model, FastModel) else None


def report_stage(model: nn.Module, name: str, attacked: int, broken: int) -> None:
    """Tell the harness, if it listens, how many images a stage of an ensemble attacked and how many it broke."""
    if isinstance(model, FastModel) and model.on_stage is not None:
        model.on_stage(name, attacked, broken)


def logits_of(model: nn.Module, points: Tensor) -> Tensor:
    """Return the logits of the model under test at ``points``, (B, C, H, W), without a gradient."""
    with torch.no_grad():
        logits: Tensor = model(points)
        return logits

"""Wrapper that a harness may pass to an attack as the model: the model under test, and a faster form to search on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Confirm = Callable[[Tensor, Tensor], Tensor]  # points (B, C, H, W), labels (B,) to (B,) bool: broken indeed
Shrink = Callable[[int], int]  # a batch size that memory did not suffice for to the one to go on with; may raise


class Prepared(nn.Module):
    """The model under test with its search model. Asked as a model, it answers as the one under test.

    ``search_model`` computes nearly the same and gives gradients: what an attack finds on it is a proposal, and only
    ``confirm``, which asks the model under test, makes it a verdict. ``shrink`` hears of memory that ran out; without
    it that is an error.
    """

    def __init__(self, model: nn.Module, search_model: nn.Module, shrink: Shrink | None = None) -> None:
        super().__init__()
        self.model = model
        self.search_model = search_model
        self.shrink = shrink

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return logits

    def confirm(self, points: Tensor, labels: Tensor) -> Tensor:
        """Whether the model under test gives ``points`` another class than ``labels``, (B,) bool."""
        with torch.no_grad():
            wrong: Tensor = self.model(points).argmax(1) != labels
        return wrong


def search_model(model: nn.Module) -> nn.Module:
    """Return the model to differentiate: the search model if there is one, otherwise the model itself."""
    return model.search_model if isinstance(model, Prepared) else model


def confirmation(model: nn.Module) -> Confirm | None:
    """Return the function that confirms points of the search model; None if that is the model itself."""
    return model.confirm if isinstance(model, Prepared) and model.search_model is not model.model else None


def shrinking(model: nn.Module) -> Shrink | None:
    """Return the function that is told when memory runs out; None if there is none."""
    return model.shrink if isinstance(model, Prepared) else None

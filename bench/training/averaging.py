"""Exponential moving average of the weights of a training, which is evaluated in place of the last weights."""

from __future__ import annotations

from timm.utils import ModelEmaV3
from torch import nn


class WeightAverage:
    """Average θ' ← β·θ' + (1 − β)·θ after every step, for parameters and for statistics such as those of batch norm.

    β is the smaller of ``decay`` and 1 − (1 + t)^(−2/3), where t is the number of the step from 0, so that the average
    of a short training does not contain its initial weights (timm's ``ModelEmaV3`` with warm-up).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._ema = ModelEmaV3(model, decay=decay, use_warmup=True)

    @property
    def model(self) -> nn.Module:
        """A copy of the model with the averaged weights."""
        averaged: nn.Module = self._ema.module
        return averaged

    def update(self, model: nn.Module, step: int) -> None:
        """Add the weights of ``model`` after ``step``, which counts from 0."""
        self._ema.update(model, step=step + 1)  # timm counts from 1

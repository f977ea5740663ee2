"""How fast one network is: seconds an image, timed on the network itself in the forms in which it is asked."""

from __future__ import annotations

import time
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.core.specs import Precision, TrainSpec
from bench.runs import build_run
from bench.search_model import SearchModels
from bench.train import freeze
from bench.workshop import Workshop

PROBE_BATCH = 32
PROBES = 4


class Rates(NamedTuple):
    """Seconds an image of a frozen model."""

    forward: float
    backward: float  # to the image


class Pace:
    """Of the network that ``spec`` describes, untrained; every form is timed when it is first asked for."""

    def __init__(self, spec: TrainSpec, workshop: Workshop) -> None:
        self._spec, self._workshop = spec, workshop
        self._known: dict[Precision | None, Rates] = {}

    @cached_property
    def training(self) -> float:
        """Seconds an image of one epoch: the step, and before it an adversary's, which differentiate the image."""
        low, adversary = self._spec.recipe.precision == "bf16", self._spec.variant_spec.adversary
        model = build_run(self._spec, self._workshop).classifier
        step = _fastest(model, self._inputs, gradient=True, low_precision=low)
        if adversary is None:
            return step
        return step + adversary.steps * sum(_rates(freeze(model), self._inputs, low_precision=low))

    def rates(self, precision: Precision | None) -> Rates:
        """Of the model under test (None), or of what our own attacks search on in ``precision``."""
        if precision not in self._known:
            model = self._under_test if precision is None else self._search_models.get(precision)
            self._known[precision] = _rates(model, self._inputs)
        return self._known[precision]

    @cached_property
    def _under_test(self) -> nn.Module:
        return freeze(build_run(self._spec, self._workshop).classifier)

    @cached_property
    def _search_models(self) -> SearchModels:
        return SearchModels(self._under_test, self._inputs.shape[1:], self._workshop.device)

    @cached_property
    def _inputs(self) -> Tensor:
        side = self._spec.data.image_size
        return torch.rand(PROBE_BATCH, 3, side, side, device=self._workshop.device)


def _rates(model: nn.Module, inputs: Tensor, *, low_precision: bool = False) -> Rates:
    forward, both = (_fastest(model, inputs, gradient=g, low_precision=low_precision) for g in (False, True))
    return Rates(forward, max(both - forward, 0.0))


def _fastest(model: nn.Module, inputs: Tensor, *, gradient: bool, low_precision: bool = False) -> float:
    """Of a few timed batches; the first ones of a process also pay for warming up."""
    return min(_seconds(model, inputs, gradient, low_precision) for _ in range(PROBES)) / len(inputs)


def _seconds(model: nn.Module, inputs: Tensor, gradient: bool, low_precision: bool) -> float:
    start = time.perf_counter()
    leaf = inputs.clone().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient), torch.autocast(inputs.device.type, torch.bfloat16, enabled=low_precision):
        total = model(leaf).float().sum()
    if gradient:
        total.backward()
    total.item()  # waits for the device
    return time.perf_counter() - start

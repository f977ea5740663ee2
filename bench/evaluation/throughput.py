"""Measure the speed of a network in seconds per image, for each precision and for forward and backward passes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.context import RunContext
from bench.core.specs import Precision, TrainSpec
from bench.evaluation.fast_model import SearchModels
from bench.models.classifier import Classifier, freeze
from bench.models.memory_format import to_channels_last
from bench.models.step_loss import passes_per_step
from bench.training.checkpoints import build_run
from bench.training.train import forward

PROBE_BATCH = 32
PROBES = 4

Outputs = Callable[[Tensor], Tensor]  # images (N, C, H, W) to logits (N, K)


class Rates(NamedTuple):
    """Seconds per image of a frozen model."""

    forward: float
    backward: float  # backward pass to the image


class Pace:
    """Speed of the untrained network of ``spec``. Holds the network and one copy per precision in memory."""

    def __init__(self, spec: TrainSpec, context: RunContext) -> None:
        side = spec.data.image_size
        self._inputs = torch.rand(PROBE_BATCH, 3, side, side, device=context.device)
        self._model = build_run(spec, context).classifier
        self.training = _training(self._model, self._inputs, spec)
        self._search_models = SearchModels(freeze(self._model), self._inputs.shape[1:], context.device)
        self._known: dict[Precision | None, Rates] = {}

    def rates(self, precision: Precision | None) -> Rates:
        """Return the rates of the model under test (None), or of the search model of our attacks in ``precision``."""
        if precision not in self._known:
            model: nn.Module = self._model if precision is None else self._search_models.get(precision)
            self._known[precision] = _rates(model, self._inputs)
        return self._known[precision]


def _training(model: Classifier, inputs: Tensor, spec: TrainSpec) -> float:
    """Measure the seconds per image of one epoch: the training step, and the steps of the adversary if one is used.

    Augmentation and the optimiser step are not measured. ``model`` is frozen afterwards.
    """
    low, adversary = spec.recipe.precision == "bf16", spec.variant_spec.adversary
    if low:
        to_channels_last(model)  # see bench.training.train
    outputs_of = partial(_outputs, model, low_precision=low)
    seconds = passes_per_step(spec.variant_spec) * seconds_per_image(outputs_of, inputs, differentiated=False)
    freeze(model)
    if adversary is not None:
        seconds += adversary.steps * sum(_rates(outputs_of, inputs))
    model.to(memory_format=torch.contiguous_format)
    return seconds


def _outputs(model: Classifier, images: Tensor, *, low_precision: bool) -> Tensor:
    return forward(model, images, images.new_zeros(len(images), dtype=torch.int64), low_precision=low_precision).outputs


def _rates(outputs_of: Outputs, inputs: Tensor) -> Rates:
    forward_only, with_backward = (seconds_per_image(outputs_of, inputs, differentiated=d) for d in (False, True))
    return Rates(forward_only, max(with_backward - forward_only, 0.0))


def seconds_per_image(outputs_of: Outputs, inputs: Tensor, *, differentiated: bool) -> float:
    """Measure the seconds per image of the fastest of a few batches. The first batches of a process include warm-up."""
    return min(time_batch(outputs_of, inputs, differentiated=differentiated) for _ in range(PROBES)) / len(inputs)


def time_batch(outputs_of: Outputs, inputs: Tensor, *, differentiated: bool) -> float:
    """Time one batch. Gradients are computed for the images if ``differentiated``, and for weights not frozen."""
    start = time.perf_counter()
    total = outputs_of(inputs.clone().requires_grad_(differentiated)).sum()
    if total.requires_grad:
        total.backward()
    total.item()  # wait until the device has finished
    return time.perf_counter() - start

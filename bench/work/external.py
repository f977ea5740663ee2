"""Wrap, freeze and record a model that was not trained here."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.attacks.gradients import take_logits
from bench.core.errors import BenchError
from bench.core.records import RunRecord
from bench.core.specs import short_id
from bench.environment import describe
from bench.work.model_identity import PROBE_IMAGES, model_identity
from bench.work.workshop import Workshop


class ExternalModel(nn.Module):
    """Wrapper of any module: passes it a copy of the images and returns logits in their dtype.

    ``notes`` say how the logits were extracted from the output, see :func:`bench.attacks.gradients.take_logits`. They
    are empty before the first pass.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.notes: tuple[str, ...] = ()

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        set_mode(self.model, mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        logits, note = take_logits(self.model(images.clone()), images)
        self.notes = (note,) if note else ()
        return logits


def notes_of(model: nn.Module) -> tuple[str, ...]:
    """Return the notes on a model's outputs for its rows; empty for a model that was trained here."""
    return model.notes if isinstance(model, ExternalModel) else ()


@contextmanager
def frozen(model: nn.Module, device: torch.device) -> Iterator[tuple[nn.Module, int]]:
    """Freeze the model in evaluation mode; yield it and the number of its trainable parameters.

    On exit, every module's training mode and every parameter's ``requires_grad`` are restored. A model that was created
    in inference mode is copied, since its tensors cannot be part of an autograd graph.
    """
    tensors = list(chain(model.parameters(), model.buffers()))
    _check_tensors(tensors)
    if any(tensor.is_inference() for tensor in tensors):
        model = _ordinary_copy(model)
    modes = [(module, getattr(module, "training", None)) for module in model.modules()]
    needed = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    trainable = sum(parameter.numel() for parameter, flag in needed if flag)
    try:
        set_mode(model.to(device), False)
        for parameter, _ in needed:  # scripted modules have no requires_grad_ of their own
            parameter.requires_grad_(False)
        yield model, trainable
    finally:
        for module, mode in modes:
            if mode is not None:
                module.training = mode
        for parameter, flag in needed:
            parameter.requires_grad_(flag)


def set_mode(model: nn.Module, training: bool) -> None:
    """Set training or evaluation mode. Exported programs have one mode for good and refuse to change it."""
    with suppress(NotImplementedError):
        model.train(training)


def _check_tensors(tensors: Sequence[Tensor]) -> None:
    """Raise BenchError for tensors without values."""
    if any(is_lazy(tensor) for tensor in tensors):
        raise BenchError("the model has lazy parameters without a shape; run one forward pass before it is measured.")
    if any(tensor.is_meta for tensor in tensors):
        raise BenchError("the model is on the meta device, where parameters have no values; load its weights first.")


def _ordinary_copy(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise BenchError(
            "the model was created under torch.inference_mode() and cannot be copied, so no gradient can flow through "
            "it; create it outside inference mode."
        ) from error


def external_run(
    model: nn.Module, name: str, seed: int, trainable: int, workshop: Workshop
) -> tuple[RunRecord, ExternalModel]:
    """Return the run record of a model of unknown training, and the wrapped model to evaluate.

    The model is identified by its name, weights, structure and behaviour.
    """
    data, wrapped = workshop.dataset, ExternalModel(model).eval()
    images = workshop.images("test", PROBE_IMAGES)
    probes = images.inputs(torch.arange(len(images)), workshop.device)
    identity = model_identity(model, probes)
    config = {"name": name, **identity}
    record = RunRecord(
        run_id=short_id({**config, "seed": seed}),
        dataset=data.name,
        model=name,
        variant="external",
        seed=seed,
        spec=None,
        status="ok",
        reason="",
        message="",
        config_sha=short_id(config),
        train_sha="",
        weights_sha=identity["weights"],
        n_train=None,
        epochs=None,
        img_size=None,
        native_size=data.image_size,
        stem="",
        latent_dim=None,
        param_count=trainable,
        gamma=None,
        gamma_per_sample=None,
        history=(),
        time_s=None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=describe(workshop.device),
    )
    return record, wrapped

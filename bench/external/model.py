"""Wrap and freeze an externally trained model, and create its run record."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bench.attacks.gradients import take_logits
from bench.context import RunContext
from bench.core.errors import BenchError
from bench.core.records import RunRecord, timestamp
from bench.core.sources import EXTERNAL, SourceSpec
from bench.core.specs import short_id
from bench.external.identity import PROBE_IMAGES, model_identity
from bench.external.preprocessing import Preprocessed
from bench.models.registry import MODELS
from bench.results.store import Store
from bench.runtime.environment import describe
from bench.runtime.plugin import plugin_sha


class ExternalModel(nn.Module):
    """Wrapper for any module. It passes a copy of the images and returns logits in the dtype of the images.

    ``notes`` are the given notes. After a forward pass, ``notes`` also describe the extraction of the logits from the
    output, see :func:`bench.attacks.gradients.take_logits`.
    """

    def __init__(self, model: nn.Module, notes: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.model = model
        self.notes = self._given = notes

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode of the wrapper and the module."""
        self.training = mode
        set_mode(self.model, mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 3, S, S) in [0, 1]."""
        logits, note = take_logits(self.model(images.clone()), images)
        inside: tuple[str, ...] = getattr(self.model, "notes", ()) if isinstance(self.model, Preprocessed) else ()
        self.notes = tuple(dict.fromkeys((*self._given, *inside, *([note] if note else []))))
        return logits


def notes_of(model: nn.Module) -> tuple[str, ...]:
    """Return the notes of an external model for its rows; empty for a model trained by ``bench run``."""
    return model.notes if isinstance(model, ExternalModel) else ()


@contextmanager
def frozen(model: nn.Module, device: torch.device) -> Iterator[tuple[nn.Module, int]]:
    """Freeze the model in evaluation mode. Yield the model and its number of trainable parameters.

    On exit, every module's training mode and every parameter's ``requires_grad`` are restored. A model that was created
    in inference mode is copied, because its tensors cannot be part of an autograd graph.
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
        for parameter, _ in needed:  # scripted modules have no method requires_grad_
            parameter.requires_grad_(False)
        yield model, trainable
    finally:
        for module, mode in modes:
            if mode is not None:
                module.training = mode
        for parameter, flag in needed:
            parameter.requires_grad_(flag)


def set_mode(model: nn.Module, training: bool) -> None:
    """Set training or evaluation mode. The mode of an exported program is fixed and does not change."""
    with suppress(NotImplementedError):
        model.train(training)


def _check_tensors(tensors: Sequence[Tensor]) -> None:
    """Raise BenchError for tensors without values."""
    if any(is_lazy(tensor) for tensor in tensors):
        raise BenchError("the model has lazy parameters without a shape; run one forward pass before the evaluation.")
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


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Name, variant and seed of a network, as given by the user.

    With ``repeats``, networks with the same name and variant are seeds of one recipe and share a leaderboard row.
    """

    name: str
    variant: str = EXTERNAL
    seed: int = 0
    repeats: bool = False

    @property
    def title(self) -> str:
        """Name, variant and seed as one text."""
        return f"{self.name}:{self.variant}:{self.seed}"


def external_run(
    model: nn.Module,
    declared: Declared,
    trainable: int,
    context: RunContext,
    *,
    source: SourceSpec | None = None,
    content: bytes | None = None,
) -> tuple[RunRecord, ExternalModel]:
    """Return the run record of an externally trained model, and the wrapped model to evaluate.

    The model is identified by its name, weights, structure and behaviour. ``content`` is the content of the file to
    store. With ``declared.repeats``, BenchError is raised if the store has another network of this name, variant and
    seed.
    """
    data = context.dataset
    wrapped = ExternalModel(model, source.notes if source else ()).eval()
    identity = _identity(model, source, content, context)
    config = _config(declared, identity, source)
    record = RunRecord(
        run_id=short_id({**config, **identity, "seed": declared.seed}),
        dataset=data.name,
        model=declared.name,
        variant=declared.variant,
        seed=declared.seed,
        spec=None,
        status="ok",
        reason="",
        message="",
        config_sha=short_id(config),
        train_sha="",
        weights_sha=identity["weights"],
        n_train=None,
        epochs=None,
        img_size=source.preprocessing.input_size or data.image_size if source else None,
        native_size=data.image_size,
        stem=(source.stem or "") if source else "",
        latent_dim=None,
        param_count=trainable,
        gamma=None,
        gamma_per_sample=None,
        history=(),
        time_s=None,
        created=timestamp(),
        environment=describe(context.device),
        source=source,
    )
    if declared.repeats:
        _refuse_another(record, context.store)
    return record, wrapped


def _identity(
    model: nn.Module, source: SourceSpec | None, content: bytes | None, context: RunContext
) -> dict[str, str]:
    """Return the hashes that identify a network.

    With a stored file, the hashes are computed from the file and the settings to rebuild the network. Without a file,
    they are computed from the weights, the structure and the behaviour of the model.
    """
    if content is None or source is None:
        images = context.images("test", PROBE_IMAGES)
        return model_identity(model, images.inputs(torch.arange(len(images)), context.device))
    built = {key: value for key, value in asdict(source).items() if key not in ("file", "file_sha", "notes")}
    built["dataset"] = context.dataset.name
    code = plugin_sha() if source.origin in MODELS else ""
    return {"weights": hashlib.sha256(content).hexdigest(), "built": short_id({**built, "code": code})}


def _config(declared: Declared, identity: Mapping[str, str], source: SourceSpec | None) -> dict[str, Any]:
    """Return the settings that seeds of one recipe share. Without ``repeats``, each network is a recipe of its own."""
    if not declared.repeats:
        names = {"name": declared.name} | ({} if declared.variant == EXTERNAL else {"variant": declared.variant})
        return {**names, **identity}
    built = asdict(source) if source else {}
    shared = {key: built.get(key) for key in ("kind", "origin", "stem", "num_classes", "image_size", "preprocessing")}
    return {"name": declared.name, "variant": declared.variant, "repeats": True, **shared}


def _refuse_another(record: RunRecord, store: Store) -> None:
    names = (record.dataset, record.model, record.variant, record.seed)
    for existing in store.runs():
        if (
            existing.run_id != record.run_id
            and (existing.dataset, existing.model, existing.variant, existing.seed) == names
        ):
            raise BenchError(
                f"{record.model}:{record.variant}:{record.seed} is already another network, or one with other "
                f"preprocessing, in {store.root} (run {existing.run_id}); choose another name, seed or results folder."
            )

"""Build an externally trained network from its file, and check its preprocessing with a probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as dump_safetensors
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from bench.config import NetworkConfig
from bench.context import RunContext
from bench.core.errors import BenchError, CellFailure
from bench.core.limits import CHECKPOINT, WEIGHTS
from bench.core.names import as_text
from bench.core.number_text import is_whole
from bench.core.paths import shown
from bench.core.sources import Kind, SourceSpec
from bench.core.specs import Fitting, Preprocessing
from bench.data.split import Dataset
from bench.external.class_names import order_from_names, read_class_names
from bench.external.preprocessing import (
    Preprocessed,
    config_notes,
    describe,
    describe_fitting,
    fitting_from_config,
    from_config,
    parse_normalization,
    precision_of,
)
from bench.external.probe import PROBE_IMAGES, probe
from bench.models.architectures import build_network, first_channels
from bench.models.checkpoint_facts import Facts
from bench.models.file_kinds import kind_of
from bench.models.input_size import Stem
from bench.models.sources import call_factory, load_module
from bench.models.storable import storable
from bench.models.weights import read_checkpoint
from bench.runtime.files import file_sha
from bench.runtime.input_files import exists, read_input

OWN = "checkpoint"  # mean and std come from the checkpoint itself
KINDS: dict[str, Kind] = {
    "state_dict": "checkpoint",
    "safetensors": "checkpoint",
    "torchscript": "torchscript",
    "exported": "exported",
    "onnx": "onnx",
}


@dataclass(frozen=True)
class Loaded:
    """A frozen network with its preprocessing, and the data to store for this network."""

    model: Preprocessed
    source: SourceSpec
    content: bytes | None  # the file to store; None for a factory
    other_stem: tuple[Stem, nn.Module] | None


@dataclass(frozen=True)
class _Read:
    """A network read from its file, before preprocessing is added."""

    network: nn.Module
    kind: Kind
    origin: str
    in_chans: Literal[1, 3]
    input_size: int | None
    facts: Facts
    notes: tuple[str, ...]
    content: bytes | None
    other_stem: tuple[Stem, nn.Module] | None = None  # another fitting stem, and the network with this stem


def load_external(requested: NetworkConfig, context: RunContext) -> Loaded:
    """Read the network of ``requested`` with its preprocessing. :func:`probe_external` checks the preprocessing.

    Raise BenchError if the file cannot be read or does not fit, and if no normalisation is declared.
    """
    dataset, progress = context.dataset, context.progress
    declared = _declared_size(requested, dataset)
    read = _read(requested, declared or dataset.image_size, dataset.fitting)
    size = None if read.input_size in (None, dataset.image_size) else read.input_size
    preprocessing = replace(
        _preprocessing(requested, read, dataset), channels=read.in_chans, input_size=declared or size
    )
    if read.facts.class_names and not (dataset.class_names or requested.class_names):
        unused_note = "the class names of the file were not used, as the classes of the data set have none"
        read = replace(read, notes=(*read.notes, unused_note))
    fitted = (describe_fitting(dataset.fitting),) if dataset.fitting else ()
    for note in (*read.notes, *fitted, describe(preprocessing)):
        progress.line(f"{requested.title}: {note}")
    model = _assembled(read.network, preprocessing, context.device)
    path = requested.checkpoint if requested.checkpoint is not None else _factory_file(str(requested.module))
    source = SourceSpec(
        kind=read.kind,
        origin=read.origin,
        file=as_text(path.name),
        file_sha=file_sha(path, CHECKPOINT),
        num_classes=dataset.num_classes,
        image_size=dataset.image_size,
        fitting=dataset.fitting,
        stem=requested.stem,
        preprocessing=preprocessing,
        notes=(*fitted, describe(preprocessing), *read.notes),
    )
    return Loaded(model, source, read.content, read.other_stem)


def rebuild(source: SourceSpec, path: Path, device: torch.device) -> Preprocessed:
    """Rebuild a stored network from the file in its run folder. Raise BenchError if the weights no longer fit."""
    if source.kind == "checkpoint":
        state: dict[str, Tensor] = load_safetensors(read_input(path, WEIGHTS))
        size = source.preprocessing.input_size or source.image_size
        network = build_network(source.origin, state, image_size=size, stem=source.stem).module
    else:
        network = load_module(path)
    return _assembled(network, source.preprocessing, device)


def _assembled(network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> Preprocessed:
    """Add the preprocessing in front of the network, freeze the model and set evaluation mode.

    Parameters are frozen one by one, because scripted modules have no method ``requires_grad_``. The mode is set by
    :meth:`Preprocessed.train`, because exported programs raise an exception if the mode is changed.
    """
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    model = Preprocessed(network, preprocessing).to(device)
    return model.train(False)


def _read(requested: NetworkConfig, size: int, applied: Fitting | None) -> _Read:
    """Read the network for images of ``size`` pixels. ``applied`` is the resize and crop of the files of a folder."""
    if requested.module is not None:
        network = call_factory(requested.module)
        channels: Literal[1, 3] = 1 if first_channels(network) == 1 else 3
        return _Read(network, "factory", _factory_name(requested.module), channels, None, Facts(), (), None)
    assert requested.checkpoint is not None
    path = requested.checkpoint
    if not exists(path, CHECKPOINT.name):
        raise BenchError(f"there is no checkpoint {shown(path)}; check the path.")
    kind = KINDS.get(kind_of(path), "checkpoint")
    if kind != "checkpoint":
        return _Read(load_module(path), kind, "", 3, None, Facts(), (), read_input(path, CHECKPOINT))
    if requested.model is None:
        raise BenchError(
            f"checkpoint {path} has weights without a network; name its architecture by --model, such as "
            "resnet18 (timm) or torchvision:resnet18."
        )
    checkpoint = read_checkpoint(path)
    built = build_network(requested.model, checkpoint.state, image_size=size, stem=requested.stem)
    try:
        content = dump_safetensors(storable(built.module.state_dict()))
    except CellFailure as failure:
        raise BenchError(f"checkpoint {path} cannot be evaluated: {failure.message}") from failure
    config = _config(requested)
    declared = config_notes(config, built.input_size, applied) if config is not None else ()
    notes = (*checkpoint.notes, *built.notes, *declared)
    chans: Literal[1, 3] = 1 if built.in_chans == 1 else 3
    alternative = None
    if built.other_stem is not None:
        network = build_network(requested.model, checkpoint.state, image_size=size, stem=built.other_stem).module
        alternative = (built.other_stem, network)
    return _Read(
        built.module,
        "checkpoint",
        requested.model,
        chans,
        built.input_size,
        checkpoint.facts,
        notes,
        content,
        alternative,
    )


def _declared_size(requested: NetworkConfig, dataset: Dataset) -> int | None:
    """Return the side length to which images are resized; None if images are not resized."""
    text = requested.input_size
    if text in ("auto", "native"):
        return None
    if text == "from-config":
        config = _config(requested)
        if config is None:
            raise BenchError(f"{requested.where} has no pretrained_cfg with an input size; give a number of pixels.")
        return from_config(config).input_size
    if not is_whole(text) or int(text) < 1:
        raise BenchError(f"--input-size {text!r} is neither a number of pixels nor native or from-config.")
    return None if int(text) == dataset.image_size else int(text)


def _config(requested: NetworkConfig) -> Mapping[str, Any] | None:
    """Return timm's ``pretrained_cfg`` for the architecture; None if timm does not have the architecture."""
    if requested.model is None or ":" in requested.model:
        return None
    config = get_pretrained_cfg(requested.model)
    return None if config is None else config.to_dict()


def common_fitting(networks: Sequence[NetworkConfig]) -> Fitting | None:
    """Return the resize and crop that all architectures declare in timm's ``pretrained_cfg``; None if they differ."""
    configs = [_config(network) for network in networks]
    declared = {fitting_from_config(config) if config is not None else None for config in configs}
    return declared.pop() if len(declared) == 1 else None


def _config_size(requested: NetworkConfig) -> int | None:
    config = _config(requested)
    return None if config is None else from_config(config).input_size


def _preprocessing(requested: NetworkConfig, read: _Read, dataset: Dataset) -> Preprocessing:
    """Return the preprocessing declared by the user, else by the checkpoint, else by timm's ``pretrained_cfg``."""
    config = _config(requested) if read.kind == "checkpoint" else None
    moments = _own_moments(read.facts) if requested.normalize is None else None
    text = requested.normalize or moments or ("from-config" if config is not None else None)
    if text is None:
        raise BenchError(
            f"the normalisation of {requested.where} is unknown and is never guessed; give --normalize imagenet, "
            "cifar10, none (also if the network normalises its input itself), or mean and std as numbers."
        )
    name, mean, std = parse_normalization(text, config, dataset)
    return Preprocessing(
        normalization=OWN if moments else name,
        mean=mean,
        std=std,
        interpolation=from_config(config).interpolation if config is not None else "bilinear",
        precision=precision_of(read.network),
        class_order=_class_order(requested, read, dataset),
    )


def _own_moments(facts: Facts) -> str | None:
    """Return mean and std stored in the file, in the form of ``--normalize``."""
    return None if facts.mean is None or facts.std is None else ",".join(map(str, (*facts.mean, *facts.std)))


def _class_order(requested: NetworkConfig, read: _Read, dataset: Dataset) -> tuple[int, ...] | None:
    names = read_class_names(requested.class_names) if requested.class_names else read.facts.class_names
    if names is None or not (dataset.class_names or requested.class_names):
        return None
    return order_from_names(names, dataset.class_names)


def probe_external(requested: NetworkConfig, loaded: Loaded, context: RunContext) -> tuple[str, ...]:
    """Probe the preprocessing on test images of the data set. Return notes for every row of the network.

    Raise BenchError if the clean accuracy is higher with another normalisation, class order or stem, unless
    ``requested.trust_normalization``.
    """
    network, chosen = loaded.model.network, loaded.source.preprocessing
    images = context.images("test", PROBE_IMAGES)
    dataset = context.dataset
    report = probe(
        network,
        chosen,
        images.inputs(torch.arange(len(images)), context.device),
        images.labels,
        class_names=dataset.class_names or None,
        train_moments=dataset.moments if len(dataset.train) else None,
        num_classes=dataset.num_classes,
        config_size=_config_size(requested) if chosen.input_size is None else None,
        other_stem=loaded.other_stem,
    )
    for line in report.lines:
        context.progress.line(f"{requested.title}: {line}")
    if report.problem and not requested.trust_normalization:
        raise BenchError(f"{requested.where}: {report.problem}")
    return report.as_notes


def _factory_name(text: str) -> str:
    """Return ``folder/file.py:factory`` without the folder."""
    path, _, factory = text.rpartition(":")
    return f"{Path(path).name}:{factory}"


def _factory_file(text: str) -> Path:
    return Path(text.rpartition(":")[0])

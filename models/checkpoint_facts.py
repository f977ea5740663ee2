"""Read the metadata that a checkpoint holds in addition to its weights: plain values only."""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bench.core.strict_json import parse_json
from bench.runtime.stored_arrays import StoredArray

MAX_VALUES = 256  # maximum number of values in a tensor or array; larger ones are weights, not metadata
MAX_NAMES = 100_000  # maximum number of class names
SETTINGS = (
    "args", "hyper_parameters", "hparams", "config", "cfg", "opt", "options", "settings", "meta", "normalization",
    "normalize", "preprocessing", "stats",
)  # fmt: skip
SCALARS = (bool, int, float, str)
# Keys that training scripts use for each fact, the most specific first.
ARCH = ("arch", "architecture", "model_name", "model_arch", "backbone", "model", "network", "net")
EPOCH = ("epoch", "epochs_run", "last_epoch")
CLASS_NAMES = ("class_names", "classes", "class_labels", "label_names", "CLASSES")
NAME_TO_INDEX = ("class_to_idx", "label2id", "class_to_index")
INDEX_TO_NAME = ("idx_to_class", "id2label", "index_to_class")
MEAN = ("mean", "img_mean", "image_mean", "norm_mean", "normalize_mean", "data_mean")
STD = ("std", "img_std", "image_std", "norm_std", "normalize_std", "data_std")
SIDE = ("img_size", "image_size", "input_size", "imgsz", "crop_size", "resolution", "train_crop_size")
NUM_CLASSES = ("num_classes", "n_classes", "nb_classes")


@dataclass(frozen=True)
class Facts:
    """Metadata of a checkpoint; None for missing facts. The values are not checked against the weights.

    ``class_names`` are in the order of the logits. ``values`` holds all plain values by dotted name.
    """

    arch: str | None = None
    epoch: int | None = None
    class_names: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = None
    num_classes: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


def read_facts(levels: list[Mapping[str, Any]]) -> Facts:
    """Collect the facts from the mappings around a state dict, the outermost first."""
    entries: dict[str, Any] = {}
    for level in levels:
        for name, value in _plain_entries(level):
            entries.setdefault(name, value)
    return Facts(
        arch=_first(entries, ARCH, lambda v: v if isinstance(v, str) and v else None),
        epoch=_first(entries, EPOCH, _non_negative_int),
        class_names=_class_names(entries),
        mean=_first(entries, MEAN, _floats),
        std=_first(entries, STD, _floats),
        image_size=_first(entries, SIDE, _side),
        num_classes=_first(entries, NUM_CLASSES, _non_negative_int),
        values=entries,
    )


def facts_of_metadata(metadata: Mapping[str, str]) -> Facts:
    """Collect the facts from the header of a safetensors file. Its values are text, possibly JSON."""
    return read_facts([{name: _parsed(text) for name, text in metadata.items()}])


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _plain_entries(level: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the plain values of ``level`` with their names, and then the values of its settings with dotted names."""
    for name, value in level.items():
        plain = plain_value(value)
        if plain is not None and name not in SETTINGS:
            yield str(name), plain
    for name in SETTINGS:
        inner = level.get(name)
        if isinstance(inner, argparse.Namespace | types.SimpleNamespace):
            inner = vars(inner)
        if isinstance(inner, Mapping):
            for key, value in inner.items():
                plain = plain_value(value)
                if plain is not None:
                    yield f"{name}.{key}", plain


def plain_value(value: Any) -> Any:
    """Convert ``value`` to numbers, text, lists and dictionaries; return None for any other value."""
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, Tensor) and value.numel() <= MAX_VALUES and not value.is_quantized:
        return value.tolist()
    if isinstance(value, StoredArray) and value.value.size <= MAX_VALUES:
        return value.value.tolist()
    if isinstance(value, list | tuple) and len(value) <= MAX_NAMES and all(isinstance(v, SCALARS) for v in value):
        return list(value)
    if isinstance(value, Mapping) and value and len(value) <= MAX_NAMES:
        return dict(value) if all(isinstance(v, SCALARS) for v in value.values()) else None
    return None


def _first(entries: Mapping[str, Any], names: tuple[str, ...], convert: Any) -> Any:
    """Return the first value under one of ``names``, at the top level or in the settings, that ``convert`` accepts."""
    for name in names:
        for prefix in ("", *(f"{settings}." for settings in SETTINGS)):
            value = convert(entries[prefix + name]) if prefix + name in entries else None
            if value is not None:
                return value
    return None


def _non_negative_int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _floats(value: Any) -> tuple[float, ...] | None:
    flat = _flat(value) if isinstance(value, list | float) else []
    numbers = all(isinstance(v, float | int) and not isinstance(v, bool) for v in flat)
    return tuple(map(float, flat)) if flat and numbers else None


def _flat(value: Any) -> list[Any]:
    """Flatten a nested list, for example a mean of shape (1, 3, 1, 1)."""
    return [v for part in value for v in _flat(part)] if isinstance(value, list) else [value]


def _side(value: Any) -> int | None:
    """Return the side of square images, from a side, (height, width) or (channels, height, width); None for others."""
    values = value[-2:] if isinstance(value, list) else [value]
    sides = {_non_negative_int(v) for v in values}
    return sides.pop() if len(sides) == 1 else None


def _class_names(entries: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names by index; None if they are missing, or if a list and a mapping disagree."""
    listed = _first(entries, CLASS_NAMES, lambda v: v if isinstance(v, list) else None)
    by_index = _first(entries, INDEX_TO_NAME, lambda v: v if isinstance(v, dict) else None)
    by_name = _first(entries, NAME_TO_INDEX + CLASS_NAMES, lambda v: v if isinstance(v, dict) else None)
    if by_index is None and by_name is not None:
        by_index = {index: name for name, index in by_name.items()}
    mapped = _in_order(by_index or {})
    if listed is None or not all(isinstance(v, str) for v in listed):
        return mapped
    return tuple(listed) if mapped in (None, tuple(listed)) else None


def _in_order(by_index: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Return the names of classes 0 to n - 1 in order; None for other indices."""
    try:
        names = {int(index): str(name) for index, name in by_index.items()}
    except (TypeError, ValueError):
        return None
    return tuple(names[i] for i in range(len(names))) if names and sorted(names) == list(range(len(names))) else None

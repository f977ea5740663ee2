"""Read named tensors from checkpoint files, without unpickling objects, and load them into networks."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from bench.core.errors import BenchError, first_line
from bench.core.limits import CHECKPOINT, in_bytes, unpacked_limit
from bench.core.paths import shown, unreadable
from bench.core.words import pluralize
from bench.models.checkpoint_facts import Facts, facts_of_metadata, read_facts
from bench.models.file_kinds import kind_of
from bench.models.torch_files import WAY_OUT, load_plain
from bench.models.unwrapping import Found, State, View, find_state, views
from bench.runtime.input_files import exists, is_folder

__all__ = ["Checkpoint", "State", "class_count", "converter", "load_weights", "read_checkpoint", "read_weights"]

LOG = logging.getLogger(__name__)
SHARD = re.compile(r"-\d{5}-of-\d{5}\.|\.index\.json$")
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
FEW = 3  # maximum number of keys in an error message


@dataclass(frozen=True)
class Checkpoint:
    """Weights in float32, metadata from the file, and notes on choices made while reading it.

    The keys of ``state`` may still have wrapper prefixes. :func:`load_weights` removes the prefixes that the network
    does not have.
    """

    state: State
    facts: Facts
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the state dict from a ``.safetensors`` or torch file, also from within a training checkpoint.

    Averaged weights (EMA, SWA) are preferred. Raises BenchError if no state dict can be read. Never unpickles objects.
    """
    _check_path(path)
    if kind_of(path) == "safetensors":
        content, metadata = _read_safetensors(path)
        facts: Facts | None = facts_of_metadata(metadata)
    else:
        content, facts = load_plain(path), None
    try:
        found = find_state(content)
    except BenchError as error:
        raise BenchError(f"checkpoint {path}: {error}") from error
    if found is None:
        raise BenchError(
            f"checkpoint {path} is not a state dict: it must map the names of weights to tensors, at the top level or "
            f"under a key such as 'state_dict', but it holds {_described(content)}."
        )
    _check_plain_tensors(found, path)
    _check_size(found.state, path)
    state, note = _in_float32(found.state)
    return Checkpoint(state, facts or read_facts(found.levels), (*found.notes, *note))


def read_weights(path: Path) -> State:
    """Return only the tensors of :func:`read_checkpoint`, and log its notes."""
    checkpoint = read_checkpoint(path)
    for note in checkpoint.notes:
        LOG.warning("checkpoint %s: %s", path, note)
    return checkpoint.state


def _check_path(path: Path) -> None:
    if not exists(path, CHECKPOINT.name):
        raise BenchError(
            f"checkpoint {shown(path)} does not exist; --checkpoint-path takes a .safetensors or a .pth file."
        )
    if is_folder(path):
        files = _weights_in(path)
        raise BenchError(
            f"checkpoint {path} is a folder; give the file of weights in it{f', such as {files[0]}' if files else ''}."
        )
    if SHARD.search(path.name):
        raise BenchError(f"checkpoint {path} is one of several shards, which cannot be combined here; {WAY_OUT}.")


def _weights_in(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name.endswith(WEIGHT_SUFFIXES))[:FEW]
    except OSError as error:
        raise unreadable(folder, CHECKPOINT.name, error) from None


def _read_safetensors(path: Path) -> tuple[State, Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except Exception as error:  # a damaged file may raise any exception in the loader
        raise BenchError(f"checkpoint {path} cannot be read: it is damaged ({first_line(error)}).") from error


def _described(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"only {_few(map(repr, content))}" if content else "nothing"
    return f"a {type(content).__name__}"


def _check_plain_tensors(found: Found, path: Path) -> None:
    """Raise BenchError for quantised weights, sparse tensors and tensors without values."""
    for key, value in found.state.items():
        if key.rpartition(".")[2] == "_packed_params" or (isinstance(value, Tensor) and value.is_quantized):
            raise BenchError(
                f"checkpoint {path} holds the weights of a quantised network ({key}), which cannot be loaded into a "
                "named architecture; save the network as a TorchScript archive, or pass a function that builds it with "
                "--module file.py:function."
            )
        if isinstance(value, Tensor) and value.is_meta:
            raise BenchError(f"checkpoint {path} holds {key} without values, on the meta device; {WAY_OUT}.")
        if isinstance(value, Tensor) and value.layout != torch.strided:
            raise BenchError(
                f"checkpoint {path} holds {key} as a sparse tensor; call to_dense() on it, and save again."
            )


def _check_size(state: State, path: Path) -> None:
    """Raise BenchError if the tensors are far larger than the file: then they repeat values, and would be expanded."""
    total = sum(value.numel() * value.element_size() for value in state.values() if isinstance(value, Tensor))
    limit = unpacked_limit(CHECKPOINT, path.stat().st_size)
    if total > limit:
        raise BenchError(
            f"checkpoint {shown(path)} holds tensors of {in_bytes(total)} in {in_bytes(path.stat().st_size)}; "
            f"at most {in_bytes(limit)} are read from a file of this size: {WAY_OUT}, each with its own values."
        )


def _in_float32(state: State) -> tuple[State, tuple[str, ...]]:
    """Convert floating-point tensors in ``state`` to float32, in place. Return it and a note on the original types."""
    converted = {k: v for k, v in state.items() if isinstance(v, Tensor) and v.is_floating_point()}
    converted = {key: value for key, value in converted.items() if value.dtype != torch.float32}
    for key, value in converted.items():
        state[key] = value.float()
    types = sorted({str(value.dtype).removeprefix("torch.") for value in converted.values()})
    return state, (f"weights in {' and '.join(types)} were loaded into float32",) if types else ()


def class_count(name: str, state: State) -> int:
    """Return the number of classes of the classifier in ``state``; 0 if it contains none."""
    config = get_pretrained_cfg(name)
    for weight in weights_of((config.classifier if config else None) or (), state):
        return int(weight.shape[0])
    return 0


def weights_of(layers: str | Iterable[str], state: State) -> Iterator[Tensor]:
    """Yield the weights of the named layers in any view of ``state``, the views with most prefixes removed first."""
    for view in reversed(list(views(state))):
        for layer in [layers] if isinstance(layers, str) else layers:
            weight = view.state.get(f"{layer}.weight")
            if isinstance(weight, Tensor):
                yield weight


def load_weights(model: nn.Module, state: State, convert_published: Callable[[State], State] = dict) -> str:
    """Load ``state`` strictly, unchanged or converted. Return why it does not fit, or an empty string.

    The keys are also tried without wrapper prefixes, see :func:`bench.models.unwrapping.views`.
    """
    view = fitting_view(model, state)
    problem = mismatch(model, view.state)
    if not problem:
        return _load(model, view.state)
    for other in views(state):
        try:
            converted = convert_published(dict(other.state))
        except Exception:  # noqa: BLE001 - a converter may raise any exception on keys it was not written for
            continue
        if not mismatch(model, converted):
            return _load(model, converted)
    return problem


def _load(model: nn.Module, state: State) -> str:
    try:
        model.load_state_dict(_without_unused_extra_state(model, state))
    except Exception as error:  # noqa: BLE001 - hooks of modules may raise any exception
        return first_line(error)
    return ""


def _without_unused_extra_state(model: nn.Module, state: State) -> State:
    """Remove extra state that the network does not have from ``state``, in place, and return ``state``."""
    names = set(model.state_dict())
    unused = [key for key in state if key not in names and key.rpartition(".")[2] == "_extra_state"]
    for key in unused:
        del state[key]
    return state


def fitting_view(model: nn.Module, state: State) -> View:
    """Return the view of ``state`` with the keys most similar to ``model``; in a tie, the least changed view."""
    names = set(model.state_dict())
    return min(views(state), key=lambda view: len(names.symmetric_difference(view.state)))


def mismatch(model: nn.Module, state: State) -> str:
    """Describe how ``state`` differs from the weights of ``model``, with a few names; empty if it fits."""
    expected = model.state_dict()
    tensors = {k: v for k, v in state.items() if k in expected or k.rpartition(".")[2] != "_extra_state"}
    # Files of old torch versions lack the counters of batch norms; torch adds them.
    missing = [key for key in expected if key not in tensors and key.rpartition(".")[2] != "num_batches_tracked"]
    unexpected = [key for key in tensors if key not in expected]
    shapes = [
        f"{key} {tuple(tensors[key].shape)} for {tuple(expected[key].shape)}"
        for key in expected
        if isinstance(tensors.get(key), Tensor) and tensors[key].shape != expected[key].shape
    ]
    types = [
        f"{key} {str(tensors[key].dtype).removeprefix('torch.')}"
        for key, parameter in model.named_parameters(remove_duplicate=False)
        if isinstance(tensors.get(key), Tensor)
        and parameter.is_floating_point()
        and not tensors[key].is_floating_point()  # torch would convert the codes of quantised weights to floats
    ]
    parts = []
    if missing:
        parts.append(f"{pluralize(len(missing), 'weight is', 'weights are')} missing ({_few(missing)})")
    if unexpected:
        parts.append(f"{pluralize(len(unexpected), 'is', 'are')} unexpected ({_few(unexpected)})")
    if shapes:
        parts.append(f"{pluralize(len(shapes), 'has', 'have')} another shape ({_few(shapes)})")
    if types:
        parts.append(
            f"{pluralize(len(types), 'is no floating-point tensor', 'are no floating-point tensors')} ({_few(types)})"
        )
    return ", ".join(parts)


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:FEW]) + (", …" if len(listed) > FEW else "")


def converter(name: str, model: nn.Module) -> Callable[[State], State]:
    """Return timm's converter of published weights, which renames them and may resample position embeddings.

    Returns ``dict``, which changes nothing, if the architecture has no converter.
    """
    module = sys.modules[timm.model_entrypoint(name).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    return (lambda state: convert(dict(state), model)) if convert else dict

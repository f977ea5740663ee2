"""Weights from a file: tensors by name, never objects, and their way into a network."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from bench.core.errors import BenchError, first_line

State = dict[str, Tensor]


def read_weights(path: Path) -> State:
    """The tensors of a ``.safetensors`` or torch file. Raises BenchError; never unpickles an object."""
    if not path.is_file():
        raise BenchError(f"there is no checkpoint {path}; --checkpoint-path takes a .safetensors or a .pth file.")
    try:
        safe = path.suffix == ".safetensors"
        content = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint ends in whatever its bytes mean to the loader
        raise BenchError(
            f"checkpoint {path} cannot be read: it is damaged, or holds pickled objects, which are never loaded. Save "
            "the tensors alone, with torch.save(model.state_dict(), path) or as safetensors."
        ) from error
    return _tensors(content, path)


def _tensors(content: Any, path: Path) -> State:
    """The state dict in ``content``, averaged weights first, without the prefixes that wrappers leave."""
    for key in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise BenchError(f"checkpoint {path} is not a state dict: it must map the names of weights to tensors.")
    return {str(k).removeprefix("_orig_mod.").removeprefix("module."): v for k, v in content.items()}


def class_count(name: str, state: State) -> int:
    """How many classes the classifier in ``state`` has; 0 when it holds none."""
    config = get_pretrained_cfg(name)
    names = (config.classifier if config else None) or ()
    for classifier in [names] if isinstance(names, str) else names:
        if f"{classifier}.weight" in state:
            return int(state[f"{classifier}.weight"].shape[0])
    return 0


def load_weights(model: nn.Module, state: State, convert_published: Callable[[State], State] = dict) -> str:
    """Load ``state`` strictly, as it is or converted; returns what does not fit, or nothing."""
    trouble = ""
    for convert in (dict, convert_published):
        try:
            model.load_state_dict(convert(state))
            return ""
        except Exception as error:  # noqa: BLE001 - converters are written for other files and fail on any of these
            trouble = trouble or first_line(error)
    return trouble


def converter(name: str, model: nn.Module) -> Callable[[State], State]:
    """The architecture's own conversion of published weights: it renames them and resamples position embeddings."""
    module = sys.modules[timm.model_entrypoint(name).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    return (lambda state: convert(dict(state), model)) if convert else dict

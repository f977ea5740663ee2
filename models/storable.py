"""Prepare the entries of a state dict for a safetensors file, which holds dense tensors that share no memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import CellFailure


def storable(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the entries of a state dict as contiguous tensors that share no memory.

    Layers with tied weights share a tensor, of which each entry gets a copy. Raises CellFailure("model_error") for an
    entry that is no dense tensor, such as the extra state of a module.

    >>> weight = torch.ones(2)
    >>> first, second = storable({"a": weight, "b": weight}).values()
    >>> first.data_ptr() == second.data_ptr()
    False
    """
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()  # addresses of the memory of earlier entries
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            kind = type(value).__name__ if not isinstance(value, Tensor) else "sparse or quantized tensor"
            raise CellFailure(
                "model_error",
                f"entry {name!r} of the model's state_dict() is a {kind}, which cannot be stored; "
                "keep dense tensors only, and leave out get_extra_state.",
            )
        tensor = value.detach().contiguous()
        memory = tensor.untyped_storage().data_ptr()
        stored[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return stored

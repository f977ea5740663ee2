"""Convert labels to one class index per image, as int64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError


def integer_labels(labels: Any, ids: Sequence[str], *, where: str) -> NDArray[np.int64]:
    """Convert ``labels``, an array, list or tensor of integers or booleans, to int64 of shape (N,).

    ``ids`` are the ids of the N images. ``where`` names data set and split in messages. Raises BenchError for another
    shape or number, and for floats, strings and other types. The message names an image. Floats with integer values are
    also refused, because they often come from a table with missing labels.
    """
    array = _as_array(labels, where)
    if array.ndim != 1:
        way_out = "labels.argmax(1) makes them from one-hot labels" if _is_wide(array) else "use labels.reshape(-1)"
        way_out = way_out if array.ndim else f"{type(labels).__name__} is not a list or an array"
        raise BenchError(
            f"{where} labels have shape {array.shape}, but one class index per image is needed, shape ({len(ids)},); "
            f"{way_out}."
        )
    if len(array) != len(ids):
        raise BenchError(f"{where} labels are {len(array)} for {len(ids)} images; one label per image is needed.")
    if len(array) and array.dtype.kind not in "iub":
        first = next((i for i, label in enumerate(array.tolist()) if not _is_whole(label)), 0)
        raise BenchError(
            f"{where} labels are of type {array.dtype}, image {ids[first]!r} has label {array[first]!s}; class indices "
            "must be integers: use labels.astype('int64') if all values are integers."
        )
    if array.dtype == np.uint64 and (array > np.iinfo(np.int64).max).any():
        first = int(array.argmax())
        raise BenchError(f"{where} image {ids[first]!r} has label {array[first]}, which is too large for int64.")
    return np.array(array, dtype=np.int64)  # a copy: later changes of the source do not change checked labels


def _as_array(labels: Any, where: str) -> NDArray[Any]:
    """Convert an array, a sequence or a tensor of any framework to a NumPy array. Raises BenchError if it fails."""
    if hasattr(labels, "detach"):  # a torch tensor; this module does not import torch
        labels = labels.detach().cpu()
    try:
        array = np.asarray(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BenchError(f"{where} labels cannot be read as an array of integers: {error}.") from error
    if np.ma.is_masked(labels):
        raise BenchError(f"{where} labels have masked entries; every image needs a label.")
    return array


def _is_whole(label: Any) -> bool:
    return isinstance(label, int) or (isinstance(label, float) and label.is_integer())


def _is_wide(labels: NDArray[Any]) -> bool:
    return labels.ndim == 2 and labels.shape[1] > 1

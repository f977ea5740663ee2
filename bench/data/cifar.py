"""Load CIFAR-10, CIFAR-100 and other data in the same format, the "Python version" with its pickled batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data import class_names
from bench.data.checksums import CIFAR10_MD5, CIFAR100_MD5, matches_md5
from bench.data.plain_pickle import StoredArray, read_plain_pickle
from bench.data.registry import DataRequest
from bench.data.source import Layout, find_files, refuse_options
from bench.data.split import Dataset, Moments, Split, array_split

SIDE = 32
ROW = 3 * SIDE * SIDE  # values per image: the red, green and blue planes, each in row-major order


@dataclass(frozen=True)
class _Cifar:
    name: str
    torchvision: str
    folder: str
    md5: Mapping[str, str]
    test: str  # file of the test split; all other files are training batches, in this order
    label_key: str
    class_names: tuple[str, ...]
    moments: Moments


CIFAR10 = _Cifar(
    name="cifar10",
    torchvision="CIFAR10",
    folder="cifar-10-batches-py",
    md5=CIFAR10_MD5,
    test="test_batch",
    label_key="labels",
    class_names=class_names.CIFAR10,
    moments=Moments((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
)
CIFAR100 = _Cifar(
    name="cifar100",
    torchvision="CIFAR100",
    folder="cifar-100-python",
    md5=CIFAR100_MD5,
    test="test",
    label_key="fine_labels",
    class_names=class_names.CIFAR100,
    moments=Moments((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
)


def load_cifar10(request: DataRequest) -> Dataset:
    """Load CIFAR-10. Raises BenchError for missing or damaged files, and for options that do not apply."""
    return _load(CIFAR10, request)


def load_cifar100(request: DataRequest) -> Dataset:
    """Load CIFAR-100. Raises BenchError for missing or damaged files, and for options that do not apply."""
    return _load(CIFAR100, request)


def _load(kind: _Cifar, request: DataRequest) -> Dataset:
    refuse_options(kind.name, SIDE, request)
    layout = Layout(kind.name, kind.torchvision, (kind.folder, "."), tuple(kind.md5))
    paths = find_files(layout, request.data_dir)
    train = _split("train", [path for file, path in paths.items() if file != kind.test], kind.label_key)
    test = _split("test", [paths[kind.test]], kind.label_key)
    official = matches_md5(paths, kind.md5)
    names = kind.class_names
    return Dataset(kind.name, train, test, len(names), SIDE, official, kind.moments, class_names=names)


def _split(name: str, paths: Sequence[Path], label_key: str) -> Split:
    batches = [_read_batch(path, label_key) for path in paths]
    pixels = np.concatenate([rows for rows, _ in batches]).reshape(-1, 3, SIDE, SIDE)
    return array_split(name, pixels, np.concatenate([labels for _, labels in batches]))


def _read_batch(path: Path, label_key: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read pixels (N, 3072) and labels (N,) of one file. Raises BenchError for any other content."""
    batch = read_plain_pickle(path)
    rows = _entry(batch, "data", path)
    labels = _entry(batch, label_key, path)
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != ROW:
        raise BenchError(f"{path}: 'data' has shape {rows.shape} and type {rows.dtype}; (N, {ROW}) uint8 is needed.")
    if labels.ndim != 1 or (labels.size and labels.dtype.kind not in "iu"):
        raise BenchError(f"{path}: {label_key!r} must be a list of whole numbers.")
    if len(rows) != len(labels):
        raise BenchError(
            f"{path} holds {len(rows)} images but {len(labels)} labels; the file is damaged or incomplete."
        )
    return rows, labels.astype(np.int64)


def _entry(batch: Any, key: str, path: Path) -> np.ndarray[Any, Any]:
    """Return ``batch[key]`` as an array. Files written by Python 3 may have bytes as keys."""
    if isinstance(batch, dict):
        value = batch.get(key, batch.get(key.encode()))
        if isinstance(value, StoredArray):
            return value.value
        if isinstance(value, list):
            return _as_array(value, key, path)
    raise BenchError(f"{path} is not a CIFAR batch: it has no {key!r}.")


def _as_array(values: list[Any], key: str, path: Path) -> np.ndarray[Any, Any]:
    if all(isinstance(v, int) for v in values):
        return np.array(values, dtype=np.int64)
    raise BenchError(f"{path}: {key!r} must be a list of whole numbers.")

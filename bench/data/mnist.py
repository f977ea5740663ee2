"""Load MNIST and Fashion-MNIST from their IDX files, compressed or not.

An IDX file starts with four bytes for type and rank. The sizes and the values in row-major order follow.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.core.limits import IDX
from bench.data import class_names
from bench.data.checksums import IDX_SHA256, matches_sha256
from bench.data.registry import DataRequest
from bench.data.source import Layout, find_files, refuse_options
from bench.data.split import Dataset, Moments, Split, array_split
from bench.runtime.input_files import read_input
from bench.runtime.unpacking import gunzip

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


def read_idx_bytes(path: Path) -> bytes:
    """Read an IDX file, and decompress it if it starts with the magic bytes of gzip.

    Raises BenchError if the file cannot be read or decompressed, or is too large.
    """
    raw = read_input(path, IDX)
    return gunzip(raw, path, IDX) if raw.startswith(GZIP_MAGIC) else raw


def parse_idx(raw: bytes, path: Path, *, rank: int) -> NDArray[np.uint8]:
    """Return the array of ``rank`` dimensions in ``raw``. ``path`` is used only in messages.

    Raises BenchError for another type or rank, and if the number of values differs from the header.
    """
    magic = bytes((0, 0, UNSIGNED_BYTE, rank))
    start = 4 + 4 * rank
    if raw[:4] != magic or len(raw) < start:
        raise BenchError(
            f"{path} starts with {raw[:4].hex() or 'nothing'}, but an IDX file of bytes in {rank} dimensions starts "
            f"with {magic.hex()} and the sizes; the file is damaged or not an IDX file of this kind: download it again."
        )
    shape = struct.unpack(f">{rank}I", raw[4:start])
    declared, available = math.prod(shape), len(raw) - start
    if declared != available:
        state = "truncated" if available < declared else "too long"
        raise BenchError(
            f"{path} is {state}: its header states {'×'.join(map(str, shape))} bytes, but {available} follow; download "
            "it again."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


SIDE = 28
PREFIXES = {"train": "train", "test": "t10k"}
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
CLASS_NAMES = {"mnist": class_names.MNIST, "fashion_mnist": class_names.FASHION_MNIST}
MOMENTS = {
    "mnist": Moments((0.1307,), (0.3081,)),
    "fashion_mnist": Moments((0.2860,), (0.3530,)),
}


def load_mnist(request: DataRequest) -> Dataset:
    """Load MNIST. Raises BenchError for missing or damaged files, and for options that do not apply."""
    return _load("mnist", request)


def load_fashion_mnist(request: DataRequest) -> Dataset:
    """Load Fashion-MNIST. Raises BenchError for missing or damaged files, and for options that do not apply."""
    return _load("fashion_mnist", request)


def _load(name: str, request: DataRequest) -> Dataset:
    """Load from torchvision's folder below ``--data-dir``, from ``--data-dir`` itself or from its subfolder raw/."""
    refuse_options(name, SIDE, request)
    folder = f"{TORCHVISION[name]}/raw"
    layout = Layout(name, TORCHVISION[name], (folder, ".", "raw"), tuple(IDX_SHA256[name]), ("", ".gz"))
    paths = find_files(layout, request.data_dir)
    contents = {file: read_idx_bytes(path) for file, path in paths.items()}
    _refuse_other_dataset(name, contents, paths)
    train, test = (_split(split, prefix, contents, paths) for split, prefix in PREFIXES.items())
    official = matches_sha256(contents, IDX_SHA256[name])
    return Dataset(name, train, test, 10, SIDE, official, MOMENTS[name], class_names=CLASS_NAMES[name])


def _split(split: str, prefix: str, contents: Mapping[str, bytes], paths: Mapping[str, Path]) -> Split:
    image_file, label_file = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images = parse_idx(contents[image_file], paths[image_file], rank=3)
    labels = parse_idx(contents[label_file], paths[label_file], rank=1)
    if images.shape[1:] != (SIDE, SIDE):
        height, width = images.shape[1:]
        raise BenchError(f"{paths[image_file]} holds images of {height}×{width} pixels; {SIDE}×{SIDE} are needed.")
    if len(images) != len(labels):
        raise BenchError(
            f"{paths[image_file]} holds {len(images)} images but {paths[label_file].name} {len(labels)} labels; "
            "the two files must come from one data set."
        )
    return array_split(split, images[:, None], labels.astype(np.int64))


def _refuse_other_dataset(name: str, contents: Mapping[str, bytes], paths: Mapping[str, Path]) -> None:
    """Raise BenchError if the files are the official files of the other data set, which have the same names."""
    for dataset, published in IDX_SHA256.items():
        if dataset != name and matches_sha256(contents, published):
            folder = next(iter(paths.values())).parent
            raise BenchError(f"the files in {folder} are those of {dataset}, not of {name}; use --dataset {dataset}.")

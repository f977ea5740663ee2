"""Load SVHN's cropped 32×32 digits from their two MATLAB files."""

from __future__ import annotations

import os
import struct
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.core.limits import MAT, unpacked_limit
from bench.data.checksums import SVHN_MD5, matches_md5
from bench.data.class_names import DIGITS
from bench.data.registry import DataRequest
from bench.data.source import Layout, find_files, refuse_options
from bench.data.split import Dataset, Moments, Split, array_split
from bench.runtime.input_files import open_input
from bench.runtime.unpacking import inflated, too_large_unpacked

SIDE = 32
LAYOUT = Layout("svhn", "SVHN", (".", "SVHN", "svhn"), tuple(SVHN_MD5))
MOMENTS = Moments((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))


def load_svhn(request: DataRequest) -> Dataset:
    """Load SVHN. The files store the digit 0 as class 10. The returned labels store it as class 0, as in torchvision.

    Raises BenchError for missing or damaged files, and for options that do not apply.
    """
    refuse_options("svhn", SIDE, request)
    paths = find_files(LAYOUT, request.data_dir)
    train, test = (_split(name, paths[f"{name}_32x32.mat"]) for name in ("train", "test"))
    official = matches_md5(paths, SVHN_MD5)
    return Dataset("svhn", train, test, 10, SIDE, official, MOMENTS, class_names=DIGITS)


def _split(name: str, path: Path) -> Split:
    content = _read_mat(path)
    images, labels = content.get("X"), content.get("y")
    if images is None or labels is None:
        raise BenchError(f"{path} is not a file of SVHN: it needs the variables X and y; download it again.")
    if images.ndim != 4 or images.shape[:3] != (SIDE, SIDE, 3) or images.dtype != np.uint8:
        raise BenchError(
            f"{path}: X has shape {images.shape} and type {images.dtype}; ({SIDE}, {SIDE}, 3, N) uint8 is needed."
        )
    if labels.size != images.shape[3]:
        raise BenchError(f"{path} holds {images.shape[3]} images but {labels.size} labels; download it again.")
    classes = labels.ravel().astype(np.int64)
    classes[classes == 10] = 0
    return array_split(name, np.ascontiguousarray(images.transpose(3, 2, 0, 1)), classes)


def _read_mat(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        with open_input(path, MAT) as file:
            _check_variables(file, path)
            file.seek(0)
            return dict(loadmat(file, variable_names=["X", "y"]))
    except (MatReadError, OSError, ValueError, TypeError, LookupError, NotImplementedError, zlib.error) as error:
        raise BenchError(f"{path} is not a readable MATLAB file ({error or type(error).__name__}).") from None
    except (MemoryError, RecursionError, struct.error, OverflowError) as error:
        raise BenchError(f"{path} is a damaged MATLAB file ({type(error).__name__}); download it again.") from None


HEADER, MATRIX, COMPRESSED = 128, 14, 15  # bytes of the header; types of elements
NUMERIC = range(6, 16)  # classes of arrays from double to uint64
VARIABLES = 100


def _check_variables(file: BufferedReader, path: Path) -> None:
    """Raise BenchError if a variable is not a numeric array, or if all exceed the limit after decompression.

    Files of other versions than 5 are left to scipy: they are not compressed.
    """
    order = {b"IM": "<", b"MI": ">"}.get(file.read(HEADER)[-2:])
    total, limit = 0, unpacked_limit(MAT, os.fstat(file.fileno()).st_size)
    for _ in range(VARIABLES):
        if order is None or len(tag := file.read(8)) < 8:
            return
        kind, size = struct.unpack(f"{order}II", tag)
        start = file.tell()
        content = file.read(min(size, HEADER))
        if kind == COMPRESSED:
            content = zlib.decompressobj().decompress(content, HEADER)
            if len(content) >= 8:
                kind, content = struct.unpack_from(f"{order}I", content)[0], content[8:]
            file.seek(start)
            total += inflated(file, size, limit - total)
        flags = struct.unpack_from(f"{order}I", content, 8)[0] if len(content) >= 12 else 0
        if kind == MATRIX and flags & 0xFF not in NUMERIC:
            raise BenchError(f"{path} has a variable that is not a numeric array; download it again.")
        if total > limit:
            raise too_large_unpacked(path, MAT, limit)
        file.seek(start + size)
    raise BenchError(f"{path} has {VARIABLES} variables or more; X and y are needed: download it again.")

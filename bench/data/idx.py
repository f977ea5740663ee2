"""The IDX format of MNIST: four bytes that say type and rank, the sizes, then the values row by row."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data.source import read_file

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


def read_idx_bytes(path: Path) -> bytes:
    """The content of an IDX file, decompressed if it is a gzip file, whatever its name says."""
    raw = read_file(path)
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"{path} is a damaged gzip file ({error}); download it again.") from None


def parse_idx(raw: bytes, path: Path, *, rank: int) -> NDArray[np.uint8]:
    """The array of ``rank`` dimensions in ``raw``; ``path`` is for the message.

    Raises BenchError for another type or rank, and when the values are more or fewer than announced.
    """
    magic = bytes((0, 0, UNSIGNED_BYTE, rank))
    start = 4 + 4 * rank
    if raw[:4] != magic or len(raw) < start:
        raise BenchError(
            f"{path} starts with {raw[:4].hex() or 'nothing'} but an IDX file of bytes in {rank} dimensions "
            f"starts with {magic.hex()} and its sizes; the file is another one or damaged."
        )
    shape = struct.unpack(f">{rank}I", raw[4:start])
    announced, there = math.prod(shape), len(raw) - start
    if announced != there:
        state = "truncated" if there < announced else "too long"
        raise BenchError(
            f"{path} is {state}: its header announces {'×'.join(map(str, shape))} bytes and {there} follow."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)

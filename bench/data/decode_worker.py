"""Process that decodes image files, and corrupts the images on request, for :mod:`bench.data.decode_pool`.

It reads one request per line from its standard input, writes the pixels into memory that it shares with its parent, and
answers with one line. It ends when its standard input is closed, hence also when its parent is killed. It imports
neither torch nor, without corruptions, OpenCV and SciPy.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, CellFailure
from bench.core.specs import Fitting
from bench.data.content_hashes import Stamp, unchanged
from bench.data.image_bounds import share_memory
from bench.data.image_files import read_image

#: Maximum number of bytes of an answer: those of all requests in progress fit into a pipe, of 64 KiB. Otherwise, this
#: process would wait for its parent to read answers, and the parent for this process to read requests.
MOST_BYTES = 1900


class Request(NamedTuple):
    """Files to decode into the shared memory from the byte ``start``, as (M, 3, S, S) uint8."""

    start: int
    paths: list[str]
    stamps: list[list[int]]  # fields of the Stamp of each file; empty: not compared
    fitting: dict[str, Any]  # fields of a Fitting
    fit: bool
    ids: list[str]  # needed by a corruption only
    corruption: tuple[Any, ...] | None  # fields of a Corruption
    number: int = 0


class Answer(NamedTuple):
    """Outcome of a request. Without an error, the pixels are in the shared memory."""

    number: int
    error: str = ""
    reason: str = ""  # of a CellFailure; empty: a BenchError


def answer(request: Request, memory: NDArray[np.uint8]) -> Answer:
    """Write the pixels of a request to ``memory``, (bytes,)."""
    fitting = Fitting(**request.fitting)
    shape = (len(request.paths), 3, fitting.size, fitting.size)
    pixels = memory[request.start : request.start + int(np.prod(shape))].reshape(shape)
    paths_and_stamps = zip_longest(map(Path, request.paths), (Stamp(*stamp) for stamp in request.stamps))
    try:
        for index, (path, stamp) in enumerate(paths_and_stamps):
            with unchanged(path, stamp):
                pixels[index] = read_image(path, fitting, fit=request.fit)
        if request.corruption is not None and request.paths:
            from bench.data.corrupted.on_reading import Corruption

            pixels[:] = Corruption(*request.corruption).apply(pixels, request.ids)
    except CellFailure as failure:
        return Answer(request.number, failure.message, failure.reason)
    except BenchError as error:
        return Answer(request.number, str(error))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return Answer(request.number, f"images could not be read: {type(error).__name__}: {error}.")
    return Answer(request.number)


def main(descriptor: int, size: int) -> None:
    """Answer requests until the standard input is closed. ``descriptor`` is a file of ``size`` bytes."""
    memory = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
    share_memory(descriptor)
    answers = os.dup(1)
    os.dup2(2, 1)  # text that a library prints is no answer
    with suppress(BrokenPipeError):  # the parent was killed
        for line in sys.stdin.buffer:
            os.write(answers, encoded(answer(Request(*json.loads(line)), memory)))


def encoded(result: Answer) -> bytes:
    """Return an answer as a line of JSON of at most MOST_BYTES bytes. A longer error loses its end."""
    line = json.dumps(result).encode() + b"\n"
    while len(line) > MOST_BYTES:
        result = result._replace(error=f"{result.error[: len(result.error) * 4 // 5]}…")
        line = json.dumps(result).encode() + b"\n"
    return line

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
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError, CellFailure
from bench.core.specs import Fitting
from bench.data.content_hashes import Stamp, refuse_changed
from bench.data.image_files import read_image

MOST_LETTERS = 1000  # of an error message, so that all answers fit into a pipe


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
    try:
        for path, stamp in zip(request.paths, request.stamps, strict=False):
            refuse_changed(Path(path), Stamp(*stamp))
        for index, path in enumerate(request.paths):
            pixels[index] = read_image(Path(path), fitting, fit=request.fit)
        if request.corruption is not None and request.paths:
            from bench.data.corrupted.on_reading import Corruption

            pixels[:] = Corruption(*request.corruption).apply(pixels, request.ids)
    except CellFailure as failure:
        return Answer(request.number, failure.message[:MOST_LETTERS], failure.reason)
    except BenchError as error:
        return Answer(request.number, str(error)[:MOST_LETTERS])
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return Answer(request.number, f"images could not be read: {type(error).__name__}: {error}."[:MOST_LETTERS])
    return Answer(request.number)


def main(descriptor: int, size: int) -> None:
    """Answer requests until the standard input is closed. ``descriptor`` is a file of ``size`` bytes."""
    memory = np.frombuffer(mmap.mmap(descriptor, size), np.uint8)
    with open(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # text that a library prints is no answer
        for line in sys.stdin.buffer:
            answers.write(json.dumps(answer(Request(*json.loads(line)), memory)).encode() + b"\n")
            answers.flush()

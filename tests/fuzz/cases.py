"""Fuzz cases: read a mutated file and judge the answer.

A file may be refused with a BenchError of one line, or accepted. A file that is sealed or hashed is accepted only with
the values of the original file. Any other file is accepted only with the values that an independent parser reads.
"""

from __future__ import annotations

import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from mutations import Mutation, mutated

from bench.core.errors import BenchError

SECONDS = 10.0  # longest processor time of one case
GROWTH = 1 << 30  # largest growth of the memory in one case, in bytes


SKIP = object()  # expected value of a file that the independent parser cannot read, or would read unsafely


@dataclass(frozen=True)
class Target:
    """One kind of file.

    ``originals`` are valid files. ``read`` returns the values of a file in the folder that it may use, or raises
    BenchError. ``expected`` returns the values that an independent parser reads from the file, or SKIP. Without
    ``expected``, the values must be those of the original.
    """

    name: str
    originals: Callable[[], Sequence[bytes]]
    read: Callable[[bytes, Path], Any]
    mutations: Sequence[Mutation]
    expected: Callable[[bytes], Any] | None = None
    prepare: Callable[[bytes], bytes] = bytes  # applied after the mutations


@dataclass(frozen=True)
class Verdict:
    """Outcome of one case: "refused", "accepted", or a defect that ``problem`` describes."""

    target: str
    seed: int
    outcome: str
    problem: str = ""
    seconds: float = 0.0


_ORIGINALS: dict[str, list[tuple[bytes, Any]]] = {}


def originals_of(target: Target, folder: Path) -> list[tuple[bytes, Any]]:
    """Return the original files of a target with their values. All of them must be accepted."""
    if target.name not in _ORIGINALS:
        _ORIGINALS[target.name] = [(content, target.read(content, folder)) for content in target.originals()]
    return _ORIGINALS[target.name]


def mutated_file(target: Target, seed: int, folder: Path) -> tuple[bytes, Any]:
    """Return the mutated file of a case and the values of its original."""
    rng = Random(f"{target.name} {seed}")
    original, values = rng.choice(originals_of(target, folder))
    return target.prepare(mutated(rng, original, target.mutations)), values


def run_case(target: Target, seed: int, folder: Path) -> Verdict:
    """Read the mutated file of a case, and judge the answer."""
    content, values = mutated_file(target, seed, folder)
    before, peak_before, start = resident(), peak(), time.process_time()
    outcome, problem = _judge(target, content, values, folder)
    seconds, highest = time.process_time() - start, peak()
    growth = highest - before if highest > peak_before else 0
    if not problem and seconds > SECONDS:
        problem = f"it took {seconds:.1f} s"
    if not problem and growth > GROWTH:
        problem = f"the memory grew by {growth / 2**20:.0f} MiB"
    return Verdict(target.name, seed, "defect" if problem else outcome, problem, seconds)


def _judge(target: Target, content: bytes, values: Any, folder: Path) -> tuple[str, str]:
    try:
        found = target.read(content, folder)
    except BenchError as error:
        text = str(error).strip()
        return "refused", "" if text and "\n" not in text else f"not one sentence: {short(text)}"
    except Exception:  # noqa: BLE001 - any other exception is the defect that is looked for
        return "defect", traceback.format_exc(limit=-6)
    if target.expected is not None:
        try:
            values = target.expected(content)
        except Exception as error:  # noqa: BLE001 - the independent parser refuses the file
            return "defect", f"accepted as {short(found)}, but the independent parser refuses it: {error!r}"
    if values is SKIP:
        return "accepted", ""
    return "accepted", "" if same(found, values) else f"accepted as {short(found)} instead of {short(values)}"


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal in type and content; NaN equals NaN."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        x, y = np.asarray(a), np.asarray(b)
        return x.shape == y.shape and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float) and np.isnan(a) and np.isnan(b):
        return True
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def short(value: Any) -> str:
    """Return a text of at most 300 characters."""
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def resident() -> int:
    """Return the present memory of this process, in bytes; on systems without /proc, its largest memory so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return peak()
    return pages * resource.getpagesize()


def peak() -> int:
    """Return the largest memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

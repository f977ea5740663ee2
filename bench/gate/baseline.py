"""The baseline file: what a run's images came to, as text that a reviewer can read and a diff can show.

It holds no paths, no times and no machine: two runs with the same outcomes make the same bytes.

Per-image outcomes as short text, so that a baseline file can be read and compared line by line.
"""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from bench.core.errors import BenchError
from bench.core.specs import ID_LENGTH, Scalar, Strict, fingerprint
from bench.runtime.files import without_mark, write_atomic

Counts = NDArray[np.uint8]  # (images,): of how many cells each image is right; 0 or 1 where there is one cell


def encode(counts: Counts, parts: int) -> str:
    """A bit an image where there is one cell, most significant first, else a byte an image; both as base64.

    >>> encode(np.array([1, 0, 1], dtype=np.uint8), 1)
    'oA=='
    """
    content = np.packbits(counts) if parts == 1 else counts
    return base64.b64encode(content.tobytes()).decode()


def decode(text: str, n: int, parts: int) -> Counts:
    """Decode the text of :func:`encode` for ``n`` images. Raises ValueError for text that it cannot have written."""
    try:
        content = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError):
        raise ValueError("outcomes are not base64") from None
    counts = np.unpackbits(content) if parts == 1 else content
    if len(content) != (-(-n // 8) if parts == 1 else n):
        raise ValueError(f"outcomes are not those of {n} images")
    if parts == 1 and counts[n:].any():
        raise ValueError(f"outcomes hold images beyond the {n} there are")
    if (counts > parts).any():
        raise ValueError(f"outcomes hold an image that is right in more than {parts} cells")
    return np.asarray(counts[:n], dtype=np.uint8)


FORMAT = 1
MOST_PARTS = 255  # cells that one byte an image can count


@dataclass(frozen=True, kw_only=True)
class CellOutcomes(Strict):
    """One metric of one trained network on ``n`` images."""

    n: int
    parts: int  # number of cells that the metric is the mean over: 1 but for the corruptions' mean
    right: int  # over all images and parts
    images: str  # hash of the ids and labels of the images, in order
    definition: Mapping[str, Scalar]  # what else makes the number: version, steps, backend …
    outcomes: str  # bench.gate.baseline.encode of them

    @property
    def counts(self) -> Counts:
        return decode(self.outcomes, self.n, self.parts)

    @property
    def accuracy(self) -> float:
        return self.right / (self.n * self.parts)


@dataclass(frozen=True, kw_only=True)
class RunOutcomes(Strict):
    """One trained network: what it is called, what it was measured on, and what came of it."""

    dataset: str
    model: str
    variant: str
    seed: int
    config_sha: str
    data_sha: str
    weights_sha: str
    audit: str | None  # verdict; None without an audit
    flags: tuple[str, ...]  # of its cells and of its audit
    cells: Mapping[str, CellOutcomes]  # by metric

    @property
    def recipe(self) -> tuple[str, str, str]:
        """Data set, model and variant: all repeats of one training share them, and a gate compares by them."""
        return self.dataset, self.model, self.variant


@dataclass(frozen=True, kw_only=True)
class Baseline(Strict):
    """All runs of a baseline, and how much each metric may lose, in points of accuracy."""

    format: int
    sha: str  # of everything else in the file
    tolerances: Mapping[str, float]
    runs: tuple[RunOutcomes, ...]


_ADAPTER = TypeAdapter(Baseline)


def make_baseline(runs: tuple[RunOutcomes, ...], tolerances: Mapping[str, float]) -> Baseline:
    """Sorted, and sealed by its own hash."""
    ordered = sorted(
        (replace(run, cells=dict(sorted(run.cells.items()))) for run in runs), key=lambda r: (*r.recipe, r.seed)
    )
    points = {name: float(value) for name, value in sorted(tolerances.items())}  # as JSON gives them back
    unsealed = Baseline(format=FORMAT, sha="", tolerances=points, runs=tuple(ordered))
    return replace(unsealed, sha=seal(asdict(unsealed)))


def seal(content: Mapping[str, Any]) -> str:
    """The hash of a baseline as JSON data, whatever its own ``sha`` says."""
    return fingerprint({**content, "sha": ""})[:ID_LENGTH]


def dump_baseline(baseline: Baseline) -> bytes:
    """JSON with a line a value, keys sorted, a final newline."""
    return json.dumps(asdict(baseline), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Raises BenchError when it cannot be written."""
    write_atomic(path, dump_baseline(baseline))


def read_baseline(path: Path) -> Baseline:
    """Raises BenchError for a file that is not there, is damaged, has unknown keys, or contradicts itself."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BenchError(
            f"cannot read the baseline {path}: {error.strerror or error}; 'bench baseline write --baseline "
            f"{shlex.quote(str(path))}' makes one from a run."
        ) from None
    return parse_baseline(content, where=str(path))


def parse_baseline(content: bytes, *, where: str) -> Baseline:
    """Raises BenchError, naming ``where`` and the first thing that is wrong.

    A byte order mark and CRLF line ends, as editors and git's autocrlf make them, change no value and are accepted.
    """
    try:
        baseline: Baseline = _ADAPTER.validate_json(without_mark(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(f"{where} is no baseline ({place}: {first['msg']}); {_WAY_OUT}") from None
    problem = _problem(baseline)
    if problem:
        raise BenchError(f"{where} contradicts itself: {problem}; {_WAY_OUT}")
    return baseline


_WAY_OUT = "restore it, or delete it and make it anew."


def _problem(baseline: Baseline) -> str:
    """Describe the first problem of a baseline of the right form; empty without one."""
    if baseline.format != FORMAT:
        return f"its format is {baseline.format} and this version reads {FORMAT}"
    made = seal(asdict(baseline))
    if baseline.sha != made:
        return f"its sha is {baseline.sha} and its content makes {made}, so it was changed by hand"
    empty = next((run for run in baseline.runs if not run.cells), None)
    if empty is not None:
        return f"its run {empty.model}:{empty.variant}:{empty.seed} has no cell, so that it would not be checked"
    if any(tolerance < 0 for tolerance in baseline.tolerances.values()):
        return "a tolerance is negative"
    names = [(*run.recipe, run.seed) for run in baseline.runs]
    if len(names) != len(set(names)):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        return f"it has two runs {':'.join(map(str, twice))}"
    found = ((run, metric, cell) for run in baseline.runs for metric, cell in run.cells.items())
    return next((f"{run.model}:{run.variant}:{run.seed} {m}: {p}" for run, m, c in found if (p := _odd(c))), "")


def _odd(cell: CellOutcomes) -> str:
    if cell.n < 1 or not 1 <= cell.parts <= MOST_PARTS:
        return f"{cell.n} images in {cell.parts} cells"
    try:
        counts = decode(cell.outcomes, cell.n, cell.parts)
    except ValueError as error:
        return str(error)
    right = int(counts.sum())
    return "" if right == cell.right else f"its outcomes have {right} right and it says {cell.right}"

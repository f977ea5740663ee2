"""Read and write the baseline file: per-image outcomes of runs as readable JSON for version control.

The file has no paths, no times and no machine names. Runs with equal outcomes give files with equal bytes. The outcomes
of all images of a cell are stored as one short base64 string. The file also seals the plan of a sequential check: order
of the images, level and tolerances.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from bench.core.errors import BenchError
from bench.core.inert import json_text, shell_word
from bench.core.limits import BASELINE
from bench.core.paths import shown
from bench.core.seals import seal_of
from bench.core.specs import ID_LENGTH, Scalar, Strict, fingerprint
from bench.core.vocabulary import DEFAULT_ALPHA
from bench.gate.rules import tolerance_of
from bench.runtime.files import without_byte_order_mark
from bench.runtime.input_files import exists, read_input
from bench.runtime.output_files import write_output
from bench.statistics.accuracy_drop import MOST_ALPHA

Counts = NDArray[np.uint8]  # (images,), number of cells in which an image is correctly classified; 0 or 1 for one cell


def encode(counts: Counts, parts: int) -> str:
    """Encode ``counts`` as base64. Each image takes one bit (most significant first) if ``parts`` is 1, else one byte.

    >>> encode(np.array([1, 0, 1], dtype=np.uint8), 1)
    'oA=='
    """
    content = np.packbits(counts) if parts == 1 else counts
    return base64.b64encode(content.tobytes()).decode()


def decode(text: str, n: int, parts: int) -> Counts:
    """Decode the output of :func:`encode` for ``n`` images. Raise ValueError for any other text."""
    try:
        content = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError):
        raise ValueError("outcomes are not base64") from None
    counts = np.unpackbits(content) if parts == 1 else content
    if len(content) != (-(-n // 8) if parts == 1 else n):
        raise ValueError(f"outcomes have the wrong length for {n} images")
    if parts == 1 and counts[n:].any():
        raise ValueError(f"outcomes have more images than the {n} of the cell")
    if (counts > parts).any():
        raise ValueError(f"outcomes count an image as correctly classified in more than {parts} cells")
    return np.asarray(counts[:n], dtype=np.uint8)


FORMAT = 2
WITHOUT_PLAN = 1  # format of files before the sequential check; they stay readable
MOST_PARTS = 255  # maximum number of cells that one byte per image can count


@dataclass(frozen=True, kw_only=True)
class CellOutcomes(Strict):
    """One metric of one trained network on ``n`` images."""

    n: int
    parts: int  # number of averaged cells: 1 except for the mean over corruptions
    right: int  # number of correct classifications, summed over images and parts
    images: str  # hash of the ids and labels of the images, in order
    definition: Mapping[str, Scalar]  # other settings that determine the accuracy: version, steps, backend …
    outcomes: str  # per-image outcomes, see encode

    @property
    def counts(self) -> Counts:
        """Number of cells in which each image is correctly classified, (n,) in [0, parts]."""
        return decode(self.outcomes, self.n, self.parts)

    @property
    def accuracy(self) -> float:
        """Accuracy as a fraction in [0, 1]."""
        return self.right / (self.n * self.parts)


@dataclass(frozen=True, kw_only=True)
class RunOutcomes(Strict):
    """Names, test data, audit verdict and outcomes of one trained network."""

    dataset: str
    model: str
    variant: str
    seed: int
    config_sha: str
    data_sha: str
    weights_sha: str
    audit: str | None  # verdict of the audit; None without an audit
    flags: tuple[str, ...]  # flags of its cells and of its audit
    cells: Mapping[str, CellOutcomes]  # outcomes by metric

    @property
    def recipe(self) -> tuple[str, str, str]:
        """Data set, model and variant, equal for all seeds of one recipe. The gate compares runs of one recipe."""
        return self.dataset, self.model, self.variant


@dataclass(frozen=True, kw_only=True)
class SequentialPlan(Strict):
    """Choices of a sequential check that are made before the compared run exists."""

    alpha: float  # level of each one-sided test
    order: str  # seed of the order in which images are used: a hash of ``runs``, so that nobody chooses it
    tolerances: Mapping[str, float]  # allowed drop in points, by full name, of every metric


@dataclass(frozen=True, kw_only=True)
class Baseline(Strict):
    """All runs of a baseline, and the tolerance of each metric in points of accuracy."""

    format: int
    sha: str  # hash of all other content of the file
    tolerances: Mapping[str, float]
    runs: tuple[RunOutcomes, ...]
    sequential: SequentialPlan | None = None  # None for files of the format WITHOUT_PLAN


_ADAPTER = TypeAdapter(Baseline)


def make_baseline(
    runs: tuple[RunOutcomes, ...], tolerances: Mapping[str, float], alpha: float = DEFAULT_ALPHA
) -> Baseline:
    """Return a baseline of ``runs``, sorted, with the hash of its content in ``sha``.

    ``alpha`` is the level of a later sequential check.
    """
    ordered = sorted(
        (replace(run, cells=dict(sorted(run.cells.items()))) for run in runs), key=lambda r: (*r.recipe, r.seed)
    )
    points = {name: float(value) for name, value in sorted(tolerances.items())}  # floats, as JSON returns them
    metrics = sorted({metric for run in ordered for metric in run.cells})
    plan = SequentialPlan(
        alpha=float(alpha), order=_order(ordered), tolerances={m: float(tolerance_of(m, points)) for m in metrics}
    )
    unsealed = Baseline(format=FORMAT, sha="", tolerances=points, runs=tuple(ordered), sequential=plan)
    return replace(unsealed, sha=seal(_content(unsealed)))


def _order(runs: Sequence[RunOutcomes]) -> str:
    return fingerprint([asdict(run) for run in runs])[:ID_LENGTH]


def _content(baseline: Baseline) -> dict[str, Any]:
    """Return the baseline as JSON data. Files without a plan do not have its field, and their hash neither."""
    content = asdict(baseline)
    return {key: value for key, value in content.items() if key != "sequential" or value is not None}


def seal(content: Mapping[str, Any]) -> str:
    """Return the seal of a baseline given as JSON data, shortened. The field ``sha`` is ignored."""
    return seal_of(content, "sha")[:ID_LENGTH]


def dump_baseline(baseline: Baseline) -> bytes:
    """Return the baseline as JSON with one value per line, sorted keys and a final newline."""
    text = json.dumps(_content(baseline), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return json_text(text).encode() + b"\n"


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write ``baseline`` to ``path``. Raise BenchError if the file cannot be written."""
    write_output(path, dump_baseline(baseline), BASELINE.name)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline. Raise BenchError if the file is missing, damaged or inconsistent, or has unknown keys."""
    if not exists(path, BASELINE.name):
        raise BenchError(
            f"cannot read baseline {shown(path)}: it does not exist; 'bench baseline write --baseline "
            f"{shell_word(str(path))}' makes one from a run."
        )
    return parse_baseline(read_input(path, BASELINE), where=str(path))


def parse_baseline(content: bytes, *, where: str) -> Baseline:
    """Parse the content of a baseline file. Raise BenchError with ``where`` and the first problem if it is invalid.

    A byte order mark and CRLF line ends are accepted. Some editors and git's autocrlf write them.
    """
    try:
        baseline: Baseline = _ADAPTER.validate_json(without_byte_order_mark(content))
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(f"{where} is not a valid baseline ({location}: {first['msg']}); {_WAY_OUT}") from None
    problem = _problem(baseline)
    if problem:
        raise BenchError(f"{where} is inconsistent: {problem}; {_WAY_OUT}")
    return baseline


_WAY_OUT = "restore it, or delete it and write it again."


def _problem(baseline: Baseline) -> str:
    """Return the first inconsistency of a baseline with a valid form, or an empty string."""
    if baseline.format not in (WITHOUT_PLAN, FORMAT):
        return f"its format is {baseline.format} and this version reads {WITHOUT_PLAN} and {FORMAT}"
    actual_sha = seal(_content(baseline))
    if baseline.sha != actual_sha:
        return f"its sha is {baseline.sha} but the hash of its content is {actual_sha}, so the file was changed by hand"
    empty = next((run for run in baseline.runs if not run.cells), None)
    if empty is not None:
        return f"its run {empty.model}:{empty.variant}:{empty.seed} has no cell and would not be checked"
    if any(tolerance < 0 for tolerance in baseline.tolerances.values()):
        return "a tolerance is negative"
    names = [(*run.recipe, run.seed) for run in baseline.runs]
    if len(names) != len(set(names)):
        duplicate = next(name for name, count in Counter(names).items() if count > 1)
        return f"it has two runs with the name {':'.join(map(str, duplicate))}"
    cells = ((run, metric, cell) for run in baseline.runs for metric, cell in run.cells.items())
    problems = (f"{run.model}:{run.variant}:{run.seed} {m}: {p}" for run, m, c in cells if (p := _cell_problem(c)))
    return next(problems, "") or _plan_problem(baseline)


def _plan_problem(baseline: Baseline) -> str:
    """Return the first inconsistency of the plan of a sequential check, or an empty string."""
    plan = baseline.sequential
    if (plan is None) != (baseline.format == WITHOUT_PLAN):
        return f"its format is {baseline.format}, which {'needs' if plan is None else 'does not have'} 'sequential'"
    if plan is None:
        return ""
    if not 0 < plan.alpha < MOST_ALPHA:
        return f"its sequential alpha {plan.alpha} is not between 0 and {MOST_ALPHA}"
    if plan.order != _order(baseline.runs):
        return "its sequential order is not the hash of its runs"
    if plan.tolerances.keys() != {metric for run in baseline.runs for metric in run.cells}:
        return "its sequential tolerances are not those of its metrics"
    return "a sequential tolerance is negative" if any(value < 0 for value in plan.tolerances.values()) else ""


def _cell_problem(cell: CellOutcomes) -> str:
    """Return the first inconsistency of a cell, or an empty string."""
    if cell.n < 1 or not 1 <= cell.parts <= MOST_PARTS:
        return f"{cell.n} images in {cell.parts} cells"
    try:
        counts = decode(cell.outcomes, cell.n, cell.parts)
    except ValueError as error:
        return str(error)
    n_correct = int(counts.sum())
    return (
        ""
        if n_correct == cell.right
        else f"its outcomes count {n_correct} correct images, its field 'right' {cell.right}"
    )

"""Read and write records as sealed JSON files, and check them against their paths and their counts.

The field ``seal`` is the SHA-256 of the other fields, see :mod:`bench.core.seals`. It detects damage and edits, but not
a forger who computes it again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bench.core.errors import BenchError
from bench.core.number_text import quoted
from bench.core.records import AuditRecord, DiagnosisRecord, EvalRecord, RunRecord
from bench.core.seals import SEAL, seal_problem, sealed
from bench.core.specs import ID_LENGTH, TrainSpec
from bench.core.strict_json import parse_json
from bench.results.record_counts import counts_problem

Record = RunRecord | EvalRecord | DiagnosisRecord | AuditRecord
R = TypeVar("R", RunRecord, EvalRecord, DiagnosisRecord, AuditRecord)

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (RunRecord, EvalRecord, DiagnosisRecord, AuditRecord)
}
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
WAY_OUT = "delete it and run again."


def dump_record(record: Record) -> bytes:
    """Return a record as indented JSON with its seal and a final newline."""
    content = json.loads(_ADAPTERS[type(record)].dump_json(record))
    return json.dumps(sealed(content), indent=2, ensure_ascii=False).encode() + b"\n"


def parse_sealed(content: bytes, *, where: str) -> dict[str, Any]:
    """Return the JSON object in a record file, with its seal. Raises BenchError unless the seal is right."""
    try:
        data = parse_json(content)
    except ValueError as error:
        raise BenchError(f"{where} is damaged or of another version: {str(error).rstrip('.')}; {WAY_OUT}") from None
    problem = seal_problem(data) if isinstance(data, dict) else "it is no JSON object"
    if problem:
        raise BenchError(f"{where} is damaged or of another version: {problem}; {WAY_OUT}")
    assert isinstance(data, dict)
    return data


def parse_record(kind: type[R], content: bytes, *, where: str) -> R:
    """Parse a record of class ``kind``. Raises BenchError with the file name ``where`` and the first problem."""
    return record_of(kind, parse_sealed(content, where=where), where=where)


def record_of(kind: type[R], data: dict[str, Any], *, where: str) -> R:
    """Convert sealed JSON data to a record of class ``kind``. Raises BenchError for an invalid field or count."""
    try:  # from JSON text, because pydantic accepts no lists for tuples in data from Python
        record: R = _ADAPTERS[kind].validate_json(json.dumps({k: v for k, v in data.items() if k != SEAL}))
    except ValidationError as error:
        first_error = error.errors()[0]
        field_name = ".".join(map(str, first_error["loc"])) or "the file"
        raise BenchError(
            f"{where} is damaged or of another version: it contains no {kind.__name__} ({field_name}: "
            f"{first_error['msg']}); {WAY_OUT}"
        ) from None
    problem = counts_problem(record) or _ids_problem(record)
    if problem:
        raise BenchError(f"{where} is inconsistent: {problem}; {WAY_OUT}")
    return record


def _ids_problem(record: Record) -> str:
    """Return the first id of another cell that cannot be an id, because it names a file; empty if there is none."""
    filters = record.spec.filters if isinstance(record, EvalRecord) else ()
    wrong = next((name for name in filters if not _ID.fullmatch(name)), None)
    return "" if wrong is None else f"its field spec.filters has {quoted(wrong)}, which is no id of a cell"


def check_identity(record: Record, path: Path) -> None:
    """Raise BenchError unless the id of a record matches its content and its path.

    The id is the hash of the spec. The check detects records that were edited by hand or copied to another path, and
    records that state another model, data set or recipe than their spec.
    """
    if isinstance(record, RunRecord):
        path_id, record_id, content_id = (
            path.parent.name,
            record.run_id,
            record.spec.run_id if record.spec else record.run_id,
        )
    elif isinstance(record, DiagnosisRecord):
        path_id = content_id = path.parent.name
        record_id = record.run_id
    elif isinstance(record, AuditRecord):
        path_id = content_id = f"{path.parent.parent.name} on {path.stem}"
        record_id = f"{record.run_id} on {record.data_sha[:ID_LENGTH]}"
    else:
        cell = record.spec
        path_id = f"{path.stem} of run {path.parent.parent.name}"
        record_id, content_id = (f"{name} of run {cell.run_id}" for name in (record.cell_id, cell.cell_id))
    if not path_id == record_id == content_id:
        raise BenchError(
            f"{path}: the ids of its path ({path_id}), its record ({record_id}) and its content ({content_id}) differ; "
            f"{WAY_OUT}"
        )
    if isinstance(record, RunRecord) and record.spec is not None:
        _check_spec(record, record.spec, path)


def _check_spec(record: RunRecord, spec: TrainSpec, path: Path) -> None:
    """Raise BenchError if a field that repeats a part of the spec has another value."""
    repeated = {
        "dataset": spec.data.name,
        "model": spec.model.name,
        "variant": spec.variant,
        "seed": spec.seed,
        "config_sha": spec.config_sha,
        "train_sha": spec.data.train_sha,
        "epochs": spec.recipe.epochs,
    }
    for name, value in repeated.items():
        if getattr(record, name) != value:
            raise BenchError(
                f"{path} is inconsistent: its field {name} is {getattr(record, name)!r}, but its spec says {value!r}; "
                f"{WAY_OUT}"
            )

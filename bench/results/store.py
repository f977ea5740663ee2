"""The results folder: one file a run, one file a cell, all addressed by the hash of what made them.

runs/<run_id>/run.json            the RunRecord
runs/<run_id>/weights.safetensors
runs/<run_id>/network.pt|pt2|onnx          a network that was trained elsewhere, if it came as such a file
runs/<run_id>/training.safetensors         an unfinished training, while there is one
runs/<run_id>/diagnosis.json               the DiagnosisRecord
runs/<run_id>/audits/<data_sha>.json       the AuditRecord of one test split, by the beginning of its hash
runs/<run_id>/cells/<cell_id>.json         the EvalRecord; written last, it says that the cell is complete
runs/<run_id>/cells/<cell_id>.samples.csv  per-image outcomes
runs/<run_id>/cells/<cell_id>.adversarials.safetensors  the images that the attack broke, where they were asked for
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from bench.core.errors import BenchError
from bench.core.records import AUDIT_VERSION, DIAGNOSIS_VERSION, AuditRecord, DiagnosisRecord, EvalRecord, RunRecord
from bench.core.sources import STORED_AS
from bench.core.specs import ID_LENGTH, Encoding
from bench.results.per_image import Sample, dump_samples, parse_samples
from bench.runtime.files import file_sha, without_mark, write_atomic

Record = RunRecord | EvalRecord | DiagnosisRecord | AuditRecord
R = TypeVar("R", RunRecord, EvalRecord, DiagnosisRecord, AuditRecord)

_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (RunRecord, EvalRecord, DiagnosisRecord, AuditRecord)
}


def dump_record(record: Record) -> bytes:
    """Indented JSON with a final newline."""
    content: bytes = _ADAPTERS[type(record)].dump_json(record, indent=2)
    return content + b"\n"


def parse_record(kind: type[R], content: bytes, *, where: str) -> R:
    """The record that ``content`` holds. Raises BenchError naming ``where`` and the first thing that is wrong."""
    try:
        record: R = _ADAPTERS[kind].validate_json(without_mark(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BenchError(
            f"{where} is damaged or of another version: it holds no {kind.__name__} ({place}: {first['msg']}); "
            "move it away or delete it, and run again."
        ) from None
    return record


class Store:
    """Results folder on disk. Reading is strict; files are written whole, so that no reader sees half of one."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run_folder(self, run_id: str) -> Path:
        return self.root / "runs" / run_id

    def weights_path(self, run_id: str) -> Path:
        return self.run_folder(run_id) / "weights.safetensors"

    def network_path(self, run: RunRecord) -> Path:
        """Return the file that holds the network of a run; of a network that is not stored, one that does not exist."""
        kind = "checkpoint" if run.source is None else run.source.kind
        return self.run_folder(run.run_id) / STORED_AS.get(kind, "not stored")

    def _cell_path(self, run_id: str, cell_id: str) -> Path:
        return self.run_folder(run_id) / "cells" / f"{cell_id}.json"

    def samples_path(self, run_id: str, cell_id: str) -> Path:
        return self.run_folder(run_id) / "cells" / f"{cell_id}.samples.csv"

    def adversarials_path(self, run_id: str, cell_id: str) -> Path:
        return self.run_folder(run_id) / "cells" / f"{cell_id}.adversarials.safetensors"

    def training_path(self, run_id: str) -> Path:
        return self.run_folder(run_id) / "training.safetensors"

    def write_training(self, run_id: str, content: bytes) -> None:
        """Keep an unfinished training, so that it can go on."""
        write_atomic(self.training_path(run_id), content)

    def read_training(self, run_id: str) -> bytes | None:
        """None when no training of this run was interrupted."""
        path = self.training_path(run_id)
        return _bytes(path) if path.exists() else None

    def drop_training(self, run_id: str) -> None:
        self.training_path(run_id).unlink(missing_ok=True)

    def write_run(self, record: RunRecord, weights: bytes | None) -> None:
        if weights is not None:
            write_atomic(self.network_path(record), weights)
        write_atomic(self.run_folder(record.run_id) / "run.json", dump_record(record))

    def write_cell(self, record: EvalRecord, samples: list[Sample] | None, adversarials: bytes | None = None) -> None:
        """The record is the commit: it goes last, and what it does not speak of goes with the one that did."""
        _check_images(record, self._cell_path(record.spec.run_id, record.cell_id))
        images = self.adversarials_path(record.spec.run_id, record.cell_id)
        if samples is not None:
            path, content = self.samples_path(record.spec.run_id, record.cell_id), dump_samples(samples)
            found = parse_samples(content, where=str(path))  # what could not be read is not written
            if record.status == "ok":
                _check_counts(record, found, path)
            write_atomic(path, content)
        if adversarials is not None:
            write_atomic(images, adversarials)
        write_atomic(self._cell_path(record.spec.run_id, record.cell_id), dump_record(record))
        if adversarials is None:
            images.unlink(missing_ok=True)

    def write_diagnosis(self, record: DiagnosisRecord) -> None:
        write_atomic(self._diagnosis_path(record.run_id), dump_record(record))

    def _diagnosis_path(self, run_id: str) -> Path:
        return self.run_folder(run_id) / "diagnosis.json"

    def read_diagnosis(self, run_id: str) -> DiagnosisRecord | None:
        """None when the run's present weights were never diagnosed by the present definitions."""
        record = _read(DiagnosisRecord, self._diagnosis_path(run_id), version=DIAGNOSIS_VERSION)
        run = self.read_run(run_id)
        return record if record and run and record.weights_sha == run.weights_sha else None

    def write_audit(self, record: AuditRecord) -> None:
        write_atomic(self._audit_path(record.run_id, record.data_sha), dump_record(record))

    def _audit_path(self, run_id: str, data_sha: str) -> Path:
        return self.run_folder(run_id) / "audits" / f"{data_sha[:ID_LENGTH]}.json"

    def read_audit(self, run_id: str, data_sha: str) -> AuditRecord | None:
        """None when the run's present weights were never audited on this test split by the present definitions."""
        record = _read(AuditRecord, self._audit_path(run_id, data_sha), version=AUDIT_VERSION)
        run = self.read_run(run_id)
        return record if record and run and record.weights_sha == run.weights_sha else None

    def audits(self, run_id: str) -> list[AuditRecord]:
        """Those of the run's present weights by the present definitions, one a test split."""
        paths = sorted(self.run_folder(run_id).glob("audits/*.json"))
        return [record for path in paths if (record := self.read_audit(run_id, path.stem)) is not None]

    def read_run(self, run_id: str) -> RunRecord | None:
        """None when there is no such run."""
        return _read(RunRecord, self.run_folder(run_id) / "run.json")

    def read_cell(self, run_id: str, cell_id: str) -> EvalRecord | None:
        """None when there is no such cell. Raises BenchError if it is ok on no image."""
        path = self._cell_path(run_id, cell_id)
        record = _read(EvalRecord, path)
        if record is not None:
            _check_images(record, path)
        return record

    def read_samples(self, record: EvalRecord) -> list[Sample]:
        """The per-image outcomes of an ok cell. Raises BenchError when they are not those that it counted."""
        path = self.samples_path(record.spec.run_id, record.cell_id)
        samples = parse_samples(_bytes(path), where=str(path))
        _check_counts(record, samples, path)
        return samples

    def finished_run(self, run_id: str) -> RunRecord | None:
        """The run if it is ok and its weights are those it speaks of; a failed run is none, so it is tried again."""
        record = self.read_run(run_id)
        if record is None or record.status != "ok":
            return None
        path = self.network_path(record)
        return record if path.exists() and file_sha(path) == record.weights_sha else None

    def finished_cell(self, run_id: str, cell_id: str) -> EvalRecord | None:
        """The cell if it is ok, complete and of the run's present weights; a failed cell is never an answer."""
        record, run = self.read_cell(run_id, cell_id), self.read_run(run_id)
        if record is None or run is None or record.status != "ok" or record.weights_sha != run.weights_sha:
            return None
        return record if self.samples_path(run_id, cell_id).exists() else None

    def keeps(self, record: EvalRecord, encoding: Encoding) -> bool:
        """Whether the cell's broken images are stored as ``encoding`` and are those that its record speaks of."""
        if encoding == "none" or record.spec.attack is None:
            return True
        path = self.adversarials_path(record.spec.run_id, record.cell_id)
        return record.adversarials == encoding and path.exists() and file_sha(path) == record.adversarials_sha

    def read_adversarials(self, record: EvalRecord) -> bytes:
        """The file of the cell's broken images, whatever it holds. Raises BenchError when it cannot be read."""
        return _bytes(self.adversarials_path(record.spec.run_id, record.cell_id))

    def runs(self) -> list[RunRecord]:
        """All runs, by id."""
        folders = sorted(p.parent for p in self.root.glob("runs/*/run.json"))
        return [record for folder in folders if (record := self.read_run(folder.name)) is not None]

    def cells(self, run_id: str) -> list[EvalRecord]:
        """All cells of a run, by id."""
        paths = sorted(self.run_folder(run_id).glob("cells/*.json"))
        return [record for path in paths if (record := self.read_cell(run_id, path.stem)) is not None]

    def find_run(self, name: str) -> RunRecord:
        """The one run that ``name`` means: a prefix of its id, or ``model:variant[:seed]``.

        For a network that was trained elsewhere its name alone is enough. Raises BenchError for no run or several.
        """
        found = [record for record in self.runs() if name and _means(name, record)]
        if len(found) == 1:
            return found[0]
        if not found:
            known = ", ".join(f"{r.run_id} ({r.model}:{r.variant}:{r.seed})" for r in self.runs()) or "none"
            raise BenchError(f"no run {name!r} under {self.root}; there are: {known}.")
        several = ", ".join(
            f"{r.run_id} ({r.model}:{r.variant}:{r.seed} on {r.dataset}"
            + (f", {r.epochs} epochs)" if r.epochs is not None else ")")
            for r in found
        )
        raise BenchError(f"{name!r} means {len(found)} runs: {several}; give the id, or model:variant:seed.")


def _read(kind: type[R], path: Path, *, version: int | None = None) -> R | None:
    """None without a file, and for one whose content says that it is of another version than the one asked for."""
    if not path.exists() or (version is not None and _is_of_another(path, version)):
        return None
    record = parse_record(kind, _bytes(path), where=str(path))
    _check_identity(record, path)
    return record


def _is_of_another(path: Path, version: int) -> bool:
    """Asked before the record is read: its form may be another, too, and be no damage."""
    try:
        content = json.loads(_bytes(path))
    except ValueError:
        return False  # whoever reads it says what is wrong
    return isinstance(content, dict) and content.get("version", version) != version


def _check_identity(record: Record, path: Path) -> None:
    """A record's id is the hash of its spec; one that was edited by hand or copied elsewhere is not itself."""
    if isinstance(record, RunRecord):
        place, named, made = path.parent.name, record.run_id, record.spec.run_id if record.spec else record.run_id
    elif isinstance(record, DiagnosisRecord):
        place = made = path.parent.name
        named = record.run_id
    elif isinstance(record, AuditRecord):
        place = made = f"{path.parent.parent.name} on {path.stem}"
        named = f"{record.run_id} on {record.data_sha[:ID_LENGTH]}"
    else:
        place, named, made = path.stem, record.cell_id, record.spec.cell_id
    if not place == named == made:
        raise BenchError(f"{path} calls itself {named} but its content makes {made}; delete it and run again.")


def _check_images(record: EvalRecord, path: Path) -> None:
    if record.status == "ok" and record.n < 1:
        raise BenchError(f"{path} is ok on no image; delete it and run again.")


def _check_counts(record: EvalRecord, samples: Sequence[Sample], path: Path) -> None:
    correct = sum(sample.correct for sample in samples)
    if (len(samples), correct) != (record.n, record.n_correct):
        raise BenchError(
            f"{path} holds {correct} correct of {len(samples)}, its record says {record.n_correct} of {record.n}; "
            "delete both and run again."
        )


def _means(name: str, record: RunRecord) -> bool:
    if ":" in name:
        return f"{record.model}:{record.variant}:{record.seed}" == name or f"{record.model}:{record.variant}" == name
    return record.run_id.startswith(name) or (record.spec is None and record.model == name)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchError(f"cannot read {path}: {error.strerror or error}.") from error

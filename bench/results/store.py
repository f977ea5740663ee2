"""Results folder with one file per run and one file per cell, named by the hash of their spec.

runs/<run_id>/run.json                     RunRecord
runs/<run_id>/weights.safetensors          weights of a network that was trained here or loaded from a checkpoint
runs/<run_id>/network.pt|pt2|onnx          file of a network that was trained elsewhere, if it has this format
runs/<run_id>/training.safetensors         state of an interrupted training, followed by its hash
runs/<run_id>/diagnosis.json               DiagnosisRecord
runs/<run_id>/audits/<data_sha>.json       AuditRecord of one test split, named by the first characters of its hash
runs/<run_id>/cells/<cell_id>.json         EvalRecord; written last, so that an existing file marks a complete cell
runs/<run_id>/cells/<cell_id>.samples.csv  per-image outcomes
runs/<run_id>/cells/<cell_id>.adversarials.safetensors  misclassified adversarial images, if requested
runs/<run_id>/cells/<cell_id>.journal, .search  state of a running cell, see bench.evaluation.journal
runs/<run_id>/claims/*.claim               work in progress, see bench.runtime.claims
precision/<case>.json, epochs/<case>.json  outcomes of trials, see bench.training.stored_trial
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError, did_you_mean
from bench.core.limits import ADVERSARIALS, OUTCOMES, RECORD, WEIGHTS
from bench.core.records import AUDIT_VERSION, DIAGNOSIS_VERSION, AuditRecord, DiagnosisRecord, EvalRecord, RunRecord
from bench.core.seals import as_written, sha_of, with_hash, without_hash
from bench.core.sources import STORED_AS
from bench.core.specs import ID_LENGTH, Encoding
from bench.results.per_image import Sample, dump_samples, parse_samples
from bench.results.record_counts import counts_problem, outcomes_problem
from bench.results.record_files import R, check_identity, dump_record, parse_sealed, record_of
from bench.runtime.files import file_sha, write_atomic, write_set
from bench.runtime.input_files import entries, exists, read_input

TRIAL_FOLDERS = ("precision", "epochs")


class Store:
    """Results folder on disk. Invalid files raise BenchError. Files are written atomically."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.root / "runs" / run_id

    def run_path(self, run_id: str) -> Path:
        """Return the path of the record of a run."""
        return self.run_folder(run_id) / "run.json"

    def weights_path(self, run_id: str) -> Path:
        """Return the path of the weights of a run."""
        return self.run_folder(run_id) / "weights.safetensors"

    def network_path(self, run: RunRecord) -> Path:
        """Return the path of the network file of a run. The path does not exist if the network is not stored."""
        kind = "checkpoint" if run.source is None else run.source.kind
        return self.run_folder(run.run_id) / STORED_AS.get(kind, "not stored")

    def cell_path(self, run_id: str, cell_id: str) -> Path:
        """Return the path of the record of a cell."""
        return self.run_folder(run_id) / "cells" / f"{cell_id}.json"

    def samples_path(self, run_id: str, cell_id: str) -> Path:
        """Return the path of the per-image outcomes of a cell."""
        return self.run_folder(run_id) / "cells" / f"{cell_id}.samples.csv"

    def adversarials_path(self, run_id: str, cell_id: str) -> Path:
        """Return the path of the adversarial images of a cell."""
        return self.run_folder(run_id) / "cells" / f"{cell_id}.adversarials.safetensors"

    def training_path(self, run_id: str) -> Path:
        """Return the path of the state of an interrupted training."""
        return self.run_folder(run_id) / "training.safetensors"

    def write_training(self, run_id: str, content: bytes) -> None:
        """Store the state of an unfinished training, so that it can be resumed."""
        write_atomic(self.training_path(run_id), with_hash(content, run_id))

    def read_training(self, run_id: str) -> bytes | None:
        """Return the state of an interrupted training; None if not stored. Raises BenchError if it is damaged."""
        path = self.training_path(run_id)
        if not exists(path):
            return None
        content = without_hash(read_input(path, WEIGHTS), run_id)
        if content is None:
            raise BenchError(
                f"{path} is damaged or belongs to another run: it does not end with its hash. Delete it to restart the "
                "training."
            )
        return content

    def drop_training(self, run_id: str) -> None:
        """Delete the stored state of an interrupted training, if it exists."""
        self.training_path(run_id).unlink(missing_ok=True)

    def write_run(self, record: RunRecord, weights: bytes | None) -> None:
        """Store the record of a run. The network file is written first, if ``weights`` is given."""
        if weights is not None:
            write_atomic(self.network_path(record), weights)
        write_atomic(self.run_path(record.run_id), dump_record(record))

    def write_cell(
        self, record: EvalRecord, samples: list[Sample] | None, adversarials: bytes | None = None
    ) -> EvalRecord:
        """Store a cell with its per-image outcomes and, if given, its adversarial images. Return the stored record.

        The record is written after these files, so that an existing record marks a complete cell. A record of other
        outcomes is deleted before, so that a kill leaves a cell that is not finished. The record has the hash of the
        outcomes as ``samples_sha``. If ``adversarials`` is None, adversarial images of an earlier record are
        deleted. Raises BenchError if an ok record has no images, or if its counts differ from ``samples``.
        """
        problem = counts_problem(record)
        if problem:
            raise BenchError(f"cell {record.cell_id} was not stored: {problem}.")
        images, files = self.adversarials_path(record.spec.run_id, record.cell_id), []
        if samples is not None:
            path, content = self.samples_path(record.spec.run_id, record.cell_id), dump_samples(samples)
            parsed = parse_samples(content, where=str(path))  # check before writing that the file can be parsed
            if record.status == "ok":
                _check_counts(record, parsed, path)
            record = replace(record, samples_sha=sha_of(content))
            files.append((path, content))
        if adversarials is not None:
            files.append((images, adversarials))
        write_set([*files, (self.cell_path(record.spec.run_id, record.cell_id), dump_record(record))])
        if adversarials is None:
            images.unlink(missing_ok=True)
        return record

    def write_diagnosis(self, record: DiagnosisRecord) -> None:
        """Store the diagnosis of a run."""
        write_atomic(self.diagnosis_path(record.run_id), dump_record(record))

    def diagnosis_path(self, run_id: str) -> Path:
        """Return the path of the diagnosis of a run."""
        return self.run_folder(run_id) / "diagnosis.json"

    def read_diagnosis(self, run_id: str) -> DiagnosisRecord | None:
        """Return the diagnosis of the current weights with the current DIAGNOSIS_VERSION; None if not stored."""
        record = _read(DiagnosisRecord, self.diagnosis_path(run_id), version=DIAGNOSIS_VERSION)
        run = self.read_run(run_id)
        return record if record and run and record.weights_sha == run.weights_sha else None

    def write_audit(self, record: AuditRecord) -> None:
        """Store the audit of a run on one test split."""
        write_atomic(self.audit_path(record.run_id, record.data_sha), dump_record(record))

    def audit_path(self, run_id: str, data_sha: str) -> Path:
        """Return the path of the audit of a run on one test split."""
        return self.run_folder(run_id) / "audits" / f"{data_sha[:ID_LENGTH]}.json"

    def read_audit(self, run_id: str, data_sha: str) -> AuditRecord | None:
        """Return the audit of the current weights on a split with the current AUDIT_VERSION; None if not stored."""
        record = _read(AuditRecord, self.audit_path(run_id, data_sha), version=AUDIT_VERSION)
        run = self.read_run(run_id)
        return record if record and run and record.weights_sha == run.weights_sha else None

    def audits(self, run_id: str) -> list[AuditRecord]:
        """Return the audits of the current weights of a run, one per test split.

        An audit with an earlier AUDIT_VERSION is returned as a failed audit without findings, because its flags are
        unknown. Its run is not ranked until the audit is repeated.
        """
        paths = _records_in(self.run_folder(run_id) / "audits")
        records = (self.read_audit(run_id, path.stem) or self._outdated_audit(run_id, path) for path in paths)
        return [record for record in records if record is not None]

    def _outdated_audit(self, run_id: str, path: Path) -> AuditRecord | None:
        """Return a failed audit if the file has another AUDIT_VERSION and the current weights; otherwise None."""
        run, content = self.read_run(run_id), _data(path)
        if run is None or content.get("version") == AUDIT_VERSION or content.get("weights_sha") != run.weights_sha:
            return None
        return AuditRecord(
            run_id=run_id,
            weights_sha=run.weights_sha,
            data_sha=str(content.get("data_sha", path.stem)),
            version=AUDIT_VERSION,
            level="full" if content.get("level") == "full" else "default",
            cells=(),
            status="failed",
            reason="audit_outdated",
            message=f"the audit has version {content.get('version')}, not {AUDIT_VERSION}; run 'bench audit' again.",
            figures={},
            findings=(),
            budgets=(),
            n_forwards=0,
            n_backwards=0,
            time_s=0.0,
            created=run.created,
            environment=run.environment,
        )

    def outdated(self) -> list[str]:
        """Return the ids of runs with a diagnosis or an audit of another version."""
        return [run.run_id for run in self.runs() if self._has_outdated(run.run_id)]

    def _has_outdated(self, run_id: str) -> bool:
        diagnosis, audits = self.diagnosis_path(run_id), _records_in(self.run_folder(run_id) / "audits")
        outdated = exists(diagnosis) and _data(diagnosis).get("version") != DIAGNOSIS_VERSION
        return outdated or any(_data(path).get("version") != AUDIT_VERSION for path in audits)

    def read_run(self, run_id: str) -> RunRecord | None:
        """Return the record of a run; None if the run is not stored."""
        return _read(RunRecord, self.run_path(run_id))

    def read_cell(self, run_id: str, cell_id: str) -> EvalRecord | None:
        """Return the record of a cell; None if it is not stored. Raises BenchError for an ok cell without images."""
        return _read(EvalRecord, self.cell_path(run_id, cell_id))

    def read_samples(self, record: EvalRecord) -> list[Sample]:
        """Return the per-image outcomes of an ok cell. Raises BenchError if they differ from its hash or its counts."""
        path = self.samples_path(record.spec.run_id, record.cell_id)
        content = as_written(read_input(path, OUTCOMES), record.samples_sha)
        if content is None:
            if self.read_cell(record.spec.run_id, record.cell_id) != record:
                raise BenchError(f"{path} was replaced by another process while it was read; repeat the command.")
            raise BenchError(
                f"{path} does not have the hash in the record of its cell ({record.cell_id}.json), so one of the two "
                "was damaged, edited or replaced; delete both files and run again."
            )
        samples = parse_samples(content, where=str(path))
        _check_counts(record, samples, path)
        return samples

    def finished_run(self, run_id: str) -> RunRecord | None:
        """Return the run if it is ok and its stored weights have the recorded hash; otherwise None."""
        record = self.read_run(run_id)
        if record is None or record.status != "ok":
            return None
        path = self.network_path(record)
        return record if exists(path) and file_sha(path) == record.weights_sha else None

    def finished_cell(self, run_id: str, cell_id: str) -> EvalRecord | None:
        """Return the cell if it is ok, complete and of the current weights of the run; otherwise None."""
        record, run = self.read_cell(run_id, cell_id), self.read_run(run_id)
        if record is None or run is None or record.status != "ok" or record.weights_sha != run.weights_sha:
            return None
        return record if exists(self.samples_path(run_id, cell_id)) else None

    def keeps(self, record: EvalRecord, encoding: Encoding) -> bool:
        """Check whether the adversarial images of a cell are stored as ``encoding`` and have the recorded hash.

        True if none are requested (``encoding`` is "none") or the cell has no attack.
        """
        if encoding == "none" or record.spec.attack is None:
            return True
        path = self.adversarials_path(record.spec.run_id, record.cell_id)
        return (
            record.adversarials == encoding and exists(path) and file_sha(path, ADVERSARIALS) == record.adversarials_sha
        )

    def read_adversarials(self, record: EvalRecord) -> bytes:
        """Return the content of the adversarials file of a cell without a check. Raises BenchError if unreadable."""
        return read_input(self.adversarials_path(record.spec.run_id, record.cell_id), ADVERSARIALS)

    def runs(self) -> list[RunRecord]:
        """Return all runs, sorted by id."""
        names = [folder.name for folder in entries(self.root / "runs") if (folder / "run.json").exists()]
        shown = (name for name in names if not name.startswith("."))  # not a run that is being removed
        return [record for name in shown if (record := self.read_run(name)) is not None]

    def cells(self, run_id: str) -> list[EvalRecord]:
        """Return all cells of a run, sorted by id."""
        paths = _records_in(self.run_folder(run_id) / "cells")
        return [record for path in paths if (record := self.read_cell(run_id, path.stem)) is not None]

    def find_run(self, name: str) -> RunRecord:
        """Return the run called ``name``: a prefix of its id, or ``model:variant[:seed]``.

        For a network that was trained elsewhere, its name alone is accepted. Raises BenchError unless exactly one run
        matches.
        """
        matching = [record for record in self.runs() if name and _matches(name, record)]
        if len(matching) == 1:
            return matching[0]
        if not matching:
            runs = self.runs()
            known = ", ".join(f"{r.run_id} ({r.model}:{r.variant}:{r.seed})" for r in runs) or "none"
            names = (text for r in runs for text in (f"{r.model}:{r.variant}", f"{r.model}:{r.variant}:{r.seed}"))
            similar = did_you_mean(name, dict.fromkeys(names)).rstrip("?")
            raise BenchError(f"no run {name!r} under {self.root}{similar}; known runs: {known}.")
        several = ", ".join(
            f"{r.run_id} ({r.model}:{r.variant}:{r.seed} on {r.dataset}"
            + (f", {r.epochs} epochs)" if r.epochs is not None else ")")
            for r in matching
        )
        raise BenchError(f"{name!r} matches {len(matching)} runs: {several}; give the id, or model:variant:seed.")


def _records_in(folder: Path) -> list[Path]:
    return [path for path in entries(folder) if path.suffix == ".json"]


def _read(kind: type[R], path: Path, *, version: int | None = None) -> R | None:
    """Read a record; return None if the file does not exist or has another version than ``version``.

    The version is compared first, because the fields of another version may differ.
    """
    if not exists(path, "record"):
        return None
    data = _data(path)
    if version is not None and data.get("version") != version:
        return None
    record = record_of(kind, data, where=str(path))
    check_identity(record, path)
    return record


def _data(path: Path) -> dict[str, Any]:
    """Return the JSON object in a record file of any version. Raises BenchError unless its seal is right."""
    return parse_sealed(read_input(path, RECORD), where=str(path))


def _check_counts(record: EvalRecord, samples: Sequence[Sample], path: Path) -> None:
    correct = sum(sample.correct for sample in samples)
    if (len(samples), correct) != (record.n, record.n_correct):
        raise BenchError(
            f"{path} has {correct} correct of {len(samples)} images, but its record says {record.n_correct} of "
            f"{record.n}; delete both files and run again."
        )
    problem = outcomes_problem(record, samples)
    if problem:
        raise BenchError(f"{path} contradicts its record: {problem}; delete both files and run again.")


def _matches(name: str, record: RunRecord) -> bool:
    if ":" in name:
        return f"{record.model}:{record.variant}:{record.seed}" == name or f"{record.model}:{record.variant}" == name
    return record.run_id.startswith(name) or (record.spec is None and record.model == name)

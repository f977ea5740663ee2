"""Fuzz targets: files of a results folder and baselines. All are sealed or hashed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from cases import Target, same, short
from mutations import BINARY, CSV, JSON
from records import audit_record, cell_record, diagnosis_record, run_record, samples_of
from safetensors.torch import save

from bench.attacks.engine.checkpoint import Saved
from bench.core.records import AuditRecord, DiagnosisRecord, EvalRecord, RunRecord
from bench.core.seals import sealed
from bench.core.strict_json import parse_json
from bench.evaluation.journal import CellJournal
from bench.evaluation.pass_counter import CountingModel
from bench.gate.baseline import dump_baseline, make_baseline, parse_baseline
from bench.gate.baseline import seal as baseline_seal
from bench.gate.snapshot import take_snapshot
from bench.results.record_files import dump_record, parse_record
from bench.results.results_csv import all_audits, all_cells, all_diagnoses
from bench.results.store import Store
from bench.runtime.captured_warnings import Captured
from bench.runtime.files import FACTS, read_facts

RUN = run_record("lpc")
RECORDS: dict[type[Any], Any] = {
    RunRecord: RUN,
    EvalRecord: cell_record(RUN, "fgsm", [True, False, True]),
    DiagnosisRecord: diagnosis_record(RUN),
    AuditRecord: audit_record(RUN, black_box_stronger=9.0),
}
RIGHT = {"clean": [True, True, True, False], "fgsm": [True, False, True, False]}


@cache
def _store(folder: Path) -> dict[Path, bytes]:
    """A results folder with every kind of file; its files by path."""
    store = Store(folder)
    for run in (run_record("baseline"), RUN):
        store.write_run(run, None)
        store.write_audit(audit_record(run))
        store.write_diagnosis(diagnosis_record(run))
        for attack, right in RIGHT.items():
            store.write_cell(cell_record(run, attack, right), samples_of(right))
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _read_in_store(pattern: str, content: bytes, folder: Path) -> Any:
    """Replace one file of a results folder, and read everything that tables are made of."""
    files = _store(folder / "results")
    path = next(path for path in files if path.match(pattern) and RUN.run_id in path.parts)
    path.write_bytes(content)
    try:
        store = Store(folder / "results")
        cells = all_cells(store)
        samples = [store.read_samples(cell) for _, cell in cells]
        return store.runs(), cells, samples, all_audits(store), all_diagnoses(store), store.outdated()
    finally:
        path.write_bytes(files[path])


def _file(pattern: str) -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = _store(Path(folder))
        return [content for path, content in files.items() if path.match(pattern) and RUN.run_id in path.parts][:1]


def _resealed(content: bytes) -> bytes:
    """Seal a mutated record again, as a forger or a program with a mistake would."""
    try:
        data = parse_json(content)
        return json.dumps(sealed(data)).encode() if isinstance(data, dict) else content
    except (ValueError, RecursionError):
        return content


def _read_forged(kind: type[Any], content: bytes, folder: Path) -> Any:
    """Read a record that was sealed again. What is accepted must be the same record when it is written and read."""
    record = parse_record(kind, content, where="file")
    if parse_record(kind, dump_record(record), where="file") != record:
        raise AssertionError("a second reading differs")
    return True


def _baselines() -> Sequence[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _store(Path(folder))
        runs = take_snapshot(Store(Path(folder))).runs
    return [dump_baseline(make_baseline(runs, {"clean": 0.5})), Path("results/baselines/digits.json").read_bytes()]


def _read_baseline(content: bytes, folder: Path) -> Any:
    return parse_baseline(content, where="file")


def _resealed_baseline(content: bytes) -> bytes:
    try:
        data = parse_json(content)
        return json.dumps({**data, "sha": baseline_seal(data)}).encode() if isinstance(data, dict) else content
    except (ValueError, RecursionError):
        return content


def _read_forged_baseline(content: bytes, folder: Path) -> Any:
    """Read a baseline that was sealed again: it must be consistent, and written again as it is."""
    made = parse_baseline(content, where="file")
    if parse_baseline(dump_baseline(made), where="file") != made:
        raise AssertionError("a second reading differs")
    for run in made.runs:
        for metric, cell in run.cells.items():
            if not 0 <= cell.accuracy <= 1 or cell.counts.sum() != cell.right:
                raise AssertionError(f"{metric}: {cell}")
    return True


def _in_store(name: str, pattern: str, mutations: Sequence[Any]) -> Target:
    return Target(name, partial(_file, pattern), partial(_read_in_store, pattern), mutations)


def _forged(name: str, kind: type[Any]) -> Target:
    return Target(name, lambda: [dump_record(RECORDS[kind])], partial(_read_forged, kind), JSON, _true, _resealed)


def _true(content: bytes) -> bool:
    return True


JOURNAL = [([1, 0], torch.tensor([0.25, 0.5]), ["a warning"]), ([1, 1], torch.tensor([1.0]), [])]


def _entry(number: Sequence[int], tensor: torch.Tensor, messages: Sequence[str]) -> bytes:
    facts = {
        "key": "k", "number": number, "finished": number[1] == 0, "facts": {"messages": []}, "passes": [[3, 2]],
        "batch_size": 8, "start_size": 16, "messages": messages, "elapsed_s": 1.5,
    }  # fmt: skip
    return _framed(json.dumps(facts), tensor)


def _framed(facts: str, tensor: torch.Tensor) -> bytes:
    entry = save({"adversarials": tensor}, {FACTS: facts})
    return len(entry).to_bytes(8, "little") + hashlib.sha256(entry).digest() + entry


def _read_journal(content: bytes, folder: Path) -> list[Any]:
    """Read a journal as a cell does that continues after a kill."""
    (folder / "cell.journal").write_bytes(content)
    (folder / "cell.search").write_bytes(content[8:])  # the state of a search has no length
    counters = [CountingModel(torch.nn.Identity())]
    journal, found = CellJournal(folder / "cell", "k"), []
    while (saved := _begun(journal, counters)) is not None:
        state = counters[0].forwards, journal.stats.batch_size, journal.messages.so_far(), journal.start_size
        found.append(([value.numpy() for value in saved.tensors.values()], saved.finished, *state))
    return found


def _begun(journal: CellJournal, counters: Sequence[CountingModel]) -> Saved | None:
    journal.counters, journal.messages = counters, Captured()
    return journal.begin()


def _read_damaged_journal(content: bytes, folder: Path) -> bool:
    """Entries before the first damaged one are used as they are, and no others."""
    found, written = _read_journal(content, folder), _read_journal(_journal()[0], folder)
    if not same(found, written[: len(found)]):
        raise AssertionError(f"{short(found)} was read in place of {short(written)}")
    return True


def _journal() -> Sequence[bytes]:
    return [b"".join(_entry(*entry) for entry in JOURNAL)]


def _journal_facts() -> Sequence[bytes]:
    content = _entry(*JOURNAL[0])[40:]
    return [json.dumps(read_facts(content)).encode()]


def _read_forged_journal(content: bytes, folder: Path) -> bool:
    """Read an entry whose facts were changed, with the right hash."""
    _read_journal(_framed(content.decode("utf-8", "replace"), JOURNAL[0][1]), folder)
    return True


TARGETS = (
    _in_store("run record", "run.json", JSON),
    _in_store("cell record", "cells/*.json", JSON),
    _in_store("audit record", "audits/*.json", JSON),
    _in_store("diagnosis record", "diagnosis.json", JSON),
    _in_store("outcomes", "*.samples.csv", CSV),
    _forged("run record, sealed again", RunRecord),
    _forged("cell record, sealed again", EvalRecord),
    _forged("audit record, sealed again", AuditRecord),
    _forged("diagnosis record, sealed again", DiagnosisRecord),
    Target("journal", _journal, _read_damaged_journal, BINARY, _true),
    Target("journal, hashed again", _journal_facts, _read_forged_journal, JSON, _true),
    Target("baseline", _baselines, _read_baseline, JSON),
    Target("baseline, sealed again", _baselines, _read_forged_baseline, JSON, _true, _resealed_baseline),
)

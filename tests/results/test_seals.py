"""Seals of records and hashes of outcomes: damage and edits end in one sentence, and never change a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import audit_record, cell_record, resealed, run_record, samples_of, store_with

from bench.core.errors import BenchError
from bench.core.records import EvalRecord
from bench.core.seals import SEAL, as_written, sealed, sha_of
from bench.leaderboard.write_tables import write_tables
from bench.results.per_image import Sample
from bench.results.record_files import dump_record, parse_record
from bench.results.store import Store

CELL = cell_record(run_record(), "fgsm", [True, True, False])


def test_the_seal_is_the_hash_of_the_other_fields_in_canonical_json() -> None:
    import hashlib

    content = json.loads(dump_record(CELL))
    seal = content[SEAL]
    text = json.dumps({**content, SEAL: ""}, sort_keys=True, separators=(",", ":"))
    assert seal == hashlib.sha256(text.encode()).hexdigest()
    assert list(content)[-1] == SEAL


def test_layout_is_free_but_no_value_is() -> None:
    """Another order of keys, other white space and other forms of the same number are the same record."""
    content = json.loads(dump_record(CELL))
    shuffled = json.dumps(dict(reversed(content.items()))).replace('"eps": 0.1', '"eps": 1E-1')
    assert parse_record(EvalRecord, shuffled.encode(), where="here") == CELL


@pytest.mark.parametrize("name", ["../../../other", "a\0b", "", "a/b", "a" * 65, "é"])
def test_a_filter_that_is_no_id_is_refused(name: str, tmp_path: Path) -> None:
    """It would be used as the name of a file."""
    spec = dataclasses.replace(CELL.spec, filters=(name,))
    content = dump_record(dataclasses.replace(CELL, spec=spec, cell_id=spec.cell_id))
    with pytest.raises(BenchError, match=r"its field spec.filters has .* which is no id of a cell"):
        parse_record(EvalRecord, content, where="here")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: text.replace('"n_correct": 2', '"n_correct": 3'), "its seal does not match its content"),
        (lambda text: text.replace("a note", "a mote"), "its seal does not match"),
        (lambda text: text.replace('"seal": "', '"seal": "0'), "its seal does not match"),
        (lambda text: text.replace('"seal"', '"other"'), "it has no seal"),
        (lambda text: text.replace('"time_s": 1.5', '"time_s": NaN'), "NaN is not a JSON number"),
        (lambda text: text.replace('"time_s": 1.5', '"time_s": 1e999'), "'1e999' is not a finite decimal number"),
        (lambda text: text.replace('"n": 3', f'"n": {"9" * 5000}'), "is not a whole number of at most 64 bits"),
        (lambda text: text.replace('"n": 3', '"n": 4, "n": 3'), "the key 'n' has two different values"),
        (lambda text: text.replace('"official": true', '"official": 1, "official": true'), "two different values"),
        (lambda text: text.replace('"n": 3', '"n": ' + "[" * 10**5), "nested more than 60 levels deep"),
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: "[]", "it is no JSON object"),
        (lambda text: "", "damaged"),
    ],
)
def test_a_damaged_record_is_one_sentence(damage: Callable[[str], str], why: str) -> None:
    text = dump_record(CELL).decode()
    with pytest.raises(
        BenchError, match=r"here\.json is damaged or of another version: .*; delete it and run again"
    ) as e:
        parse_record(EvalRecord, damage(text).encode(), where="here.json")
    assert why in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"n": -1}, "its field n is -1, below 0"),
        ({"n_correct": 4}, "its field n_correct is 4, above 3"),
        ({"n_correct": -1}, "its field n_correct is -1, below 0"),
        ({"n_correct": None}, "status ok but no images"),
        ({"n": 0, "n_correct": 0, "n_attacked": 0}, "status ok but no images"),
        ({"n_test": 2}, "its field n is 3, above 2"),
        ({"n_attacked": 4}, "its field n_attacked is 4, above 3"),
        ({"leaked": 4}, "its field leaked is 4, above 3"),
        ({"n_majority": 2, "n_correct_majority": 3}, "its field n_correct_majority is 3, above 2"),
        ({"time_s": -0.5}, "its field time_s is -0.5, below 0"),
        ({"max_distance": -1.0}, "its field max_distance is -1.0, below 0"),
    ],
)
def test_impossible_counts_are_refused_even_under_a_right_seal(changes: dict[str, Any], why: str) -> None:
    content = dump_record(dataclasses.replace(CELL, **changes))
    with pytest.raises(BenchError, match="here is inconsistent") as e:
        parse_record(EvalRecord, content, where="here")
    assert why in str(e.value)


def test_a_failed_cell_may_have_attacked_more_images_than_it_evaluated() -> None:
    failed = dataclasses.replace(CELL, status="failed", reason="attack_error", n=0, n_correct=None, n_truncated=2)
    assert parse_record(EvalRecord, dump_record(failed), where="here") == failed
    content = dump_record(dataclasses.replace(failed, n_truncated=-1))
    with pytest.raises(BenchError, match="its field n_truncated is -1, below 0"):
        parse_record(EvalRecord, content, where="here")


def test_impossible_counts_of_an_audit_are_refused(tmp_path: Path) -> None:
    store, run = Store(tmp_path), run_record()
    store.write_run(run, None)
    (budget,) = audit_record(run).budgets
    wrong = dataclasses.replace(budget, images=("a", "b"), standing=(2,))
    store.write_audit(dataclasses.replace(audit_record(run), budgets=(wrong,)))
    with pytest.raises(BenchError, match="its field standing is 2, above 1"):
        store.audits(run.run_id)


RIGHT = {"clean": [True, True, True, False], "fgsm": [True, False, False, False]}


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("3,1,1,0,0.1", "3,0,1,0,0.1"),  # both misclassified images and counts stay
        ("0,1,1,1,", "9,1,1,1,"),
        ("3,1,1,0,0.1", "3,1,1,0,0.2"),
        ("3,1,1,0,0.1", "3,1,1,0,0.1000000"),
        ("3,1,1,0,0.1", "3,1,1,0,"),
    ],
)
def test_an_edit_that_keeps_the_counts_of_outcomes_is_found(old: str, new: str, tmp_path: Path) -> None:
    """Such edits changed distances and differences of the tables before outcomes had a hash."""
    store = store_with(tmp_path, {("baseline", 0): RIGHT, ("lpc", 0): RIGHT})
    write_tables(store)
    before = (tmp_path / "leaderboard.csv").read_bytes()
    path = next(p for p in sorted(tmp_path.rglob("*.samples.csv")) if "0,1,1,1," in p.read_text())
    edited(path, old, new)
    with pytest.raises(BenchError, match=r"samples\.csv does not have the hash in the record of its cell"):
        write_tables(store)
    assert (tmp_path / "leaderboard.csv").read_bytes() == before


def test_every_record_is_sealed(tmp_path: Path) -> None:
    store, run = Store(tmp_path), run_record()
    store.write_run(run, None)
    store.write_audit(audit_record(run))
    store.write_cell(CELL, samples_of([True, True, False]))
    paths = list(tmp_path.rglob("*.json"))
    assert len(paths) == 3
    for path in paths:
        assert path.read_bytes() == resealed_as(path.read_bytes())
    (cell,) = store.cells(run.run_id)
    assert cell.samples_sha == sha_of(store.samples_path(run.run_id, cell.cell_id).read_bytes())


def resealed_as(content: bytes) -> bytes:
    return json.dumps(sealed(json.loads(content)), indent=2, ensure_ascii=False).encode() + b"\n"


def test_outcomes_of_another_cell_are_refused(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": RIGHT["fgsm"], "fgsm": RIGHT["fgsm"][::-1]}})
    first, second = store.cells(run_record("baseline").run_id)
    paths = [store.samples_path(cell.spec.run_id, cell.cell_id) for cell in (first, second)]
    paths[0].write_bytes(paths[1].read_bytes())
    with pytest.raises(BenchError, match="delete both files and run again"):
        store.read_samples(first)
    assert store.read_samples(second)


def test_two_writers_of_one_cell_may_interleave(tmp_path: Path) -> None:
    """Two processes write the outcomes, then their records. The records differ in times only."""
    store = Store(tmp_path)
    store.write_run(run_record(), None)
    first = store.write_cell(CELL, samples_of([True, True, False]))
    second = dataclasses.replace(first, time_s=9.0, created="2026-01-02T00:00:00+00:00")
    store.write_cell(second, samples_of([True, True, False]))
    path = tmp_path / "runs" / CELL.spec.run_id / "cells" / f"{CELL.cell_id}.json"
    for record in (first, second):
        path.write_bytes(dump_record(record))
        assert store.read_samples(record) == samples_of([True, True, False])
        assert len(store.cells(CELL.spec.run_id)) == 1


def test_marks_and_line_ends_of_editors_are_undone_exactly() -> None:
    written = b'sample_id\n"a\nb"\n'
    sha = sha_of(written)
    assert as_written(b"\xef\xbb\xbf" + written.replace(b"\n", b"\r\n"), sha) == written
    assert as_written(written + b" ", sha) is None
    odd = b'sample_id\n"a\r\nb"\n'  # a name that contains CRLF is not changed
    assert as_written(odd, sha_of(odd)) == odd


def test_a_record_of_an_earlier_version_with_a_right_seal_is_read() -> None:
    content = json.loads(dump_record(CELL))
    del content["samples_sha"]
    assert parse_record(EvalRecord, resealed(json.dumps(content).encode()), where="here").samples_sha == ""


def test_a_changed_bit_in_the_state_of_a_training_is_found(tmp_path: Path) -> None:
    """The tensors in it have no other check: the training would go on from other weights."""
    store = Store(tmp_path)
    store.write_training("run", b"header, weights and moments")
    assert store.read_training("run") == b"header, weights and moments"
    path = store.training_path("run")
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    for damaged in (bytes(content), path.read_bytes()[:-1], b"", b"short"):
        path.write_bytes(damaged)
        with pytest.raises(BenchError, match="Delete it to restart the training"):
            store.read_training("run")


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    """For example of the same network with another seed, whose tensors would fit."""
    store = Store(tmp_path)
    store.write_training("run", b"header, weights and moments")
    store.training_path("other").parent.mkdir(parents=True)
    store.training_path("other").write_bytes(store.training_path("run").read_bytes())
    with pytest.raises(BenchError, match="is damaged or belongs to another run"):
        store.read_training("other")


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", "resnet152"), ("variant", "lpc"), ("dataset", "cifar10"), ("seed", 3), ("epochs", 200)],
)
def test_a_run_that_contradicts_its_spec_is_refused(tmp_path: Path, name: str, value: object) -> None:
    store, run = Store(tmp_path), run_record()
    store.write_run(run, None)
    store.run_path(run.run_id).write_bytes(dump_record(dataclasses.replace(run, **{name: value})))  # type: ignore[arg-type]
    with pytest.raises(BenchError, match=f"its field {name} is {value!r}, but its spec says"):
        store.runs()


def test_a_cell_of_another_run_is_refused(tmp_path: Path) -> None:
    """Its outcomes would be read from the folder of the other run, or from outside of the results folder."""
    store, run = Store(tmp_path), run_record()
    cell = cell_record(run, "fgsm", [True])
    spec = dataclasses.replace(cell.spec, run_id="../../elsewhere")
    path = store.cell_path(run.run_id, spec.cell_id)
    path.parent.mkdir(parents=True)
    path.write_bytes(dump_record(dataclasses.replace(cell, spec=spec, cell_id=spec.cell_id)))
    with pytest.raises(BenchError, match="the ids of its path"):
        store.cells(run.run_id)


@pytest.mark.parametrize("counts", [{"n_majority": 1}, {"n_majority": 2, "n_correct_majority": 0}])
def test_a_majority_that_contradicts_the_outcomes_is_refused(tmp_path: Path, counts: dict[str, int]) -> None:
    """A model at chance would be ranked."""
    store, run = Store(tmp_path), run_record()
    cell = store.write_cell(cell_record(run, "clean", [True, False, True]), samples_of([True, False, True], 2))
    with pytest.raises(BenchError, match="2 images are of the most frequent class, 2 of them correct"):
        store.read_samples(dataclasses.replace(cell, **counts))


def test_a_misclassified_image_is_never_robust(tmp_path: Path) -> None:
    store, run = Store(tmp_path), run_record()
    with pytest.raises(BenchError, match="misclassified without an attack is counted as robust"):
        store.write_cell(cell_record(run, "fgsm", [True]), [Sample("0", 1, 2, 1, None)])

"""``bench gc``: what it lists, what it deletes, and what it never touches."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import cell_record, run_record, samples_of
from stored_runs import age, corrupted_cell, corrupted_set, stored, touch, unused

from bench.core.errors import BenchError
from bench.results import unused_files
from bench.results.garbage import find_unused
from bench.results.store import Store
from bench.results.unused_files import delete_unused
from bench.runtime.claims import CLAIMS

CELL = cell_record(run_record(), "fgsm", [True]).cell_id
OTHER = "0123456789ab"  # an id of no run and no cell
TMP = ".0a-1-1.x_7.tmp"  # end of the name of a temporary file
Bench = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_nothing_of_a_complete_folder_is_unused(store: Store) -> None:
    run = stored(store)
    store.write_cell(corrupted_cell(run, "fog"), samples_of([True, False]))
    store.write_cell(corrupted_cell(run, "snow"), samples_of([True, False]))
    corrupted_set(store.root / "corrupted/abc")
    for name in unused_files.TABLES:
        touch(store.root / name)
    age(store.root)
    found = find_unused(store)
    assert (found.unused, found.unknown, found.kept, found.young) == ([], [], {}, [])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (f".results.csv{TMP}", "temporary file"),
        (f"runs/.abc{TMP}", "temporary file"),
        (f"corrupted/.abc{TMP}", "temporary file"),
        (f"precision/.abc.json{TMP}", "temporary file"),
        ("claims/force.0.claim", "claim of a process that has ended"),
        (".removed-abc-1/cells/a.json", "rest of a run that was removed"),
        ("{run}/.run.json" + TMP, "temporary file"),
        ("{run}/cells/.a.json" + TMP, "temporary file"),
        ("{run}/claims/cells-a.0.claim", "claim of a process that has ended"),
        ("{run}/training.safetensors", "state of a training that is finished"),
        ("{run}/cells/{cell}.journal", "state of a cell that is finished"),
        ("{run}/cells/{cell}.search", "state of a cell that is finished"),
        ("{run}/cells/{other}.samples.csv", "its cell has no record"),
        ("{run}/cells/{other}.adversarials.safetensors", "its cell has no record"),
        ("runs/{other}/weights.safetensors", "weights without a record of their run"),
    ],
)
def test_an_unneeded_file_is_listed_and_deleted(store: Store, name: str, reason: str) -> None:
    run = stored(store)
    name = name.format(run=f"runs/{run.run_id}", cell=CELL, other=OTHER)
    before = {path for path in store.root.rglob("*") if path.is_file()}
    touch(store.root / name)
    assert unused(store) == {name: reason}
    assert [entry.reason for entry in delete_unused(find_unused(store), store.root)] == [reason]
    assert {path for path in store.root.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in store.root.iterdir() if path.name != "corrupted") == ["runs"]
    assert store.finished_cell(run.run_id, CELL) is not None


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "precision/notes.txt",
        "runs/notes.txt",
        "{run}/notes.txt",
        "{run}/cells/notes.txt",
        "{run}/cells/{cell}.backup.json",
        "{run}/deep/er/weights.safetensors",
        "{run}/deep/.mine",
        "corrupted/mine.npy",
        "studies/runs/abc/.a.tmp",
        ".syncthing.results.csv.tmp",
        ".writable",
        ".removed-notes/thesis.txt",
        "runs/.removed-notes/thesis.txt",
        "runs/mine/weights.safetensors",
        "{run}/cells/before-the-change.samples.csv",
        "{run}/cells/copy.adversarials.safetensors",
        "{run}/cells/notes.journal",
        "{run}/claims/insurance.claim",
        "claims/insurance.claim",
        "corrupted/mine/.a.tmp",
    ],
)
def test_an_unknown_file_is_kept(store: Store, name: str) -> None:
    run = stored(store)
    name = name.format(run=f"runs/{run.run_id}", cell=CELL, other=OTHER)
    touch(store.root / name)
    assert unused(store) == {}
    (unknown,) = find_unused(store).unknown
    assert store.root / name in (unknown, *unknown.rglob("*"))


@pytest.mark.parametrize(
    "name", ["{run}/cells/{other}.journal", "{run}/cells/{other}.search", "runs/{other}/training.safetensors"]
)
def test_work_that_can_be_resumed_is_kept(store: Store, name: str) -> None:
    run = stored(store)
    touch(store.root / name.format(run=f"runs/{run.run_id}", other=OTHER))
    assert unused(store) == {}
    assert find_unused(store).unknown == []


def test_results_of_replaced_weights(store: Store) -> None:
    """Results of a run that failed or whose weights are missing are kept."""
    run = stored(store)
    again = dataclasses.replace(run, weights_sha=hashlib.sha256(b"other").hexdigest())
    store.write_run(again, b"other")
    found = unused(store)
    assert set(found.values()) == {"belongs to weights that were replaced"}
    assert len(found) == 5, "two cells with outcomes, and the audit"
    store.weights_path(run.run_id).unlink()
    assert unused(store) == {}


@pytest.mark.parametrize(
    ("cell", "images", "entry"),
    [
        ({}, 3, {}),
        ({"seed": 1}, 2, {}),
        ({"version": 2}, 2, {}),
        ({"code_sha": "c"}, 2, {}),
        ({}, 2, {"files_sha": "f"}),
    ],
)
def test_corrupted_images_that_no_cell_uses(store: Store, cell: Any, images: int, entry: Any) -> None:
    store.write_cell(corrupted_cell(stored(store), **cell), samples_of([True, False]))
    names = corrupted_set(store.root / "corrupted/abc", images, **entry)
    assert list(unused(store)) == [f"corrupted/abc/{name}" for name in names]
    delete_unused(find_unused(store), store.root)
    assert not (store.root / "corrupted").exists()


def test_one_kind_of_corrupted_images(store: Store) -> None:
    """A cell that failed has no number of images, and keeps all sets of its kind."""
    run = stored(store)
    store.write_cell(corrupted_cell(run), samples_of([True, False]))
    corrupted_set(store.root / "corrupted/abc")
    assert list(unused(store)) == ["corrupted/abc/snow.npy"]
    failed = dataclasses.replace(corrupted_cell(run), status="failed", n=0, n_correct=None, n_attacked=0)
    store.write_cell(failed, None)
    assert list(unused(store)) == ["corrupted/abc/snow.npy"]


def test_a_record_that_cannot_be_read_keeps_everything_it_may_refer_to(store: Store) -> None:
    run, other = stored(store), stored(store, "lpc")
    touch(store.training_path(run.run_id))
    touch(store.training_path(other.run_id))
    (store.run_folder(run.run_id) / "run.json").write_bytes(b"{")
    assert list(unused(store)) == [f"runs/{other.run_id}/training.safetensors"]
    kept = find_unused(store).kept
    assert "cannot be read" in kept[store.run_folder(run.run_id)]
    corrupted_set(store.root / "corrupted/abc")
    next(store.run_folder(other.run_id).glob("cells/*.json")).write_bytes(b"{")
    assert list(unused(store)) == [f"runs/{other.run_id}/training.safetensors"]
    assert "which cells use it" in find_unused(store).kept[store.root / "corrupted/abc"]


def test_files_of_a_running_process_are_kept(store: Store) -> None:
    """A claim protects its run, also a claim that appears between listing and deleting. A new file protects itself."""
    run, other = stored(store), stored(store, "lpc")
    for each in (run, other):
        touch(store.training_path(each.run_id))
    corrupted_set(store.root / "corrupted/abc")
    age(store.root)
    touch(store.root / "corrupted/abc/claims/fog.0.claim")
    touch(store.run_folder(run.run_id) / "claims/train.0.claim")
    touch(store.root / f".new{TMP}")
    found = find_unused(store)
    assert [entry.path for entry in found.unused] == [store.training_path(other.run_id)]
    assert list(found.kept) == [store.run_folder(run.run_id), store.root / "corrupted/abc"]
    assert found.young == [store.root / f".new{TMP}"]
    touch(store.run_folder(other.run_id) / "claims/train.0.claim")
    assert delete_unused(found, store.root) == []
    age(store.run_folder(other.run_id) / "claims")
    store.training_path(other.run_id).write_bytes(b"a new training")
    assert delete_unused(found, store.root) == []
    age(store.root)
    assert len(delete_unused(found, store.root)) == 1


def test_a_claim_of_a_process_protects_its_run(store: Store) -> None:
    run = stored(store)
    touch(store.training_path(run.run_id))
    age(store.root)
    folder = store.run_folder(run.run_id)
    with CLAIMS.claim(folder / "claims", "run") as mine:
        assert mine
        assert find_unused(store).unused == []
        assert list(find_unused(store).kept) == [folder]
        age(store.root)  # a suspended process does not renew its claims
        assert list(find_unused(store).kept) == [folder]
        assert find_unused(store).unused == []
    assert len(find_unused(store).unused) == 1


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    run = stored(store)
    (tmp_path / "elsewhere").mkdir()
    touch(tmp_path / f"elsewhere/.a{TMP}")
    (store.run_folder(run.run_id) / "link").symlink_to(tmp_path / "elsewhere")
    (store.root / f".b{TMP}").symlink_to(tmp_path / "elsewhere")
    age(tmp_path)
    assert list(unused(store)) == [f".b{TMP}"]
    delete_unused(find_unused(store), store.root)
    assert (tmp_path / f"elsewhere/.a{TMP}").exists()


@pytest.mark.parametrize("link", ["runs/a", "corrupted/a", "runs", "corrupted", "claims"])
def test_folders_behind_links_are_kept(store: Store, tmp_path: Path, link: str) -> None:
    (store.root / link).parent.mkdir(parents=True)
    names = ("weights.safetensors", "manifest.json", f".a{TMP}", f"cells/{OTHER}.samples.csv")
    for name in (*names, *(f"b/{name}" for name in names)):
        touch(tmp_path / "elsewhere" / name)
    (store.root / link).symlink_to(tmp_path / "elsewhere")
    age(tmp_path)
    assert unused(store) == {}


def test_a_pipe_in_place_of_a_record_is_kept(store: Store) -> None:
    folder = store.run_folder(stored(store).run_id)
    os.mkfifo(folder / "cells/a.json")
    assert unused(store) == {}


def test_a_file_that_cannot_be_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(store.root / f".a{TMP}")
    age(store.root)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(
        BenchError, match=r"cannot delete .*/\.a\..*\.tmp: Permission denied; 0 files deleted before it"
    ):
        delete_unused(find_unused(store), store.root)


def test_gc_lists_by_default_and_deletes_on_request(store: Store, bench: Bench) -> None:
    run = stored(store)
    for name in ("a", "b"):
        touch(store.root / f".{name}{TMP}")
    touch(store.root / "notes.txt")
    age(store.root)
    outcome = bench("gc", "--results", store.root)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "temporary file: 2 files, 2 B", f"  .a{TMP}", f"  .b{TMP}", "kept, since not written by bench:", "  notes.txt",
        "2 files, 2 B can be deleted; nothing was deleted: add --delete.",
    ]  # fmt: skip
    assert len(bench("gc", "--results", store.root, "--json").json["unused"]) == 2
    assert bench("gc", "--results", store.root, "--delete").out.splitlines()[-1] == "2 files deleted, 2 B."
    assert bench("gc", "--results", store.root).out.splitlines()[-1] == "nothing to delete."
    assert (store.root / "notes.txt").exists()
    assert store.finished_run(run.run_id) is not None
    assert bench("gc", "--results", store.root / "nothing").code == 2


def test_a_clock_that_is_ahead_does_not_age_claims(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stored(store)
    touch(store.training_path(run.run_id))
    age(store.root)
    touch(store.run_folder(run.run_id) / "claims/train.0.claim")  # of another machine
    now = time.time()
    monkeypatch.setattr("bench.results.unused_files.time.time", lambda: now + 3600)
    found = find_unused(store)
    assert (found.unused, list(found.kept)) == ([], [store.run_folder(run.run_id)])

"""``bench rm``: what it removes, and what it never touches."""

from __future__ import annotations

import dataclasses
import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records import audit_record
from stored_runs import stored, touch, unused

from bench.core.errors import BenchError
from bench.results.garbage import find_unused
from bench.results.store import Store
from bench.results.unused_files import Inventory, delete_unused, remove_folder

Bench = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_run_that_is_a_link_is_not_removed(store: Store, tmp_path: Path) -> None:
    folder = store.run_folder(stored(store).run_id)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match=r"is a link to .*elsewhere"):
        remove_folder(folder, store.root)
    assert (folder / "run.json").exists()


def test_rm_removes_one_run(store: Store, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = stored(store), stored(store, "lpc")
    audit = audit_record(other)
    budget = dataclasses.replace(audit.budgets[0], baseline_run=run.run_id)
    store.write_audit(dataclasses.replace(audit, budgets=(budget,)))
    for answer in ("", "n\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        refused = bench("rm", "tiny:baseline", "--results", store.root)
        assert refused.code == 2
        assert "nothing was removed; answer y, or give --yes" in refused.err
    assert store.read_run(run.run_id) is not None
    outcome = bench("rm", "tiny:baseline", "--results", store.root, "--yes")
    assert outcome.code == 0
    first, *consequences, last = outcome.out.splitlines()
    assert first.startswith(f"run {run.run_id} (tiny:baseline:0): 7 files, ")
    assert consequences == [
        "the audits of 1 run used its adversarial images; these audits stay as they are, and an audit that is repeated "
        "needs the run again for its transfer attack.",
        "1 run can no longer be compared with tiny:baseline.",
    ]
    assert f"'bench leaderboard --results {store.root}' rebuilds them" in last
    assert [record.run_id for record in store.runs()] == [other.run_id]
    assert list(store.root.iterdir()) == [store.root / "runs"]
    assert bench("leaderboard", "--results", store.root).code == 0
    assert "No run is left" in bench("rm", other.run_id, "--results", store.root, "--yes").out
    assert bench("rm", other.run_id, "--results", store.root, "--yes").code == 2


def test_rm_of_a_damaged_run_and_of_a_run_in_use(store: Store, bench: Bench) -> None:
    """A name that leads out of the folder is no run."""
    run, other = stored(store), stored(store, "lpc")
    touch(store.run_folder(other.run_id) / "claims/train.0.claim")
    refused = bench("rm", "tiny:lpc", "--results", store.root, "--yes")
    assert refused.code == 2
    assert "is in use" in refused.err
    (store.run_folder(run.run_id) / "run.json").write_bytes(b"{")
    assert bench("rm", "..", "--results", store.root, "--yes").code == 2
    assert bench("rm", run.run_id, "--results", store.root, "--yes").code == 0
    assert [record.run_id for record in store.runs()] == [other.run_id]


def test_a_removal_that_is_interrupted_leaves_no_half_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stored(store)

    def interrupt(path: Path) -> None:
        (path / "run.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.results.unused_files.shutil.rmtree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(store.run_folder(run.run_id), store.root)
    assert store.runs() == []
    assert set(unused(store).values()) == {"rest of a run that was removed"}
    assert isinstance(find_unused(store), Inventory)
    delete_unused(find_unused(store), store.root)
    assert list(store.root.iterdir()) == [store.root / "runs"]


def rename_across(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Let ``runs`` be on another file system than the results folder."""
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target.parent == root:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)


def test_a_run_on_another_file_system_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = stored(store), stored(store, "lpc")
    rename_across(monkeypatch, store.root)
    remove_folder(store.run_folder(run.run_id), store.root)
    assert [path.name for path in (store.root / "runs").iterdir()] == [other.run_id]
    monkeypatch.setattr("bench.results.unused_files.shutil.rmtree", lambda path: None)  # interrupted
    remove_folder(store.run_folder(other.run_id), store.root)
    assert store.runs() == []
    assert set(unused(store).values()) == {"rest of a run that was removed"}
    delete_unused(find_unused(store), store.root)
    assert not list(store.root.rglob("*.json"))


def test_a_claim_in_the_last_moment_keeps_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stored(store)
    folder, rename = store.run_folder(run.run_id), Path.rename

    def claimed(path: Path, target: Path) -> Path:
        if path == folder:
            touch(folder / "claims/train.0.claim")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", claimed)
    with pytest.raises(BenchError, match="has a claim"):
        remove_folder(folder, store.root)
    assert store.finished_run(run.run_id) is not None
    assert list(store.root.iterdir()) == [store.root / "runs"]


def test_a_process_that_starts_during_the_question_keeps_its_run(
    store: Store, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored(store)

    def agree(*_: object, **__: object) -> bool:
        touch(store.run_folder(run.run_id) / "claims/train.0.claim")
        return True

    monkeypatch.setattr("click.confirm", agree)
    refused = bench("rm", run.run_id, "--results", store.root)
    assert refused.code == 2
    assert "is in use" in refused.err
    assert store.finished_run(run.run_id) is not None

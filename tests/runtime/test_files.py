"""Whole files or none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.runtime.files import check_permission, check_writable, drop_abandoned, write_atomic, write_set


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.csv"
    write_atomic(path, b"old")

    def broken(self: Path, target: Path) -> Path:
        assert self.read_bytes() == b"new content"
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(BenchError, match="Input/output error; earlier results are unchanged"):
        write_atomic(path, b"new content")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"results.csv": b"old"}


def test_the_probe_for_a_writable_folder_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_permission_is_checked_without_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    check_permission(tmp_path / "new" / "folder")
    check_permission(tmp_path)
    for name in ("file", "file/folder", "link", "link/folder"):
        messages = set()
        for check in (check_permission, check_writable):
            with pytest.raises(BenchError) as refused:
                check(tmp_path / name)
            messages.add(str(refused.value).partition(":")[0])
        assert len(messages) == 1, "the same refusal with and without writing"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(BenchError, match="Permission denied; earlier results are unchanged"):
        check_permission(tmp_path / "new" / "folder")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "link"}


def test_devices_and_pipes_are_refused_and_links_are_followed(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(BenchError, match="it is not a regular file"):
            write_atomic(path, b"x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_atomic(tmp_path / "link", b"new", follow_link=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_link_in_a_results_folder_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"content")
    for name in ("results.csv", ".writable"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    write_atomic(tmp_path / "results.csv", b"new")
    check_writable(tmp_path)
    assert (tmp_path / "precious").read_bytes() == b"content"
    assert (tmp_path / "results.csv").read_bytes() == b"new"
    (tmp_path / "folder").symlink_to(tmp_path)
    write_atomic(tmp_path / "folder" / "results.csv", b"newer")
    assert (tmp_path / "results.csv").read_bytes() == b"newer"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_kill_leaves_no_description_of_other_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Such as the record of a cell, which has the hash of its outcomes."""
    places = [tmp_path / name for name in ("outcomes", "images", "record")]
    write_set([(path, b"old") for path in places])
    replace, calls = Path.replace, [0]

    def killed(self: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == step:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_set([(path, b"new") for path in places])
    assert not places[-1].exists()
    assert {path.name for path in tmp_path.iterdir()} == {"outcomes", "images"}
    write_set([(path, b"new") for path in places])
    assert [path.read_bytes() for path in places] == [b"new"] * 3


def test_a_full_disk_changes_no_file_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places, calls = [tmp_path / name for name in ("outcomes", "record")], [0]
    write_set([(path, b"old") for path in places])

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        BenchError, match=r"record: No space left on device; earlier results are unchanged\. Free space"
    ):
        write_set([(path, b"new") for path in places])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"outcomes": b"old", "record": b"old"}


def test_abandoned_files_of_other_users_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder such as /tmp, each user may delete only their own files."""
    monkeypatch.setattr("bench.runtime.files.is_abandoned", lambda token: True)
    (tmp_path / ".results.csv.0a-1-1.x.tmp").touch()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        drop_abandoned(tmp_path)
    drop_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []

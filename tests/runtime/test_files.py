"""Whole files or none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.runtime.files import check_writable, write_atomic


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

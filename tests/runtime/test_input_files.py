"""Only regular files of a possible size are read; everything else is one sentence, at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bounds import bounded
from odd_paths import KINDS, odd_path

from bench.core.errors import BenchError
from bench.core.limits import CONFIG, FileKind
from bench.core.paths import check_path, shown
from bench.runtime import input_files
from bench.runtime.files import check_writable, file_sha
from bench.runtime.input_files import exists, is_file, is_folder, read_input, read_text, resolved

SENTENCES = {
    "too long": "File name too long",
    "long name": "File name too long",
    "NUL": "a path cannot hold a NUL character",
    "loop": "Too many levels of symbolic links",
    "empty": "it is a folder; give a regular file",
    "zero": "it is a device; give a regular file",
    "pipe": "it is a pipe; write its content to a file first",
    "folder": "it is a folder; give a regular file",
    "broken link": "No such file or directory",
    "link to pipe": "it is a pipe; write its content to a file first",
    "closed": "No such file or directory",
    "standard input": "standard input is not read; write its content to a file, and give the file",
    "huge": "it has 10 TB, and at most 1 MB are read; check that it is the right file",
    "not UTF-8": "No such file or directory",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_odd_path_is_one_sentence(kind: str, tmp_path: Path) -> None:
    path = Path(odd_path(kind, tmp_path))
    for read in (lambda: read_input(path, CONFIG), lambda: read_text(path, CONFIG), lambda: file_sha(path, CONFIG)):
        with bounded(seconds=2), pytest.raises(BenchError) as raised:
            read()
        assert str(raised.value) == f"cannot read config {shown(path)}: {SENTENCES[kind]}."


@pytest.mark.parametrize("kind", ["too long", "long name", "NUL", "loop"])
def test_a_path_that_cannot_exist_is_neither_missing_nor_a_traceback(kind: str, tmp_path: Path) -> None:
    path = Path(odd_path(kind, tmp_path))
    for ask in (exists, is_file, is_folder):
        with pytest.raises(BenchError, match="cannot read plugin "):
            ask(path, "plugin")
    with pytest.raises(BenchError, match="cannot use --results "):
        check_path(path, "--results")
    with pytest.raises(BenchError, match="cannot use --results "):
        check_writable(path)


def test_a_path_that_names_nothing_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nothing")
    for path in (tmp_path / "nothing", tmp_path / "file" / "below", tmp_path / "link"):
        assert not exists(path)
        check_path(path)
    assert is_file(tmp_path / "file")
    assert is_folder(tmp_path)
    assert resolved(tmp_path / "link") == resolved(tmp_path) / "nothing"


def test_a_path_leaves_room_for_the_files_below_it() -> None:
    """The system would take it, but not the names of the records in this results folder."""
    check_path(Path("a/" * 1700))
    with pytest.raises(BenchError, match=r"cannot use --results .*: File name too long"):
        check_path(Path("a/" * 1800), "--results")


def test_a_long_path_is_shortened_in_messages() -> None:
    assert shown("x" * 200) == "x" * 200
    assert shown("x" * 9000) == f"{'x' * 100}…{'x' * 100} (9000 characters)"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_bytes_are_counted_not_believed() -> None:
    """Files in /proc state a size of 0, as a file states too little if it grows while it is read."""
    path = Path("/proc/self/status")
    assert path.stat().st_size == 0
    assert b"VmPeak" in read_input(path, CONFIG)
    with pytest.raises(BenchError, match="it has more than 10 bytes, and at most 10 bytes are read"):
        read_input(path, FileKind("config", 10))


def test_a_file_that_is_exchanged_for_a_pipe_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the path and its opening."""
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.touch()
    os.mkfifo(pipe)
    opened = os.open
    monkeypatch.setattr(input_files.os, "open", lambda path, flags: opened(pipe, flags))
    with bounded(seconds=2), pytest.raises(BenchError, match="it is a pipe"):
        read_input(file, CONFIG)


def test_a_regular_file_behind_dev_fd_is_read(tmp_path: Path) -> None:
    """As ``--config /dev/stdin < config.toml`` gives one."""
    path = tmp_path / "c.toml"
    path.write_text("models = []\r\n")
    with path.open() as file:
        assert read_text(Path(f"/dev/fd/{file.fileno()}"), CONFIG) == "models = []\n"


def test_process_substitution_is_one_sentence() -> None:
    reading, writing = os.pipe()
    with bounded(seconds=2), pytest.raises(BenchError, match="it is a pipe; write its content to a file first"):
        read_input(Path(f"/dev/fd/{reading}"), CONFIG)
    os.close(reading)
    os.close(writing)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(mode=0)
    with pytest.raises(BenchError, match="Permission denied"):
        read_input(path, CONFIG)


@pytest.mark.parametrize("kind", ["zero", "pipe", "link to pipe", "huge"])
def test_what_is_not_read_is_not_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening rewinds a tape, and closing a pipe ends the process that writes to it."""
    path = Path(odd_path(kind, tmp_path))
    monkeypatch.setattr(input_files.os, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(BenchError, match="cannot read config"):
        read_input(path, CONFIG)

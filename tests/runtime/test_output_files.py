"""Files that users name are written whole, and nothing else is ever replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bounds import bounded
from odd_paths import KINDS, odd_path

from bench.core.errors import BenchError
from bench.core.paths import shown
from bench.results.store import TRIAL_FOLDERS
from bench.runtime import output_files
from bench.runtime.files import write_atomic
from bench.runtime.output_files import OWN_FILES, append_output, check_output, write_output

REFUSED = {
    "too long": "File name too long",
    "long name": "File name too long",
    "NUL": "a path cannot hold a NUL character",
    "loop": "Too many levels of symbolic links",
    "empty": "it is a folder; name a file",
    "zero": "it is a device; name a file",
    "pipe": "no process reads from this pipe; start the reader first",
    "folder": "it is a folder; name a file",
    "broken link": "it is a link to a file that does not exist; remove the link, or create the file",
    "link to pipe": "no process reads from this pipe; start the reader first",
    "standard input": "name a file, or /dev/stdout for standard output",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_odd_path_is_one_sentence(kind: str, tmp_path: Path) -> None:
    path = Path(odd_path(kind, tmp_path))
    before = sorted(tmp_path.iterdir())
    if kind in ("huge", "not UTF-8"):  # ordinary files
        write_output(path, b"x", "--out")
        assert path.read_bytes() == b"x"
        return
    for write in (write_output, lambda path, content, option: append_output(path, content.decode(), option)):
        with bounded(seconds=2), pytest.raises(BenchError) as raised:
            write(path, b"x", "--out")
        if kind in REFUSED:
            assert str(raised.value).removeprefix("cannot write --out ").removeprefix("cannot use --out ") == (
                f"{shown(path)}: {REFUSED[kind]}."
            )
    assert sorted(tmp_path.iterdir()) == before


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    """``/dev/full`` as the device: it would refuse the bytes, but a rename would replace it."""
    link = tmp_path / "link"
    link.symlink_to("/dev/full")
    for path in (Path("/dev/full"), link):
        with pytest.raises(BenchError, match="it is a device; name a file"):
            write_output(path, b"x", "--junit")
        with pytest.raises(BenchError, match="it is not a regular file"):
            write_atomic(path, b"x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_the_null_device_takes_everything() -> None:
    write_output(Path("/dev/null"), b"x", "--out")
    append_output(Path("/dev/null"), "x", "--summary")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_stdout_is_written_to_also_if_it_is_a_file(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The test's own capture redirects it to a file, which a rename would replace by another."""
    print("first")
    write_output(Path(name), b"second\n", "--out")
    print("third")
    assert capfd.readouterr().out == "first\nsecond\nthird\n"


@pytest.mark.parametrize("size", [3, 1_000_000])
def test_a_pipe_with_a_reader_gets_everything(size: int, tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)

    def drain() -> None:
        with open(descriptor, "rb") as file:
            read.append(file.read())

    reader = threading.Thread(target=drain)
    started = threading.Timer(0.05, reader.start)
    started.start()
    with bounded(seconds=5):
        write_output(pipe, b"x" * size, "--out")
    started.join()
    reader.join()
    assert read == [b"x" * size]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_reader_that_takes_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(output_files, "PATIENCE", 0.1)
    with bounded(seconds=5), pytest.raises(BenchError, match=r"its reader took nothing for 0\.1 s"):
        write_output(pipe, b"x" * 1_000_000, "--out")
    os.close(descriptor)


def test_a_reader_of_stdout_that_takes_nothing_is_given_up() -> None:
    """Stdout waits in a write, unlike a pipe that was opened here."""
    code = (
        "from pathlib import Path\nfrom bench.runtime import output_files\noutput_files.PATIENCE = 0.1\n"
        "output_files.write_output(Path('/dev/stdout'), b'x' * 1_000_000, '--out')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            process.wait(timeout=30)
        finally:
            process.kill()
        assert process.stderr is not None
        assert b"its reader took nothing for 0.1 s" in process.stderr.read()


@pytest.mark.parametrize("name", ["leaderboard.csv", "runs/r/run.json"])
def test_a_hard_link_to_a_file_of_a_results_folder_gets_its_own_content(name: str, tmp_path: Path) -> None:
    owned, other = results_folder(tmp_path) / name, tmp_path / "other.md"
    other.hardlink_to(owned)
    append_output(other, "x", "--summary")
    assert (owned.read_text(), other.read_text()) == ("mine", "mine\nx")
    other.unlink()
    other.hardlink_to(owned)
    write_output(other, b"x", "--out")
    assert (owned.read_text(), other.read_text()) == ("mine", "x")


def test_a_link_stays_and_its_target_is_replaced_whole(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    write_output(link, b"new", "--out")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def results_folder(folder: Path) -> Path:
    """A results folder with one run and one table of each kind."""
    root = folder / "results"
    (root / "runs" / "r" / "cells").mkdir(parents=True)
    for name in (*OWN_FILES, "runs/r/run.json", "runs/r/cells/c.json", "README.md"):
        (root / name).write_text("mine")
    return root


NAMES = ("runs/r/run.json", "runs/r/cells/c.json", "runs/r/cells/new.csv", "runs/new", "corrupted/new")


@pytest.mark.parametrize("name", [*OWN_FILES, *NAMES, *(f"{folder}/c.json" for folder in TRIAL_FOLDERS)])
@pytest.mark.parametrize("way", ["itself", "link", "dots"])
def test_files_of_a_results_folder_are_never_written(name: str, way: str, tmp_path: Path) -> None:
    root = results_folder(tmp_path)
    path = root / name
    if way == "link" and path.exists():
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    elif way == "dots":
        path = root / "runs" / ".." / name
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(BenchError, match=r"it belongs to the results folder .*/results; name a file outside of it"):
        write_output(path, b"x", "--out")
    with pytest.raises(BenchError, match="it belongs to the results folder"):
        append_output(path, "x", "--summary")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_other_files_beside_the_tables_are_written(tmp_path: Path) -> None:
    root = results_folder(tmp_path)
    for name in ("mine.csv", "baselines/main.json", "runs/r/latents-r.png", "README.md"):
        write_output(root / name, b"x", "--out")
        assert (root / name).read_bytes() == b"x"
    write_output(tmp_path / "results.csv", b"x", "--out")  # not in a results folder


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "dots"])
def test_an_input_of_the_same_command_is_never_written(way: str, tmp_path: Path) -> None:
    baseline, other = tmp_path / "baseline.json", tmp_path / "other"
    baseline.write_text("baseline")
    if way == "link":
        other.symlink_to(baseline)
    elif way == "hard link":
        other.hardlink_to(baseline)
    else:
        other = tmp_path / "." / "baseline.json" if way == "itself" else tmp_path / "x" / ".." / "baseline.json"
        (tmp_path / "x").mkdir()
    with pytest.raises(BenchError, match=r"baseline\.json is also another file of the same command; name another file"):
        check_output(other, "--junit", inputs=(None, baseline))
    check_output(tmp_path / "new", "--junit", inputs=(baseline,))
    with pytest.raises(BenchError, match="is also another file of the same command"):
        check_output(tmp_path / "new", "--junit", inputs=(tmp_path / "x" / ".." / "new",))


@pytest.mark.parametrize(("before", "after"), [(None, "x\n"), ("", "x\n"), ("a\n", "a\nx\n"), ("a", "a\nx\n")])
def test_appended_text_begins_on_a_line_of_its_own(before: str | None, after: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "summary.md"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)
    append_output(path, "x\n", "--summary")
    assert path.read_text() == after


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_read_only_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o444)
    with pytest.raises(BenchError, match="it is read-only"):
        write_output(path, b"x", "--out")

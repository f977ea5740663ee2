"""Hashes of files: computed once, remembered only while nothing about the file has changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.data import content_hashes
from bench.data.content_hashes import cache_folder, hash_files

AGO_NS = time.time_ns() - 3600 * 10**9


class Counted:
    """SHA-256 that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, content: bytes) -> str:
        self.calls += 1
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Use a cache of this test, also for small folders and for files that were just written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content_hashes, "SMALLEST_BYTES", 0)
    monkeypatch.setattr(content_hashes, "RECENT_NS", -(10**12))
    return Counted()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    (tmp_path / "images").mkdir()
    paths = [tmp_path / "images" / name for name in ("a", "b")]
    for path in paths:
        path.write_bytes(path.name.encode() * 5)
        os.utime(path, ns=(AGO_NS, AGO_NS))
    return paths


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_files_are_hashed_once(files: list[Path], digest: Counted) -> None:
    for _ in range(3):
        assert hash_files(files, files[0].parent, digest=digest) == ([sha("aaaaa"), sha("bbbbb")], 10)
    assert digest.calls == 2


def swapped(path: Path) -> None:
    path.write_bytes(b"ccccc")


def swapped_in_time(path: Path) -> None:
    """Equal size, modification time and inode."""
    path.write_bytes(b"ccccc")
    os.utime(path, ns=(AGO_NS, AGO_NS))


def replaced(path: Path) -> None:
    """Equal size and modification time."""
    path.with_name("new").write_bytes(b"ccccc")
    os.utime(path.with_name("new"), ns=(AGO_NS, AGO_NS))
    path.with_name("new").replace(path)


def longer(path: Path) -> None:
    path.write_bytes(b"ccccccc")


@pytest.mark.parametrize("change", [swapped, swapped_in_time, replaced, longer])
def test_a_changed_file_is_hashed_again(files: list[Path], digest: Counted, change: Callable[[Path], None]) -> None:
    hash_files(files, files[0].parent, digest=digest)
    time.sleep(0.02)  # longer than the resolution of time stamps
    change(files[1])
    found, _ = hash_files(files, files[0].parent, digest=digest)
    assert found == [sha("aaaaa"), hashlib.sha256(files[1].read_bytes()).hexdigest()]
    assert digest.calls == 3


def test_all_properties_of_a_file_must_agree(files: list[Path], digest: Counted, tmp_path: Path) -> None:
    """Change each number of a remembered entry in turn."""
    hash_files(files[:1], tmp_path, digest=digest)
    (path,) = tmp_path.glob("cache/collapse-bench/hashes/*.json")
    content = json.loads(path.read_text())
    for place in range(5):
        entry = list(content["files"][str(files[0])])
        entry[place] += 1
        changed = {str(files[0]): entry}
        path.write_text(json.dumps({**content, "sha256": content_hashes.fingerprint(changed), "files": changed}))
        before = digest.calls
        hash_files(files[:1], tmp_path, digest=digest)
        assert digest.calls == before + 1


def test_a_recent_file_is_not_remembered(
    files: list[Path], digest: Counted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second change within the resolution of time stamps would not be seen. Its change time is recent."""
    monkeypatch.setattr(content_hashes, "RECENT_NS", 5 * 10**9)
    for _ in range(2):
        hash_files(files, files[0].parent, digest=digest)
    assert digest.calls == 4
    assert not (tmp_path / "cache").exists()


def test_a_small_folder_leaves_nothing(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content_hashes, "RECENT_NS", -(10**12))
    hash_files(files, files[0].parent)
    assert not (tmp_path / "cache").exists()


def test_another_form_or_folder_shares_nothing(files: list[Path], digest: Counted, tmp_path: Path) -> None:
    hash_files(files, tmp_path, digest=digest)
    hash_files(files, tmp_path, digest=digest, form="other")
    hash_files(files, files[0].parent, digest=digest)
    assert digest.calls == 6


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"files": {}, "sha256": ""}', b"[" * 10**5])
def test_a_damaged_cache_is_no_cache(files: list[Path], digest: Counted, tmp_path: Path, content: bytes) -> None:
    hash_files(files, tmp_path, digest=digest)
    (path,) = tmp_path.glob("cache/collapse-bench/hashes/*.json")
    path.write_bytes(content)
    assert hash_files(files, tmp_path, digest=digest)[0] == [sha("aaaaa"), sha("bbbbb")]


def test_a_changed_hash_in_the_cache_is_seen(files: list[Path], digest: Counted, tmp_path: Path) -> None:
    hash_files(files, tmp_path, digest=digest)
    (path,) = tmp_path.glob("cache/collapse-bench/hashes/*.json")
    path.write_text(path.read_text().replace(sha("aaaaa"), sha("bbbbb")))
    assert hash_files(files, tmp_path, digest=digest)[0] == [sha("aaaaa"), sha("bbbbb")]


@pytest.mark.parametrize("place", ["file", "relative", "missing home"])
def test_a_cache_that_cannot_be_written_costs_nothing(
    files: list[Path], digest: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", {"file": str(files[0]), "relative": "cache"}.get(place, ""))
    monkeypatch.setenv("HOME", str(files[0]))
    if place == "missing home":

        def no_home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", no_home)
        assert cache_folder() is None
    for _ in range(2):
        assert hash_files(files, tmp_path, digest=digest)[0] == [sha("aaaaa"), sha("bbbbb")]
    assert digest.calls == 4
    assert not Path("cache").exists()


def test_old_cache_files_are_deleted(files: list[Path], digest: Counted, tmp_path: Path) -> None:
    folder = tmp_path / "cache/collapse-bench/hashes"
    folder.mkdir(parents=True)
    (folder / "old.json").write_text("{}")
    os.utime(folder / "old.json", (0, 0))
    (folder / "new.json").write_text("{}")
    hash_files(files, tmp_path, digest=digest)
    assert not (folder / "old.json").exists()
    assert (folder / "new.json").exists()


def test_a_file_that_changes_while_it_is_read(files: list[Path], digest: Counted, tmp_path: Path) -> None:
    def changing(content: bytes) -> str:
        files[0].write_bytes(b"longer than before")
        return digest(content)

    with pytest.raises(BenchError, match=r"images/a changed while it was read; run again"):
        hash_files(files, tmp_path, digest=changing)


def test_files_that_are_no_files(tmp_path: Path) -> None:
    """A pipe would block for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to("nowhere")
    for name, reason in (
        ("pipe", "it is a pipe"),
        (".", "it is a folder"),
        ("broken", "cannot be read: No such"),
    ):
        with pytest.raises(BenchError, match=reason):
            hash_files([tmp_path / name], tmp_path)


def test_a_cache_file_of_another_kind_is_no_cache(files: list[Path], digest: Counted) -> None:
    hash_files(files, files[0].parent, digest=digest)
    folder = cache_folder()
    assert folder is not None
    (cache,) = folder.glob("*.json")
    with cache.open("wb") as file:
        file.truncate(10**13)  # sparse
    hash_files(files, files[0].parent, digest=digest)
    cache.unlink()
    os.mkfifo(cache)  # would block whoever opens it
    assert hash_files(files, files[0].parent, digest=digest)[0] == [sha("aaaaa"), sha("bbbbb")]
    assert digest.calls == 6

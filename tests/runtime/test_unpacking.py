"""Decompression stops at the limit; no declared size counts."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from bounds import bounded

from bench.core import limits
from bench.core.errors import BenchError
from bench.core.limits import FileKind
from bench.runtime.unpacking import check_zip, gunzip, inflated

KIND = FileKind("checkpoint", 10**9, unpacked=10**9)
PATH = Path("file")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_ALWAYS", 1000)
    monkeypatch.setattr(limits, "UNPACKED_PER_BYTE", 1)


def test_gzip_up_to_the_limit() -> None:
    assert gunzip(gzip.compress(b"x" * 1000), PATH, KIND) == b"x" * 1000
    with pytest.raises(BenchError, match=r"decompresses to more than 1 kB, the limit for a file of its kind and size"):
        gunzip(gzip.compress(b"x" * 1001), PATH, KIND)


def test_gzip_of_several_members_is_counted_together() -> None:
    assert gunzip(gzip.compress(b"x" * 500) * 2, PATH, KIND) == b"x" * 1000
    with pytest.raises(BenchError, match="decompresses to more than"):
        gunzip(gzip.compress(b"x" * 501) + gzip.compress(b"x" * 500), PATH, KIND)


def test_a_gzip_bomb_is_left_at_the_limit() -> None:
    """500 MB in 500 kB; its first bytes suffice."""
    packer, zeros = zlib.compressobj(9, wbits=31), bytes(10**7)
    part = packer.compress(zeros)
    bomb = part + b"".join(packer.compress(zeros) for _ in range(4)) + packer.flush()
    with bounded(seconds=5, growth=64 * 2**20), pytest.raises(BenchError, match="decompresses to more than"):
        gunzip(bomb * 10, PATH, KIND)


DAMAGED = {"cut header": b"\x1f\x8b", "cut end": gzip.compress(b"abc" * 99)[:-9], "zeros": b"\x1f\x8b\x08" + bytes(99)}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_gzip_is_one_sentence(content: bytes) -> None:
    with pytest.raises(BenchError, match="is a damaged gzip file"):
        gunzip(content, PATH, KIND)


def zipped(*contents: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"a/{number}", content)
    return bytearray(buffer.getvalue())


def check(content: bytes) -> None:
    check_zip(io.BytesIO(content), PATH, KIND)


def test_zip_up_to_the_limit() -> None:
    check(zipped(b"x" * 500, b"x" * 500))
    check(zipped(b"x" * 5000, method=zipfile.ZIP_STORED))  # as large as the file
    with pytest.raises(BenchError, match="decompresses to more than 1 kB"):
        check(zipped(b"x" * 501, b"x" * 500))


def with_declared_size(content: bytearray, size: int) -> bytearray:
    """Change the size that the last list entry declares, but not its content."""
    entry = content.rfind(b"PK\1\2")
    content[entry + 24 : entry + 28] = struct.pack("<I", size)
    return content


def test_a_zip_entry_that_declares_too_little_is_damaged() -> None:
    with pytest.raises(BenchError, match="decompresses to more than the declared size; the file is damaged"):
        check(with_declared_size(zipped(b"x" * 900), 10))


def test_a_zip_entry_that_declares_too_much_is_not_allocated() -> None:
    with pytest.raises(BenchError, match="decompresses to more than 1 kB"):
        check(with_declared_size(zipped(b"x" * 900), 2**31))


def test_entries_that_share_their_bytes_are_counted_each() -> None:
    """A list of many entries may point to one place."""
    content = zipped(b"x" * 400)
    start, end = content.rfind(b"PK\1\2"), content.rfind(b"PK\5\6")
    entry, last = content[start:end], content[end:]
    last[8:12], last[12:16] = struct.pack("<HH", 3, 3), struct.pack("<I", 3 * len(entry))
    with pytest.raises(BenchError, match="decompresses to more than"):
        check(content[:start] + entry * 3 + last)


def test_another_method_of_compression_is_refused() -> None:
    """bzip2 and LZMA have larger ratios, and torch reads neither."""
    with pytest.raises(BenchError, match="is compressed by another method than deflate"):
        check(zipped(b"x" * 100, method=zipfile.ZIP_BZIP2))


@pytest.mark.parametrize("large", [False, True])
def test_a_long_list_of_entries_is_not_read(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1 if large else 0xFFFF)  # to write the records for many entries
    content = zipped(*[b""] * 100, method=zipfile.ZIP_STORED)
    assert (b"PK\6\6" in content) == large
    check(content)
    monkeypatch.setattr("bench.runtime.unpacking.ZIP_DIRECTORY", 1000)
    with pytest.raises(BenchError, match="its list of entries has more than 1 kB; save it with fewer entries"):
        check(content)


@pytest.mark.parametrize("content", [b"", b"PK\5\6", b"PK\3\4" + bytes(99), bytes(zipped(b"abc"))[:-5]])
def test_damaged_archives_are_left_to_their_reader(content: bytes) -> None:
    check(content)


def test_inflated_stops_behind_the_limit() -> None:
    packed = zlib.compress(b"x" * 5_000_000)
    assert inflated(io.BytesIO(packed), len(packed), 10**7) == 5_000_000
    assert 10 < inflated(io.BytesIO(packed), len(packed), 10) <= 2**20

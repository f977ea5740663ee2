"""Decompress gzip and zip data up to a limit. Bytes are counted while they are decompressed."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from bench.core.errors import BenchError
from bench.core.limits import ZIP_DIRECTORY, FileKind, in_bytes, unpacked_limit
from bench.core.paths import shown

CHUNK = 1 << 20
END, LOCATED = b"PK\5\6", b"PK\6\7"  # first bytes of the last records of a zip archive
LOCATOR, END64 = 20, 56  # lengths of the records before the last one, in large archives
TAIL = 22 + 65535 + LOCATOR + END64  # the largest distance of these records from the end


def gunzip(raw: bytes, path: Path, kind: FileKind) -> bytes:
    """Decompress gzip data. Raises BenchError for damaged data, and above the limit of ``kind`` after decompression."""
    content, limit = io.BytesIO(), unpacked_limit(kind, len(raw))
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            while part := file.read(CHUNK):
                if content.tell() + len(part) > limit:
                    raise too_large_unpacked(path, kind, limit)
                content.write(part)
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"{shown(path)} is a damaged gzip file ({error}); download it again.") from None
    return content.getvalue()


def check_zip(file: IO[bytes], path: Path, kind: FileKind) -> None:
    """Raise BenchError if the entries of a zip archive exceed the limit of ``kind`` after decompression.

    Entries that are not compressed are as large as they are stored. Others are decompressed and counted. Damaged
    archives are left to their reader.
    """
    size = file.seek(0, io.SEEK_END)
    limit, total = unpacked_limit(kind, size), 0
    if _directory_size(file, size) > ZIP_DIRECTORY:
        raise BenchError(
            f"cannot read {kind.name} {shown(path)}: its list of entries has more than {in_bytes(ZIP_DIRECTORY)}; "
            "save it with fewer entries."
        )
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                total += max(entry.file_size, entry.compress_size)
                if total > limit:
                    raise too_large_unpacked(path, kind, limit)
                if entry.compress_type != zipfile.ZIP_STORED:
                    _count(file, entry, limit, path, kind)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, struct.error):
        return


def inflated(file: IO[bytes], size: int, limit: int, *, wbits: int = zlib.MAX_WBITS) -> int:
    """Decompress ``size`` bytes of a file and return the number of bytes; a number above ``limit`` if they are more.

    Raises zlib.error for damaged data.
    """
    unpacker, total = zlib.decompressobj(wbits), 0
    while size > 0 and not unpacker.eof and (part := file.read(min(size, CHUNK))):
        size -= len(part)
        while part and not unpacker.eof:
            total += len(unpacker.decompress(part, CHUNK))
            if total > limit:
                return total
            part = unpacker.unconsumed_tail
    return total


def too_large_unpacked(path: Path, kind: FileKind, limit: int) -> BenchError:
    """Return the error for a file that decompresses to more than ``limit`` bytes."""
    return BenchError(
        f"cannot read {kind.name} {shown(path)}: it decompresses to more than {in_bytes(limit)}, the limit for a "
        "file of its kind and size; check that it is the right file, or download it again."
    )


def _count(file: IO[bytes], entry: zipfile.ZipInfo, limit: int, path: Path, kind: FileKind) -> None:
    """Raise BenchError unless a compressed entry has its declared size, and a size within the limit.

    Readers of torch allocate the declared size, and decompress at most this number of bytes.
    """
    file.seek(entry.header_offset)
    header = file.read(30)
    if len(header) < 30:
        return
    name, extra = struct.unpack("<HH", header[26:30])
    file.seek(name + extra, io.SEEK_CUR)
    if entry.compress_type != zipfile.ZIP_DEFLATED:
        raise BenchError(
            f"cannot read {kind.name} {shown(path)}: its entry {shown(entry.filename)!r} is compressed by another "
            "method than deflate; save it again without compression."
        )
    try:
        if inflated(file, entry.compress_size, min(limit, entry.file_size), wbits=-zlib.MAX_WBITS) > entry.file_size:
            raise BenchError(
                f"cannot read {kind.name} {shown(path)}: its entry {shown(entry.filename)!r} decompresses to more than "
                "the declared size; the file is damaged: download it again."
            )
    except zlib.error:
        return  # damaged; the reader raises the error


def _directory_size(file: IO[bytes], size: int) -> int:
    """Return the size in bytes of the list of entries, as zipfile reads it; 0 if it is missing."""
    file.seek(max(0, size - TAIL))
    tail = file.read(TAIL)
    end = tail.rfind(END)
    if end < 0:
        return 0
    end64 = end - LOCATOR - END64  # of the record for large archives
    is_large = end64 >= 0 and tail.startswith(LOCATED, end - LOCATOR)
    place = slice(end64 + 40, end64 + 48) if is_large else slice(end + 12, end + 16)
    return int.from_bytes(tail[place], "little")

"""Seal files by a hash of their own content.

A seal detects damage and careless edits: a flipped bit, a lost line, a number changed in an editor. It is no signature.
Anyone who edits a file on purpose can compute a new seal.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Mapping
from typing import Any

from bench.core.specs import fingerprint

HASH = 32  # bytes of a SHA-256
SEAL = "seal"  # field of a record with the seal of its other fields


def seal_of(content: Mapping[str, Any], field: str = SEAL) -> str:
    """Return the SHA-256, as hex, of ``content`` (JSON data) in canonical JSON. ``field`` counts as empty."""
    return fingerprint({**content, field: ""})


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``content`` with its seal as the last field."""
    return {**{name: value for name, value in content.items() if name != SEAL}, SEAL: seal_of(content)}


def seal_problem(content: Mapping[str, Any]) -> str:
    """Return why the seal of ``content`` is not right, as a clause; empty if it is right."""
    if SEAL not in content:
        return "it has no seal"
    if content[SEAL] != seal_of(content):
        return "its seal does not match its content, so it was damaged or edited"
    return ""


def sha_of(content: bytes) -> str:
    """Return the SHA-256 of ``content`` as hex."""
    return hashlib.sha256(content).hexdigest()


def with_hash(content: bytes, owner: str) -> bytes:
    """Return ``content`` followed by the SHA-256, 32 bytes, of the id of its ``owner`` and of ``content``."""
    return content + _hash_of(content, owner)


def without_hash(content: bytes, owner: str) -> bytes | None:
    """Return what :func:`with_hash` was called with.

    Return None if the content does not have the hash at its end: it was damaged, or belongs to another owner.
    """
    inner, digest = content[:-HASH], content[-HASH:]
    return inner if _hash_of(inner, owner) == digest else None


def _hash_of(content: bytes, owner: str) -> bytes:
    digest = hashlib.sha256(f"{owner}:".encode())
    digest.update(content)
    return digest.digest()


def as_written(content: bytes, sha: str) -> bytes | None:
    """Return a text file as it was written, with the SHA-256 ``sha``; None if its text was changed.

    Editors and git may add a byte order mark, and may change LF to CRLF line ends. Both are undone.
    """
    plain = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
    return next((text for text in (content, plain) if sha_of(text) == sha), None)

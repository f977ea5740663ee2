"""Fetching official files: torchvision knows the addresses and the checksums."""

from __future__ import annotations

import socket
from http.client import HTTPException
from pathlib import Path

#: What a download may end in: no network, a full disk, a wrong checksum, an odd answer.
FAILURES = (OSError, RuntimeError, ValueError, HTTPException)

#: Seconds without a byte before a connection counts as dead; the default is to wait for ever.
TIMEOUT = 20.0


def download(class_name: str, root: Path) -> None:
    """Let ``torchvision.datasets.<class_name>`` put its files under ``root``. Raises one of FAILURES."""
    from torchvision import datasets

    options = [{"split": "train"}, {"split": "test"}] if class_name == "SVHN" else [{}]
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        for option in options:
            getattr(datasets, class_name)(root=str(root), download=True, **option)
    finally:
        socket.setdefaulttimeout(previous)

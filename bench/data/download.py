"""Download official files by torchvision, which has the addresses and verifies the checksums."""

from __future__ import annotations

import socket
from http.client import HTTPException
from pathlib import Path

#: Exceptions of a failed download: no network, a full disk, a wrong checksum, an invalid response.
FAILURES = (OSError, RuntimeError, ValueError, HTTPException)

#: Time limit in seconds without data, after which a connection fails. Python has no limit by default.
TIMEOUT = 20.0


def download(class_name: str, root: Path) -> None:
    """Download the files of ``torchvision.datasets.<class_name>`` to ``root``. Raises one of FAILURES."""
    from torchvision import datasets

    options = [{"split": "train"}, {"split": "test"}] if class_name == "SVHN" else [{}]
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        for option in options:
            getattr(datasets, class_name)(root=str(root), download=True, **option)
    finally:
        socket.setdefaulttimeout(previous)

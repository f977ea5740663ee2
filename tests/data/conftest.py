"""No test of this folder touches the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.data import download


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """Record the downloads that were tried and their folders; every download fails as it does offline."""
    asked: list[tuple[str, Path]] = []

    def refuse(class_name: str, root: Path) -> None:
        asked.append((class_name, root))
        raise OSError("no network")

    monkeypatch.setattr(download, "download", refuse)
    return asked

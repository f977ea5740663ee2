"""Fixtures of runs from end to end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Bench = Callable[..., Any]


@pytest.fixture
def run(bench: Bench, plugin: Path, tmp_path: Path) -> Bench:
    """``bench run`` of the tiny model on a few digits, into a folder of the test's own."""

    def call(*arguments: object, results: Path = tmp_path / "out") -> Any:
        defaults = ["--models", "tiny", "--plugin", plugin, "--limit", "60", "--epochs", "2", "--eps", "0.1"]
        return bench("run", *defaults, "--results", results, *arguments)

    return call

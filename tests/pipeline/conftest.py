"""A finished results folder that the tests of ``bench run`` share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny_runs import FINISHED

from bench.cli import invoke


@pytest.fixture(scope="session")
def finished(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of ``bench run`` with the options FINISHED. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    arguments = ("run", "--models", "tiny", "--plugin", plugin, "--limit", 60, "--epochs", 2, *FINISHED)
    more = ("--corruptions", "none", "--audit", "none", "--results", folder)
    assert invoke([str(argument) for argument in (*arguments, *more)]) == 0
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of that folder where the fixture ``run`` writes to."""
    return shutil.copytree(finished, tmp_path / "out")

"""A project with robustness tests, as somebody would copy it from the example."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bench.gate.regression  # noqa: F401  # imports torch: an inner session would unload it, and torch aborts when loaded again

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_model"
SLOW_PLUGINS = ("hypothesispytest", "anyio", "benchmark")  # an inner session would import them anew


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The files of the example in an empty folder; ``runpytest`` runs in this process, so that imports cost nothing."""
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, pytester.path / file.name)
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in SLOW_PLUGINS))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.syspath_prepend(pytester.path)
    return pytester

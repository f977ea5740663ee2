"""A project with robustness tests, as somebody would copy it from the example."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bench.api import evaluate

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "own_model"
SLOW_PLUGINS = ("hypothesispytest", "anyio", "benchmark")  # an inner session would import them anew


@pytest.fixture(scope="session")
def imports() -> None:
    """Import all that an evaluation needs: each inner session would import it anew, and torch aborts then."""
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    for backend in ("native", "reference"):
        evaluate(
            network, name="n", dataset="digits", attacks="fgsm", eps="0.1", attack_backend=backend, limit=2,
            corruptions="none", audit="none",
        )  # fmt: skip
    import bench.gate.regression  # noqa: F401


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, imports: None) -> pytest.Pytester:
    """The files of the example in an empty folder; ``runpytest`` runs in this process, so that imports cost nothing."""
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, pytester.path / file.name)
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in SLOW_PLUGINS))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    monkeypatch.syspath_prepend(pytester.path)
    return pytester

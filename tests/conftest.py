"""Shared fixtures: a tiny model brought by a plug-in, a small data set, and a way to call the command line."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from helpers import TINY_PLUGIN

from bench.cli import invoke

pytest_plugins = ["pytester"]

hypothesis.settings.register_profile("no deadline", deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("no deadline")

torch.set_num_threads(1)  # the models of most tests are too small to share


def pytest_collection_finish() -> None:
    """Exempt all imported modules from garbage collection.

    statsmodels collects garbage in every correction for multiple testing, so that writing tables
    would take three times as long.
    """
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let the interpreter free the modules when it ends."""
    gc.unfreeze()


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the command line in this process; ``run`` without corruptions and audit unless they are asked for."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        texts = [str(argument) for argument in arguments]
        if texts[0] == "run" and "--corruptions" not in texts:
            texts += ["--corruptions", "none"]
        if texts[0] == "run" and "--audit" not in texts:
            texts += ["--audit", "none"]
        code = invoke(texts)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plug-in file that registers the model ``tiny``, misbehaving attacks and variants; loaded once a session."""
    path = tmp_path_factory.mktemp("plugin") / "tiny_plugin.py"
    path.write_text(TINY_PLUGIN)
    return path


@pytest.fixture
def run(bench: Callable[..., Any], plugin: Path, tmp_path: Path) -> Callable[..., Any]:
    """``bench run`` of the tiny model on a few digits, into a folder of the test's own."""

    def call(*arguments: object, results: Path = tmp_path / "out") -> Any:
        defaults = ["--models", "tiny", "--plugin", plugin, "--limit", "60", "--epochs", "2", "--eps", "0.1"]
        return bench("run", *defaults, "--results", results, *arguments)

    return call

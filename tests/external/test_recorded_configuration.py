"""``bench.evaluate`` records its configuration where a file can name what was evaluated."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_training import ARCHITECTURE, Plain
from torch import nn

from bench.api import evaluate
from bench.core.errors import BenchError

MODEL = ("--model", ARCHITECTURE)
Call = Callable[..., Any]


def test_the_python_api_records_the_configuration_of_the_command_line(
    evaluate_cli: Call, bench: Call, plain: Plain, tmp_path: Path
) -> None:
    path, out = plain.files["plain", 0], tmp_path / "python"
    evaluate_cli(path, *MODEL, "--results", tmp_path / "cli")
    recorded = tomllib.loads((tmp_path / "cli" / "evaluate.toml").read_text())
    options = {key.replace("-", "_"): value for key, value in recorded.items() if key != "networks"}
    evaluate(path, model=ARCHITECTURE, results=out, **options)
    assert (out / "evaluate.toml").read_bytes() == (tmp_path / "cli" / "evaluate.toml").read_bytes()
    again = bench("evaluate", "--config", out / "evaluate.toml", "--results", out)
    assert "0 of 2 cells computed, 2 already stored" in again.err


@pytest.mark.parametrize("what", ["module", "data set"])
def test_what_no_file_can_name_is_not_recorded(plain: Plain, what: str, tmp_path: Path) -> None:
    """A record with the default data set, or without the network, would evaluate something else."""
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    options: dict[str, Any] = {"attacks": "none", "corruptions": "none", "results": tmp_path, "audit": "none"}
    if what == "module":
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), name="mine", limit=20, **options)
    else:
        evaluate(plain.files["plain", 0], model=ARCHITECTURE, dataset=images, trust_normalization=True, **options)
    assert (tmp_path / "results.csv").exists()
    assert not (tmp_path / "evaluate.toml").exists()


def test_the_python_api_refuses_an_unknown_reference_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="--against 'lpc': no run of this variant"):
        evaluate(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), name="mine", against="lpc", results=tmp_path)
    assert not list(tmp_path.iterdir())

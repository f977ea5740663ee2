"""The number of epochs that fits into --train-budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.seals import sealed
from bench.core.specs import TrainSpec
from bench.job import Job
from bench.training import epoch_trial

SECONDS = {"baseline": 0.01, "pgd_at": 0.1, "lpc": 0.02}  # per step; an epoch of 1297 digits has 40 steps of 32


BOTH = ("baseline", "pgd_at")


def job(folder: Path, budget: str | None = "20s", variants: tuple[str, ...] = BOTH, **more: Any) -> Job:
    options = {"models": ("resnet10t",), "corruptions": ("none",), "attacks": ("none",), **more}
    return Job.of(RunConfig(variants=variants, train_budget=budget, results=folder, **options))


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the measured times by SECONDS. Return the variants that were tried."""
    seen: list[str] = []

    def measured(spec: TrainSpec, _: object) -> float | None:
        seen.append(spec.variant)
        return SECONDS.get(spec.variant)

    monkeypatch.setattr(epoch_trial, "_seconds_per_step", measured)
    return seen


def epochs(found: Job) -> set[int]:
    return {run.train.recipe.epochs for run in found.plan}


def test_the_slowest_variant_decides_for_all(trials: list[str], tmp_path: Path) -> None:
    """90 % of 20 s, 4 s per epoch of pgd_at: 4 epochs."""
    assert epochs(job(tmp_path)) == {4}
    assert epochs(job(tmp_path)) == {4}
    assert trials == ["baseline", "pgd_at"]
    (stored,) = (tmp_path / "epochs").iterdir()
    assert json.loads(stored.read_text())["seconds_per_epoch"] == {"baseline": 0.4, "pgd_at": 4.0}


def test_the_order_of_the_variants_does_not_matter(trials: list[str], tmp_path: Path) -> None:
    job(tmp_path)
    trials.clear()
    assert epochs(job(tmp_path, variants=BOTH[::-1])) == {4}
    assert trials == []


def test_at_least_one_epoch_and_at_most_those_of_the_recipe(
    trials: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert epochs(job(tmp_path, "1s")) == {1}
    assert "does not fit into --train-budget" in capsys.readouterr().err
    assert epochs(job(tmp_path, "2h")) == epochs(job(tmp_path, None)) == {8}
    assert epochs(job(tmp_path, "2h", epochs=3)) == {3}


def test_a_variant_that_cannot_be_trained_does_not_decide(trials: list[str], tmp_path: Path) -> None:
    assert epochs(job(tmp_path, variants=("baseline", "pgd_at", "trades"))) == {4}
    assert epochs(job(tmp_path, variants=("trades",))) == {8}


def test_a_damaged_choice_is_refused(trials: list[str], tmp_path: Path) -> None:
    job(tmp_path)
    (stored,) = (tmp_path / "epochs").iterdir()
    stored.write_text(stored.read_text().replace('"epochs": 4', '"epochs": 5'))
    with pytest.raises(BenchError, match="damaged"):
        job(tmp_path)
    stored.write_text(json.dumps(sealed({"case": stored.stem})))
    with pytest.raises(BenchError, match="no choice of epochs"):
        job(tmp_path)


@pytest.mark.parametrize("budget", ["10", "-1m", "0s", "soon"])
def test_a_budget_that_is_no_duration_is_refused(tmp_path: Path, budget: str) -> None:
    with pytest.raises(BenchError, match="no duration"):
        job(tmp_path, budget)


def test_real_steps_are_timed(tmp_path: Path) -> None:
    found = job(tmp_path, "2h", limit=200)
    assert epochs(found) == {8}
    (stored,) = (tmp_path / "epochs").iterdir()
    seconds = json.loads(stored.read_text())["seconds_per_epoch"]
    assert 0 < seconds["baseline"] < seconds["pgd_at"]

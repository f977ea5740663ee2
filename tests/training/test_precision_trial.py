"""The choice of the floating-point type of a training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config import RunConfig
from bench.core.errors import BenchError
from bench.core.seals import sealed
from bench.core.specs import DataSpec, ModelSpec, Recipe
from bench.job import Job
from bench.planning.plan import Request
from bench.runtime.progress import Progress
from bench.training import precision_trial, stored_trial
from bench.training.precision_trial import Case, choose_precisions, measure

RATES = {"fp32": 100.0, "bf16": 150.0}


def request(model: str = "resnet10t") -> Request:
    return Request(
        models=[ModelSpec(name=model)], variants={}, attacks=(), norm="linf", eps=(), seeds=(0,),
        data=DataSpec(name="d", train_sha="", num_classes=3, image_size=8), test_sha="", test_size=1,
        recipe=Recipe(epochs=1, batch_size=8),
    )  # fmt: skip


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Replace the trial by fixed rates, and the hardware by one with bfloat16. Return the cases that were tried."""
    seen: list[Case] = []

    def measured(case: Case, *_: object) -> dict[str, float]:
        seen.append(case)
        return RATES

    monkeypatch.setattr(precision_trial, "measure", measured)
    monkeypatch.setattr(precision_trial, "has_bfloat16", lambda device: True)
    return seen


def test_the_faster_type_is_chosen_once_per_folder(trials: list[Case], tmp_path: Path) -> None:
    for _ in range(2):
        assert choose_precisions(request(), "cpu", tmp_path, Progress()) == {"resnet10t": "bf16"}
    assert trials == [Case("resnet10t", 8, 8)]
    (stored,) = (tmp_path / "precision").iterdir()
    assert json.loads(stored.read_text())["images_per_s"] == RATES


def test_an_edited_choice_is_refused(trials: list[Case], tmp_path: Path) -> None:
    choose_precisions(request(), "cpu", tmp_path, Progress())
    (stored,) = (tmp_path / "precision").iterdir()
    stored.write_text(stored.read_text().replace('"bf16"', '"fp32"', 1))
    with pytest.raises(BenchError, match="damaged"):
        choose_precisions(request(), "cpu", tmp_path, Progress())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"precision": "bf16"}'])
def test_a_damaged_choice_is_one_sentence(trials: list[Case], tmp_path: Path, content: str) -> None:
    choose_precisions(request(), "cpu", tmp_path, Progress())
    (stored,) = (tmp_path / "precision").iterdir()
    stored.write_text(content)
    with pytest.raises(BenchError, match="damaged"):
        choose_precisions(request(), "cpu", tmp_path, Progress())


@pytest.mark.parametrize(
    "change", [{"model": "resnet50"}, {"precision": "fp16"}, {"precision": ["fp32"]}, {"precision": None}]
)
def test_the_choice_of_another_training_is_refused(
    trials: list[Case], tmp_path: Path, change: dict[str, object]
) -> None:
    choose_precisions(request(), "cpu", tmp_path, Progress())
    (stored,) = (tmp_path / "precision").iterdir()
    content = {key: value for key, value in {**json.loads(stored.read_text()), **change}.items() if value is not None}
    stored.write_text(json.dumps(sealed(content)))
    with pytest.raises(BenchError, match=r"no choice of a precision for resnet10t|outcome of another trial"):
        choose_precisions(request(), "cpu", tmp_path, Progress())


def test_a_stored_choice_is_read_without_writing(
    trials: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_precisions(request(), "cpu", tmp_path, Progress())
    monkeypatch.setattr(stored_trial, "CLAIMS", None)
    assert choose_precisions(request(), "cpu", tmp_path, Progress()) == {"resnet10t": "bf16"}


@pytest.mark.parametrize("first_has_bfloat16", [True, False])
def test_a_folder_keeps_its_choice_on_other_hardware(
    trials: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_has_bfloat16: bool
) -> None:
    """Otherwise the same command trains all networks again on another machine, in another type."""
    for has_it in (first_has_bfloat16, not first_has_bfloat16):
        monkeypatch.setattr(precision_trial, "has_bfloat16", lambda device, has_it=has_it: has_it)
        chosen = choose_precisions(request(), "cpu", tmp_path, Progress())
        assert chosen == {"resnet10t": "bf16" if first_has_bfloat16 else "fp32"}
    assert len(trials) == first_has_bfloat16


def test_a_folder_keeps_its_choice_on_another_device(
    trials: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(precision_trial, "choose_device", lambda name: torch.device(name))
        assert choose_precisions(request(), device, tmp_path, Progress()) == {"resnet10t": "bf16"}
    assert len(trials) == 1


def test_a_model_that_cannot_be_built_is_left_to_its_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(precision_trial, "has_bfloat16", lambda device: True)
    assert choose_precisions(request("no_such_model"), "cpu", tmp_path, Progress()) == {"no_such_model": "fp32"}
    assert not (tmp_path / "precision").exists()


def test_a_trial_measures_both_types_and_leaves_the_generator() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    rates = measure(Case("resnet10t", 8, 4), 3, torch.device("cpu"))
    assert set(rates) == {"fp32", "bf16"}
    assert all(rate > 0 for rate in rates.values())
    assert torch.equal(torch.get_rng_state(), state)


def test_only_long_trainings_are_tried(trials: list[Case], tmp_path: Path) -> None:
    """1297 digits in batches of 32: 9 epochs have 360 steps, 10 have 400."""

    def planned(epochs: int, precision: str = "auto", recipe: str = "auto") -> str:
        config = RunConfig(
            models=("resnet10t",), epochs=epochs, train_precision=precision, results=tmp_path, corruptions=("none",),
            attacks=("none",), recipe=recipe,
        )  # fmt: skip
        return Job.of(config).plan[0].train.recipe.precision

    assert planned(9) == "fp32"
    assert not trials
    assert planned(10) == "bf16"
    assert planned(10, "fp32") == "fp32"
    assert planned(800, recipe="paper-svhn") == "fp32"  # as the authors
    assert len(trials) == 1


def test_no_trial_begins_after_the_time_budget(
    trials: list[Case], bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget begins before the plan, whose trials may take longer."""

    def slow(case: Case, *_: object) -> dict[str, float]:
        trials.append(case)
        time.sleep(1.1)
        return RATES

    monkeypatch.setattr(precision_trial, "measure", slow)
    options = ("--epochs", "10", "--attacks", "none", "--time-budget", "1s", "--results", tmp_path / "out")
    outcome = bench("run", "--models", "resnet10t,resnet18", *options)
    assert (outcome.code, "stopped by the time budget of 1s" in outcome.err) == (0, True)
    assert [case.model for case in trials] == ["resnet10t"]
    assert len([*(tmp_path / "out/precision").iterdir()]) == 1


def test_a_dry_run_writes_no_choice(trials: list[Case], bench: Callable[..., Any], tmp_path: Path) -> None:
    options = ("--models", "resnet10t", "--epochs", "10", "--attacks", "none", "--results", tmp_path / "out")
    assert bench("run", "--dry-run", *options).code == 0
    assert len(trials) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), ValueError("bad"), SystemExit(0)])
def test_a_trial_that_fails_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException
) -> None:
    """Otherwise a repeated command could choose another type and train again."""

    def fails(*_: object) -> dict[str, float]:
        raise error

    monkeypatch.setattr(precision_trial, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision_trial, "measure", fails)
    assert choose_precisions(request(), "cpu", tmp_path, Progress()) == {"resnet10t": "fp32"}
    monkeypatch.setattr(precision_trial, "measure", lambda *_: RATES)
    assert choose_precisions(request(), "cpu", tmp_path, Progress()) == {"resnet10t": "fp32"}


def test_the_choice_of_a_process_that_was_faster_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another process stores its choice while this one waits for the claim."""
    monkeypatch.setattr(precision_trial, "has_bfloat16", lambda device: True)
    monkeypatch.setattr(precision_trial, "measure", lambda *_: RATES)
    real = stored_trial.CLAIMS.wait_for

    def faster(folder: Path, name: str) -> Any:
        monkeypatch.setattr(stored_trial.CLAIMS, "wait_for", real)
        monkeypatch.setattr(precision_trial, "measure", lambda *_: {"fp32": 2.0, "bf16": 1.0})
        choose_precisions(request(), "cpu", tmp_path, Progress())
        monkeypatch.setattr(precision_trial, "measure", lambda *_: RATES)
        return real(folder, name)

    monkeypatch.setattr(stored_trial.CLAIMS, "wait_for", faster)
    assert choose_precisions(request(), "cpu", tmp_path, Progress()) == {"resnet10t": "fp32"}

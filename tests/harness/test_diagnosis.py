"""From trained weights to the diagnosis in the row: what is measured, kept, shown, and what becomes of a failure."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from bench.core.vocabulary import COLLAPSE_COLUMNS, DIAGNOSTIC_COLUMNS, STEEPNESS_COLUMNS
from bench.data import load_dataset
from bench.data.registry import DataRequest
from bench.diagnosis import _measure
from bench.diagnostics.registry import DIAGNOSTICS
from bench.progress import Progress
from bench.store import Store
from bench.workshop import Workshop
from models.classifier import Classifier, Normalize


@pytest.fixture
def run(bench: Callable[..., Any], plugin: Path, tmp_path: Path) -> Callable[..., Any]:
    def call(*more: object) -> Any:
        arguments = ("--plugin", plugin, "--models", "tiny", "--attacks", "none", "--epochs", "2", "--limit", "60")
        return bench("run", *arguments, "--results", tmp_path, "--json", *more)

    return call


def test_every_diagnostic_has_its_column_and_says_whether_it_is_invariant() -> None:
    assert set(COLLAPSE_COLUMNS) == {f"collapse_{name}" for name in DIAGNOSTICS}
    for name in DIAGNOSTICS:
        assert COLLAPSE_COLUMNS[f"collapse_{name}"].endswith("invariant") == DIAGNOSTICS.get(name).invariant
    assert all("invariant" in meaning for meaning in STEEPNESS_COLUMNS.values())


def test_every_run_is_diagnosed_and_its_rows_say_what_was_found(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("--variants", "baseline,lpc").code == 0
    table = pd.read_csv(tmp_path / "results.csv")
    assert list(table.columns[-len(DIAGNOSTIC_COLUMNS) :]) == list(DIAGNOSTIC_COLUMNS)
    assert table["collapse_nc1"].notna().all()
    store = Store(tmp_path)
    for row in table.itertuples():
        record = store.read_diagnosis(str(row.run_id))
        assert record is not None
        assert record.images == {"test": 500, "train": 60, "gradient": 500, "deepfool": 100}
        assert set(record.values) == set(DIAGNOSTIC_COLUMNS)
        assert row.collapse_nc1 == pytest.approx(record.values["collapse_nc1"])
        assert all((value is None) == (column in record.undefined) for column, value in record.values.items())


def test_a_second_run_measures_nothing_and_a_lost_diagnosis_only_itself(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    run("--variants", "lpc")
    assert "nothing to do" in run("--variants", "lpc").err
    before = (tmp_path / "results.csv").read_bytes()
    (path,) = tmp_path.glob("runs/*/diagnosis.json")
    path.unlink()
    again = run("--variants", "lpc")
    assert "1 runs diagnosed" in again.err
    assert again.json["trained"] == again.json["evaluated"] == 0
    assert (tmp_path / "results.csv").read_bytes() == before


def test_without_diagnosis_the_columns_are_empty(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("--variants", "baseline", "--no-diagnose").code == 0
    assert pd.read_csv(tmp_path / "results.csv")["collapse_nc1"].isna().all()


def test_a_diagnosis_that_fails_is_recorded_and_the_others_go_on(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise ValueError("no such thing")

    monkeypatch.setattr("bench.diagnosis.deepfool_scores", broken)
    outcome = run("--variants", "baseline,lpc")
    assert outcome.code == 3
    assert len(outcome.json["bad"]) == 2
    assert "diagnosis_error: ValueError: no such thing" in outcome.err
    assert outcome.json["evaluated"] == 2
    monkeypatch.undo()
    assert run("--variants", "baseline,lpc").code == 0


def test_diagnose_prints_the_table_and_measures_only_once(
    run: Callable[..., Any], bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    run("--variants", "lpc", "--no-diagnose")
    arguments = ("diagnose", "tiny:lpc", "--results", tmp_path, "--plugin", plugin)
    first = bench(*arguments)
    assert first.code == 0
    for column in (*COLLAPSE_COLUMNS, *STEEPNESS_COLUMNS):
        assert f"| {column} " in first.out
    record = bench(*arguments, "--json").json
    assert bench(*arguments, "--json").json["created"] == record["created"]
    assert bench(*arguments, "--json", "--force").json["values"] == record["values"]


def test_a_diagnosis_of_other_weights_is_no_answer(run: Callable[..., Any], tmp_path: Path) -> None:
    run("--variants", "lpc")
    (path,) = tmp_path.glob("runs/*/diagnosis.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "weights_sha": "0" * 64}))
    assert Store(tmp_path).read_diagnosis(content["run_id"]) is None


def test_a_run_without_weights_is_not_diagnosed(
    run: Callable[..., Any], bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    run("--variants", "lpc", "--no-diagnose")
    next(tmp_path.glob("runs/*/weights.safetensors")).unlink()
    outcome = bench("diagnose", "tiny:lpc", "--results", tmp_path, "--plugin", plugin)
    assert outcome.code == 2
    assert "has no weights" in outcome.err
    assert bench("diagnose", "tiny:nothing", "--results", tmp_path, "--plugin", plugin).code == 2


def scaled(model: Classifier, factor: float) -> Classifier:
    """The same network with z → c·z and W → W/c."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.mul_(factor)
        other.output.get_parameter("weight").div_(factor)
    return other


@pytest.mark.parametrize("factor", [2.0**10, 2.0**-10])
def test_what_claims_to_be_invariant_is(factor: float) -> None:
    """On a network with a linear penultimate layer; the mean norm, which does not claim it, changes by the factor."""
    torch.manual_seed(0)
    dataset = load_dataset("digits", DataRequest())
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU())
    model = Classifier(Normalize((0.3,) * 3, (0.4,) * 3), backbone, nn.Linear(32, 6), nn.Linear(6, 10)).eval()
    shop = Workshop(dataset=dataset, store=Store(Path()), device=torch.device("cpu"), progress=Progress())
    before, after = (_measure(m, 300, shop, {}) for m in (model, scaled(model, factor)))
    assert set(before) == set(DIAGNOSTIC_COLUMNS)
    for column, meaning in DIAGNOSTIC_COLUMNS.items():
        expected = before[column].value * (1 if "invariant" in meaning else factor)
        assert after[column].value == pytest.approx(expected, rel=1e-3), column


def test_plot_writes_both_files(
    run: Callable[..., Any], bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    run("--variants", "lpc", "--no-diagnose")
    outcome = bench("plot", "latents", "tiny:lpc", "--results", tmp_path, "--plugin", plugin, "--out", tmp_path / "f")
    assert outcome.code == 0
    files = [Path(line) for line in outcome.out.split()]
    assert [path.suffix for path in files] == [".png", ".svg"]
    assert all(path.stat().st_size > 1000 for path in files)

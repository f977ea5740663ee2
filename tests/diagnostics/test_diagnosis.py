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

from bench.context import RunContext
from bench.core.columns import (
    AUDIT_COLUMNS,
    COLLAPSE_COLUMNS,
    COUNT_COLUMNS,
    DIAGNOSTIC_COLUMNS,
    INTERVAL_COLUMNS,
    INTERVAL_SUFFIXES,
    TEST_IMAGE_COLUMNS,
)
from bench.data import load_dataset
from bench.data.registry import DataRequest
from bench.diagnostics.deepfool_score import deepfool_scores
from bench.diagnostics.diagnose import _measure
from bench.diagnostics.latents import Latents
from bench.diagnostics.lipschitz import head_lipschitz
from bench.diagnostics.local import local_sensitivity
from bench.diagnostics.nearest_distance import nearest_scores
from bench.diagnostics.registry import DIAGNOSTICS, diagnose_latents
from bench.models.classifier import Classifier, Normalize
from bench.models.outputs import CosineOutput
from bench.results.store import Store
from bench.runtime.progress import Progress

ENDS = {"": "value", "_lo": "low", "_hi": "high"}  # suffix of a column, part of an estimate


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
    assert all("invariant" in meaning for meaning in TEST_IMAGE_COLUMNS.values())
    assert set(INTERVAL_COLUMNS) <= set(TEST_IMAGE_COLUMNS)


def test_every_run_is_diagnosed_and_its_rows_say_what_was_found(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run("--variants", "baseline,lpc").code == 0
    table = pd.read_csv(tmp_path / "results.csv")
    behind = [*DIAGNOSTIC_COLUMNS, *AUDIT_COLUMNS]
    assert list(table.columns[-len(behind) :]) == behind
    assert table["collapse_nc1"].notna().all()
    store = Store(tmp_path)
    for row in table.itertuples():
        record = store.read_diagnosis(str(row.run_id))
        assert record is not None
        assert record.values.keys() == DIAGNOSTIC_COLUMNS.keys() - COUNT_COLUMNS.keys()
        assert record.images.keys() == COUNT_COLUMNS.keys()
        counts = [record.images[column] for column in ("collapse_n", "collapse_n_train", "lipschitz_n", "deepfool_n")]
        assert counts == [500, 60, 500, 100]
        assert record.images["deepfool_n_fooled"] <= record.images["deepfool_n_correct"] <= 100
        assert record.images["deepfool_n_fooled"] <= record.images["nearest_n_fooled"]
        assert all(getattr(row, column) == count for column, count in record.images.items())
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
    assert "1 run diagnosed" in again.err
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

    monkeypatch.setattr("bench.diagnostics.diagnose.deepfool_scores", broken)
    outcome = run("--variants", "baseline,lpc")
    assert outcome.code == 3
    assert len(outcome.json["bad"]) == 2
    assert "diagnosis_error: ValueError: no such thing" in outcome.err
    assert outcome.json["evaluated"] == 2
    assert pd.read_csv(tmp_path / "results.csv")["collapse_n"].isna().all()
    monkeypatch.undo()
    assert run("--variants", "baseline,lpc").code == 0


def test_diagnose_prints_the_table_and_measures_only_once(
    run: Callable[..., Any], bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    run("--variants", "lpc", "--no-diagnose")
    arguments = ("diagnose", "tiny:lpc", "--results", tmp_path, "--plugin", plugin)
    first = bench(*arguments)
    assert first.code == 0
    for column in (*COLLAPSE_COLUMNS, *TEST_IMAGE_COLUMNS):
        assert f"| {column} " in first.out
    record = bench(*arguments, "--json").json
    ends = [f"{record['values'][f'deepfool_rho_authors{suffix}']:.4g}" for suffix in INTERVAL_SUFFIXES]
    assert f" [{', '.join(ends)}] " in first.out
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


def network(head: nn.Module, output: nn.Module) -> Classifier:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU())
    return Classifier(Normalize((0.3,) * 3, (0.4,) * 3), backbone, head, output).eval()


def scaled(model: Classifier, factor: float) -> Classifier:
    """The same network with z → c·z and W → W/c: by its head, or by its backbone's last layer where it has none."""
    other = copy.deepcopy(model)
    last = other.backbone[1] if isinstance(other.head, nn.Identity) else other.head
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(factor)
        other.output.get_parameter("weight").div_(factor)
    return other


@pytest.fixture
def shop() -> RunContext:
    dataset = load_dataset("digits", DataRequest())
    return RunContext(dataset=dataset, store=Store(Path()), device=torch.device("cpu"), progress=Progress())


HEADS = {
    "linear": lambda: network(nn.Linear(32, 6), nn.Linear(6, 10)),
    "none": lambda: network(nn.Identity(), nn.Linear(32, 10)),
    "cosine": lambda: network(nn.Linear(32, 6), CosineOutput(6, 10)),
}


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("factor", [2.0**10, 2.0**-10])
def test_what_claims_to_be_invariant_is(head: str, factor: float, shop: RunContext) -> None:
    """The mean norm, which does not claim it, changes by the factor."""
    torch.manual_seed(0)
    model = HEADS[head]()
    before, after = (_measure(m, 300, shop, {}) for m in (model, scaled(model, factor)))
    assert before.keys() == DIAGNOSTIC_COLUMNS.keys() - COUNT_COLUMNS.keys()
    for column in before:
        meaning = DIAGNOSTIC_COLUMNS[column]
        if head == "none" and "for a penultimate layer" in meaning:
            continue
        expected = before[column].value * (1 if "invariant" in meaning else factor)
        too_few = column.endswith(tuple(INTERVAL_SUFFIXES))  # correct images for an interval
        assert after[column].value == pytest.approx(expected, rel=1e-3, nan_ok=head == "cosine" or too_few), column


def test_every_number_stands_in_its_own_column(shop: RunContext) -> None:
    """Each is what its function says of the images that the column names; no two of them are alike."""
    torch.manual_seed(0)
    model, limit = HEADS["linear"](), 300
    sizes: dict[str, int] = {}
    found = _measure(model, limit, shop, sizes)
    for suffix, split, count in (("", "test", 5000), ("_train", "train", limit)):
        images = shop.images(split, count)
        pixels = images.inputs(torch.arange(len(images)), shop.device)
        with torch.no_grad():
            z = model.features(pixels)
            predictions = model(pixels).argmax(1)
        latents = Latents(
            z=z.double().numpy(),
            labels=images.labels.numpy(),
            num_classes=10,
            weights=model.output.get_parameter("weight").detach().double().numpy(),
            predictions=predictions.numpy(),
        )
        for name, value in diagnose_latents(latents).items():
            assert found[f"collapse_{name}{suffix}"].value == pytest.approx(value.value, rel=1e-5), name
    test = shop.images("test", 1000)
    pixels = test.inputs(torch.arange(len(test)), shop.device)
    local = local_sensitivity(model, pixels, test.labels, batch_size=64)
    head = head_lipschitz(model, pixels, test.labels, batch_size=64)
    few = shop.images("test", 100)
    inputs = few.inputs(torch.arange(100), shop.device)
    scores = deepfool_scores(model, inputs, few.labels, batch_size=64)
    nearest = nearest_scores(model, inputs[scores.correct], at_most=scores.distances, batch_size=64)
    intervals = {
        "nearest_median_distance": nearest.median_distance,
        "nearest_rho": nearest.rho,
        "deepfool_rho_authors": scores.rho_authors,
        "deepfool_rho_pixels": scores.rho_pixels,
        "deepfool_rho_boundary": scores.rho_boundary,
        "deepfool_median_distance": scores.median_distance,
    }
    assert tuple(intervals) == INTERVAL_COLUMNS
    expected = {
        "lipschitz_head_bound": head.bound,
        "lipschitz_head_local_max": head.local_max,
        "lipschitz_head_local_mean": head.local_mean,
        "margin_gradient_norm_max": local.gradient_norm_max,
        "margin_gradient_norm_mean": local.gradient_norm_mean,
        "lipschitz_zero_gradient_share": local.zero_gradient_share,
        "lipschitz_local_radius": local.local_radius_median,
        **{f"{name}{end}": getattr(e, part) for name, e in intervals.items() for end, part in ENDS.items()},
        "deepfool_fooled_share": scores.fooled_share,
        "nearest_fooled_share": nearest.fooled_share,
    }
    for column, value in expected.items():
        assert found[column].value == pytest.approx(value.value, rel=1e-4, nan_ok=True), column
    # The bound of a linear head is attained, where some image's margin is that of the steepest pair.
    # Shares may both be 1, and ends of intervals the distance of one image.
    alike = ("lipschitz_head_bound", "deepfool_fooled_share", "nearest_fooled_share")
    numbers = [f"{found[c].value:.6g}" for c in expected if c not in alike and not c.endswith(tuple(INTERVAL_SUFFIXES))]
    assert len(set(numbers)) == len(numbers)
    assert (sizes["deepfool_n_correct"], sizes["deepfool_n_fooled"]) == (scores.n_correct, scores.n_fooled)
    assert sizes["nearest_n_fooled"] == nearest.n_fooled


def test_a_diagnosis_by_older_definitions_is_no_answer(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--variants", "lpc")
    monkeypatch.setattr("bench.results.store.DIAGNOSIS_VERSION", 99)
    (path,) = tmp_path.glob("runs/*/diagnosis.json")
    assert Store(tmp_path).read_diagnosis(path.parent.name) is None


def test_plot_writes_both_files(
    run: Callable[..., Any], bench: Callable[..., Any], plugin: Path, tmp_path: Path
) -> None:
    run("--variants", "lpc", "--no-diagnose")
    outcome = bench("plot", "latents", "tiny:lpc", "--results", tmp_path, "--plugin", plugin, "--out", tmp_path / "f")
    assert outcome.code == 0
    files = [Path(line) for line in outcome.out.split()]
    assert [path.suffix for path in files] == [".png", ".svg"]
    assert all(path.stat().st_size > 1000 for path in files)
    again = bench(
        "plot", "latents", "tiny:lpc", "--results", tmp_path, "--plugin", plugin, "--out", tmp_path / "f", "--json"
    )
    assert again.json == {"paths": [str(path) for path in files]}

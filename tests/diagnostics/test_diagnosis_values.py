"""The numbers of a diagnosis: each in its own column, and invariant to the scale of the latents if it claims so."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.context import RunContext
from bench.core.columns import COUNT_COLUMNS, DIAGNOSTIC_COLUMNS, INTERVAL_COLUMNS, INTERVAL_SUFFIXES
from bench.core.records import DiagnosisRecord
from bench.data import load_dataset
from bench.data.registry import DataRequest
from bench.diagnostics.deepfool_score import deepfool_scores
from bench.diagnostics.diagnose import diagnose
from bench.diagnostics.latents import Latents
from bench.diagnostics.lipschitz import head_lipschitz
from bench.diagnostics.local import local_sensitivity
from bench.diagnostics.nearest_distance import nearest_scores
from bench.diagnostics.registry import diagnose_latents
from bench.models.classifier import Classifier, Normalize
from bench.models.outputs import CosineOutput
from bench.results.store import Store
from bench.runtime.progress import Progress

ENDS = {"": "value", "_lo": "low", "_hi": "high"}  # suffix of a column, part of an estimate


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
def shop(tmp_path: Path) -> RunContext:
    dataset = load_dataset("digits", DataRequest())
    return RunContext(dataset=dataset, store=Store(tmp_path), device=torch.device("cpu"), progress=Progress())


def diagnosed(model: Classifier, train_limit: int, shop: RunContext) -> DiagnosisRecord:
    record = diagnose(model, "run", "weights", train_limit, shop)
    assert record.status == "ok", record.message
    return record


HEADS = {
    "linear": lambda: network(nn.Linear(32, 6), nn.Linear(6, 10)),
    "none": lambda: network(nn.Identity(), nn.Linear(32, 10)),
    "cosine": lambda: network(nn.Linear(32, 6), CosineOutput(6, 10)),
}


@pytest.mark.parametrize(("head", "factor"), [("linear", 2.0**10), ("none", 2.0**-10), ("cosine", 2.0**10)])
def test_what_claims_to_be_invariant_is(
    head: str, factor: float, shop: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean norm, which does not claim it, changes by the factor."""
    for name in ("LATENT_IMAGES", "GRADIENT_IMAGES", "DEEPFOOL_IMAGES"):  # invariance does not depend on their number
        monkeypatch.setattr(f"bench.diagnostics.diagnose.{name}", 100)
    torch.manual_seed(0)
    model = HEADS[head]()
    before, after = (diagnosed(m, 100, shop).values for m in (model, scaled(model, factor)))
    assert before.keys() == DIAGNOSTIC_COLUMNS.keys() - COUNT_COLUMNS.keys()
    for column, value in before.items():
        meaning = DIAGNOSTIC_COLUMNS[column]
        if head == "none" and "for a penultimate layer" in meaning:
            continue
        too_few = column.endswith(tuple(INTERVAL_SUFFIXES))  # correct images for an interval
        if value is None:
            assert after[column] is None, column
            assert head == "cosine" or too_few, column
        else:
            assert after[column] == pytest.approx(value * (1 if "invariant" in meaning else factor), rel=1e-3), column


def test_every_number_stands_in_its_own_column(shop: RunContext) -> None:
    """Each is what its function says of the images that the column names; no two of them are alike."""
    torch.manual_seed(0)
    model, limit = HEADS["linear"](), 300
    record = diagnosed(model, limit, shop)
    found, sizes = record.values, record.images
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
            assert found[f"collapse_{name}{suffix}"] == pytest.approx(value.value, rel=1e-5), name
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
        assert found[column] == (None if not math.isfinite(value.value) else pytest.approx(value.value, rel=1e-4)), (
            column
        )
    # The bound of a linear head is attained, where some image's margin is that of the steepest pair.
    # Shares may both be 1, and ends of intervals the distance of one image.
    alike = ("lipschitz_head_bound", "deepfool_fooled_share", "nearest_fooled_share")
    numbers = [f"{found[c]:.6g}" for c in expected if c not in alike and not c.endswith(tuple(INTERVAL_SUFFIXES))]
    assert len(set(numbers)) == len(numbers)
    assert (sizes["deepfool_n_correct"], sizes["deepfool_n_fooled"]) == (scores.n_correct, scores.n_fooled)
    assert sizes["nearest_n_fooled"] == nearest.n_fooled

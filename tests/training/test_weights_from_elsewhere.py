"""Weights that were trained elsewhere: normalised as timm declares, with labels in an order that is said."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from records import run_record
from timm.models import get_pretrained_cfg

from bench.config import RunConfig
from bench.context import RunContext
from bench.core.errors import BenchError
from bench.core.seals import sealed
from bench.core.specs import (
    LATER_RECIPE_FIELDS,
    LATER_VARIANT_FIELDS,
    DataSpec,
    ModelSpec,
    Recipe,
    TrainSpec,
    VariantSpec,
    fingerprint,
)
from bench.evaluation.load_run import reopen_trained
from bench.models.registry import pretrained_moments
from bench.planning.plan import make_plan
from bench.planning.request import make_request
from bench.results.record_files import dump_record, parse_record
from bench.results.results_csv import normalization
from bench.results.store import Store
from bench.runtime.progress import Progress
from bench.training.checkpoints import build_run

Bench = Callable[..., Any]
SIDE, CLASSES = 64, 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve numbered classes of dark images, whose moments are far from those of any published weights."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in range(CLASSES):
            folder = tmp_path / "data" / split / str(label)
            folder.mkdir(parents=True)
            pixels = rng.integers(0, 60, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / "0.png")
    return tmp_path / "data"


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=CLASSES).eval()


def checkpoint(name: str, folder: Path) -> Path:
    path = folder / f"{name}.pth"
    torch.save(network(name).state_dict(), path)
    return path


def options(root: Path, **more: Any) -> RunConfig:
    return RunConfig(
        variants=("baseline",), dataset="imagefolder", data_dir=root, attacks=("none",), corruptions=("none",), **more
    )


def built(asked: RunConfig, tmp_path: Path) -> tuple[TrainSpec, RunContext, torch.nn.Module]:
    request, dataset = make_request(asked)
    shop = RunContext(
        dataset=dataset, store=Store(tmp_path), device=torch.device("cpu"), progress=Progress(),
        config=asked,
    )  # fmt: skip
    spec = make_plan(request)[0].train
    return spec, shop, build_run(spec, shop).classifier.eval()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_checkpoint_gives_the_logits_that_timm_gives(name: str, root: Path, tmp_path: Path) -> None:
    """One architecture of mean and std 0.5, one of ImageNet's."""
    asked = options(root, models=(name,), checkpoint_path=checkpoint(name, tmp_path), epochs=0)
    spec, shop, model = built(asked, tmp_path)
    images = shop.images("test", None).inputs(torch.arange(CLASSES), torch.device("cpu"))
    config = get_pretrained_cfg(name)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.mean, config.std))
    with torch.no_grad():
        expected = network(name)((images - mean) / std)
        assert torch.allclose(model(images), expected, atol=1e-4)
    assert (spec.model.mean, spec.model.std) == (config.mean, config.std)


@pytest.mark.parametrize("more", [{}, {"epochs": 3}])
def test_a_training_from_scratch_keeps_the_moments_of_its_data(
    more: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    spec, shop, model = built(options(root, models=("test_resnet",), **more), tmp_path)
    assert spec.model == ModelSpec(name="test_resnet")
    assert model.normalize.mean.flatten().tolist() == pytest.approx(shop.dataset.mean)
    assert normalization(spec.model) == "data set"


@pytest.mark.parametrize("epochs", [0, 3])
def test_pretrained_weights_are_normalised_as_theirs_even_when_they_are_trained_on(epochs: int, root: Path) -> None:
    request, _ = make_request(options(root, models=("test_resnet",), pretrained=True, epochs=epochs))
    assert make_plan(request)[0].train.model.mean == (0.5, 0.5, 0.5)


def test_a_stem_is_chosen_for_random_weights_only(root: Path, tmp_path: Path) -> None:
    spec, _, _ = built(options(root, models=("test_resnet",), stem="native"), tmp_path)
    default, _, _ = built(options(root, models=("test_resnet",)), tmp_path)
    assert (spec.model.stem, default.model.stem) == ("native", None)
    assert spec.run_id != default.run_id
    with pytest.raises(BenchError, match="--stem is for random weights"):
        built(options(root, models=("test_resnet",), stem="native", pretrained=True), tmp_path)


def test_a_set_of_weights_has_its_own_moments() -> None:
    assert pretrained_moments("vit_base_patch16_clip_224.openai") == (
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711),
    )  # fmt: skip
    assert pretrained_moments("inception_v3.tf_in1k") != pretrained_moments("resnet18")


def test_a_model_of_a_plugin_keeps_the_moments_of_the_data(
    bench: Bench, plugin: Path, root: Path, tmp_path: Path
) -> None:
    """Nobody has declared others for its weights."""
    from bench.models.registry import MODELS
    from bench.runtime.plugin import load_plugins

    load_plugins([plugin])
    weights = tmp_path / "tiny.pth"
    torch.save(MODELS.get("tiny").build(image_size=SIDE).state_dict(), weights)
    request, _ = make_request(options(root, models=("tiny",), checkpoint_path=weights))
    assert request.models[0].mean is None


def test_the_identity_knows_the_normalisation_and_is_else_what_it_was() -> None:
    spec = TrainSpec(
        data=DataSpec(name="d", train_sha="t", num_classes=2, image_size=8),
        model=ModelSpec(name="m"), variant="baseline", variant_spec=VariantSpec(), recipe=Recipe(epochs=1), seed=3,
    )  # fmt: skip
    other = replace(spec, model=replace(spec.model, mean=(0.5,) * 3, std=(0.5,) * 3))
    third = replace(spec, model=replace(spec.model, mean=(0.5,) * 3, std=(0.25,) * 3))
    assert len({s.run_id for s in (spec, other, third)}) == len({s.config_sha for s in (spec, other, third)}) == 3
    before = {name: value for name, value in vars(spec.model).items() if name not in ("mean", "std", "stem")}
    from dataclasses import asdict

    data = {name: value for name, value in vars(spec.data).items() if name != "sampling"}
    later = {"variant_spec": LATER_VARIANT_FIELDS, "recipe": LATER_RECIPE_FIELDS}
    parts = {part: {k: v for k, v in asdict(spec)[part].items() if k not in names} for part, names in later.items()}
    assert spec.run_id == fingerprint({**asdict(spec), **parts, "model": before, "data": data})[:12]
    changed = (
        replace(spec, recipe=replace(spec.recipe, ema=0.9)),
        replace(spec, recipe=replace(spec.recipe, momentum=0.5)),
    )
    assert len({s.run_id for s in (spec, *changed)}) == 3


def test_records_keep_the_normalisation_and_older_ones_are_read() -> None:
    import json

    run = run_record()
    assert run.spec is not None
    shown = replace(
        run, spec=replace(run.spec, model=replace(run.spec.model, mean=(0.5, 0.4, 0.3), std=(1.0, 1.0, 1.0)))
    )
    assert parse_record(type(run), dump_record(shown), where="here") == shown
    older = json.loads(dump_record(run))
    del older["spec"]["model"]["mean"], older["spec"]["model"]["std"]
    assert parse_record(type(run), json.dumps(sealed(older)).encode(), where="here") == run


def rows(results: Path) -> list[dict[str, str]]:
    with (results / "results.csv").open() as file:
        return list(csv.DictReader(file))


def by_number(state: dict[str, torch.Tensor], order: list[int]) -> dict[str, torch.Tensor]:
    """The weights with the outputs in another order of classes."""
    return {name: tensor[order] if name.startswith("fc.") else tensor for name, tensor in state.items()}


@pytest.mark.parametrize(("order", "asked"), [("natural", []), ("string", ["--class-order", "string"])])
def test_the_labels_of_numbered_classes_end_to_end(
    bench: Bench, root: Path, tmp_path: Path, order: str, asked: list[str]
) -> None:
    """A network that names every test image by its folder's number is right in its own order, which the row says."""
    net = network("test_resnet")
    images = torch.stack([
        torch.from_numpy(np.array(Image.open(root / "test" / str(label) / "0.png"))).permute(2, 0, 1) / 255
        for label in range(CLASSES)
    ])  # fmt: skip
    with torch.no_grad():
        features = net.forward_head(net.forward_features((images - 0.5) / 0.5), pre_logits=True)
        center = features.mean(0)
        weight = torch.linalg.lstsq((features - center).double(), 9 * torch.eye(CLASSES).double()).solution.T.float()
        net.get_classifier().weight.data, net.get_classifier().bias.data = weight.contiguous(), -weight @ center
        assert (net((images - 0.5) / 0.5).argmax(1) == torch.arange(CLASSES)).all()
    names = [str(label) for label in range(CLASSES)]
    state = net.state_dict()
    if order == "string":
        state = by_number(state, [int(name) for name in sorted(names)])
    torch.save(state, tmp_path / "net.pth")
    common = [
        "--models", "test_resnet", "--variants", "baseline", "--dataset", "imagefolder", "--data-dir", root,
        "--epochs", 0, "--checkpoint-path", tmp_path / "net.pth",
        "--attacks", "none", "--corruptions", "none", "--audit", "none",
        "--no-diagnose", "--results", tmp_path / "out",
    ]  # fmt: skip
    bench("run", *common, *asked)
    (row,) = rows(tmp_path / "out")
    assert float(row["acc"]) == 1
    assert row["normalization"] == "timm pretrained_cfg: mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"
    assert f"class names are numbers and were taken in {order} order" in row["notes"]
    store = Store(tmp_path / "out")
    *_, context = reopen_trained(store.find_run(row["run_id"]), store, data_dir=root, device="cpu")
    stored = [names.index(name) for name in sorted(names)] if order == "natural" else list(range(CLASSES))
    assert context.images("test", None).labels.tolist() == stored, "the order of the classes is found again"


def test_labels_of_corrupted_images_are_in_the_order_that_is_asked_for(
    bench: Bench, root: Path, tmp_path: Path
) -> None:
    for order in ("natural", "string"):
        common = ["--dataset", "imagefolder", "--data-dir", root, "--kinds", "brightness", "--class-order", order]
        assert bench("corrupt", *common, "--out", tmp_path / order).code == 0
    natural, string = (np.load(tmp_path / order / "labels.npy")[:CLASSES] for order in ("natural", "string"))
    names = sorted(map(str, range(CLASSES)))  # ids are in the order of strings
    assert natural.tolist() == [int(name) for name in names]
    assert string.tolist() == list(range(CLASSES))

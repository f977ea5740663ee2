"""Contract of a model: its features (N, d) are a reproducible and differentiable function of each image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from bench.contracts.check import Check, Rule, check_documented, require, run_check, run_checks
from bench.core.specs import ModelSpec, VariantSpec
from bench.models.build import BuiltModel, build_classifier
from bench.models.registry import model_summary
from bench.sanity.cell_checks import margin_gradient
from bench.sanity.model_checks import check_model

COUNT, NUM_CLASSES, BATCH_SIZE = 8, 4, 4


def check_model_entry(name: str, *, image_size: int) -> Iterator[Check]:
    """Check the model ``name`` on square images of side ``image_size``."""
    subject = f"model {name}"
    yield check_documented(subject, *model_summary(name))
    builds: list[BuiltModel] = []
    first = run_check(subject, "builds a network", lambda: builds.append(_build(name, image_size)))
    yield first
    if first.problem:
        return
    (built,) = builds
    rules: list[Rule] = [
        ("features are (N, d) and float32", partial(_features, built, image_size)),
        ("equal seeds give equal weights", partial(_same_weights, name, built, image_size)),
        ("logits are a function of each image", partial(_function_of_each_image, built, image_size)),
        ("has a gradient at its input", partial(_gradient, built, image_size)),
    ]
    yield from run_checks(f"{subject} at {image_size} px", rules)


def _build(name: str, image_size: int) -> BuiltModel:
    moments = (0.5,) * 3
    spec, variant = ModelSpec(name=name), VariantSpec()
    built = build_classifier(
        spec, variant, image_size=image_size, num_classes=NUM_CLASSES, mean=moments, std=moments, seed=0
    )
    built.classifier.eval()
    return built


def _images(image_size: int) -> Tensor:
    return torch.rand(COUNT, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))


def _features(built: BuiltModel, image_size: int) -> str:
    with torch.no_grad():
        features = built.classifier.embed(_images(image_size))
    expected = (COUNT, built.latent_dim)
    require(
        tuple(features.shape) == expected,
        f"its features have shape {tuple(features.shape)}, not {expected}; return one vector per image, as (N, d)",
    )
    require(features.dtype == torch.float32, f"its features are {features.dtype}; return float32")
    return f"d = {built.latent_dim}"


def _same_weights(name: str, built: BuiltModel, image_size: int) -> None:
    rebuilt = _build(name, image_size).classifier.state_dict()
    first = built.classifier.state_dict()
    differ = [key for key, tensor in first.items() if key not in rebuilt or not torch.equal(tensor, rebuilt[key])]
    require(
        not differ and first.keys() == rebuilt.keys(),
        f"two builds with one seed differ in {', '.join(differ[:1]) or 'their layers'}; draw initial weights from the "
        "global generator of torch only",
    )


def _function_of_each_image(built: BuiltModel, image_size: int) -> None:
    notes = [finding.note for finding in check_model(built.classifier, _images(image_size), BATCH_SIZE)]
    require(not notes, f"{'; '.join(notes)}; in evaluation mode, make the logits a fixed function of each image")


def _gradient(built: BuiltModel, image_size: int) -> None:
    gradient = margin_gradient(built.classifier, _images(image_size), torch.zeros(COUNT, dtype=torch.int64)).flatten(1)
    require(bool(gradient.isfinite().all()), "the gradient at its input is NaN or infinite; check its layers")
    zero = int((gradient == 0).all(1).sum())
    require(
        zero == 0,
        f"the gradient at its input is zero for {zero} of {COUNT} images; remove detach() and rounding from its layers",
    )

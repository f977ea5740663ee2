"""Contract of a variant: a small network trains with a finite loss, and every parameter changes.

A variant with a training step of its own also is trained twice, with equal results.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench.contracts.check import Check, check_documented, require, run_check, run_checks
from bench.core.records import EpochRecord
from bench.core.specs import DataSpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.data.tensors import ResidentImages
from bench.models.build import BuiltModel, build_classifier
from bench.models.objective import Objective
from bench.models.variants import RECIPE, VARIANTS
from bench.planning.recipes import RECIPES, resolve_budgets, resolve_variants
from bench.runtime.progress import Progress
from bench.training.train import train, training_facts

BACKBONE = "resnet10t"
RECIPE_NAMES = ("short", "auto")  # one open-loop and one closed-loop schedule of γ
NUM_CLASSES, IMAGE_SIZE, COUNT, EPS = 3, 8, 12, 0.1
STEP_RULE = "its training step is repeatable and leaves the model in training mode"


def check_variant(name: str) -> Iterator[Check]:
    """Check the variant ``name`` under the recipe ``short``, and under ``auto`` if its schedule is the recipe's."""
    entry, subject = VARIANTS.get(name), f"variant {name}"
    yield check_documented(subject, entry.summary, entry.source)
    for recipe in RECIPE_NAMES if entry.spec.schedule == RECIPE else RECIPE_NAMES[:1]:
        yield from _check_recipe(f"{subject} {recipe}", name, recipe)


def _check_recipe(subject: str, name: str, recipe: str) -> Iterator[Check]:
    builds: list[tuple[TrainSpec, BuiltModel]] = []

    def builds_network() -> None:
        spec = _spec(name, recipe)
        builds.append((spec, _build(spec)))

    first = run_check(subject, "builds a network", builds_network)
    yield first
    if first.problem:
        return
    spec, built = builds[0]
    has_own_step = spec.variant_spec.training_step != VariantSpec().training_step
    yield from run_checks(
        subject,
        [
            ("latents are (N, d) and logits (N, K)", partial(_shapes, built)),
            ("trains with a finite loss that moves every parameter", partial(_trains, spec, built)),
            *([(STEP_RULE, partial(_repeats, spec))] if has_own_step else []),
        ],
    )


def _spec(name: str, recipe: str) -> TrainSpec:
    resolved = resolve_variants({name: VARIANTS.get(name).spec}, RECIPES.get(recipe), None)
    return TrainSpec(
        data=DataSpec(name="d", train_sha="", num_classes=NUM_CLASSES, image_size=IMAGE_SIZE),
        model=ModelSpec(name=BACKBONE),
        variant=name,
        variant_spec=resolve_budgets(resolved, requested=None, defaults={"linf": EPS, "l2": EPS})[name],
        recipe=Recipe(epochs=2, batch_size=COUNT // 2),
        seed=0,
    )


def _build(spec: TrainSpec) -> BuiltModel:
    moments = (0.5,) * 3
    return build_classifier(
        spec.model,
        spec.variant_spec,
        image_size=IMAGE_SIZE,
        num_classes=NUM_CLASSES,
        mean=moments,
        std=moments,
        seed=spec.seed,
    )


def _pixels() -> Tensor:
    return torch.rand(COUNT, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))


def _shapes(built: BuiltModel) -> None:
    pixels = _pixels()
    with torch.no_grad():
        latents = built.classifier.eval().features(pixels)
        outputs, logits = built.classifier.output(latents), built.classifier(pixels)
    for name, tensor, width in (("latents", latents, built.latent_dim), ("logits", logits, NUM_CLASSES)):
        shape, expected = tuple(tensor.shape), (COUNT, width)
        require(shape == expected, f"its {name} have shape {shape}, not {expected}; check its head and its output")
    require(
        torch.equal(outputs, logits),
        "its logits differ from the outputs of its latents; compute the logits from the latents only",
    )


def _trains(spec: TrainSpec, built: BuiltModel) -> str:
    """Train the network in place and return its last loss. Raises CellFailure for a NaN or infinite loss."""
    before = {key: parameter.clone() for key, parameter in built.classifier.named_parameters()}
    history = _train(spec, built)
    unchanged = [key for key, parameter in built.classifier.named_parameters() if torch.equal(parameter, before[key])]
    more = f" and {len(unchanged) - 1} more" if len(unchanged) > 1 else ""
    require(
        not unchanged,
        f"training does not change {''.join(unchanged[:1])}{more}; connect every parameter to the loss, or remove it",
    )
    return f"loss {history[-1].loss:.4g}"


def _train(spec: TrainSpec, built: BuiltModel) -> tuple[EpochRecord, ...]:
    images = ResidentImages([str(i) for i in range(COUNT)], _pixels(), torch.arange(COUNT) % NUM_CLASSES)
    facts = training_facts(spec, count=COUNT, latent_dim=built.latent_dim)
    objective = Objective(spec.variant_spec, facts, latent_dim=built.latent_dim)
    return train(built.classifier, images, spec, objective, torch.device("cpu"), Progress())


def _repeats(spec: TrainSpec) -> None:
    """Train twice for one epoch. A resumed training gives the same weights only if the step depends on nothing else."""
    spec = replace(spec, recipe=replace(spec.recipe, epochs=1))
    weights = []
    for _ in range(2):
        built = _build(spec)
        _train(spec, built)
        weights.append([parameter.detach() for parameter in built.classifier.parameters()])
        modes = [name or "model" for name, module in built.classifier.named_modules() if not module.training]
        require(not modes, f"its training step left {modes[0] if modes else ''} in evaluation mode; restore the mode")
    same = all(torch.equal(first, second) for first, second in zip(*weights, strict=True))
    require(same, "two trainings with equal seeds differ; draw random numbers from context.random, or from torch")

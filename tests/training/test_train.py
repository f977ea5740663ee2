"""The training loop: penalty, inputs, seeds, precision and the records of an epoch."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn
from trainings import CPU, some_images, some_model, some_objective, some_spec, trained

from bench.core.errors import CellFailure
from bench.core.specs import AdversarySpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.data.augment import augment
from bench.data.tensors import as_inputs
from bench.models.auxiliary_losses import Batch
from bench.models.build import build_classifier
from bench.models.classifier import freeze
from bench.models.objective import Objective
from bench.models.schedules import GammaState, StepStats
from bench.runtime.progress import Progress
from bench.training.train import steps_per_epoch, train, training_facts


def test_weight_decay_and_augmentation_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    decays, batches, statistics = set(), [], []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: object) -> object:
        decays.update(group["weight_decay"] for group in self.param_groups)
        return real(self, *arguments)

    def seen(inputs: torch.Tensor, recipe: Recipe, **options: object) -> torch.Tensor:
        batches.append(recipe)
        statistics.append((options["mean"], options["std"]))
        return augment(inputs, recipe, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setattr("bench.training.train.augment", seen)
    model = trained(some_spec(weight_decay=0.25, crop_padding=1, horizontal_flip=True))
    assert decays == {0.25}
    assert {(r.crop_padding, r.horizontal_flip) for r in batches} == {(1, True)}
    assert len(batches) == 3 * 2
    assert all(mean is model.normalize.mean and std is model.normalize.std for mean, std in statistics)


def test_the_penalty_reaches_the_training() -> None:
    """With a weight of a thousand the latents end up shorter than without."""
    lengths = []
    for gamma in (0.0, 1e3):
        variant = VariantSpec(penalty="mean_square", schedule="constant", gamma=gamma)
        spec = dataclasses.replace(some_spec(epochs=20), variant_spec=variant)
        lengths.append(trained(spec).eval().features(some_images().pixels).norm(dim=1).mean())
    assert lengths[1] < lengths[0] / 3


def test_a_frozen_model_is_in_evaluation_and_differentiates_images_only() -> None:
    model = freeze(some_model().train())
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_whole_batches_only() -> None:
    assert (steps_per_epoch(20, 8), steps_per_epoch(16, 8), steps_per_epoch(5, 8)) == (2, 2, 1)


def test_training_is_a_function_of_its_seed_and_leaves_the_generator() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = trained(some_spec())
    torch.set_rng_state(state)
    torch.manual_seed(2)
    second = trained(some_spec())
    other = trained(dataclasses.replace(some_spec(), seed=1))
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("variant", [VariantSpec(), VariantSpec(adversary=AdversarySpec(eps=0.1))])
def test_a_loss_that_is_no_number_fails_the_run(variant: VariantSpec) -> None:
    model, images, spec = some_model(), some_images(), dataclasses.replace(some_spec(), variant_spec=variant)
    with torch.no_grad():
        model.output.bias.fill_(math.nan)
    objective = some_objective(spec)
    with pytest.raises(CellFailure, match="epoch 1") as caught:
        train(model, images, spec, objective, CPU, Progress())
    assert caught.value.reason == "nan_loss"


def test_no_epoch_leaves_the_first_weights() -> None:
    before, after = some_model(), trained(some_spec(epochs=0))
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_normalisation_is_inside_the_model() -> None:
    model = some_model().eval()
    images = torch.rand(2, 3, 4, 4)
    expected = model.output(model.backbone((images - 0.5) / 0.25))
    assert torch.allclose(model(images), expected)


def test_bytes_become_fractions_and_grey_becomes_three_equal_channels() -> None:
    pixels = torch.tensor([[[[0, 51], [255, 102]]]], dtype=torch.uint8)
    inputs = as_inputs(pixels)
    assert inputs.shape == (1, 3, 2, 2)
    assert torch.equal(inputs[0, 0], torch.tensor([[0.0, 0.2], [1.0, 0.4]]))
    assert torch.equal(inputs[0, 0], inputs[0, 1])
    assert torch.equal(inputs[0, 0], inputs[0, 2])


def test_the_history_tells_the_sequence_of_gamma() -> None:
    spec = dataclasses.replace(
        some_spec(epochs=5), variant_spec=VariantSpec(penalty="mean_square", schedule="paper_imagenet")
    )
    history = train(some_model(), some_images(), spec, some_objective(spec), CPU, Progress())
    assert [record.gamma for record in history] == pytest.approx([2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3])
    assert all(b.loss != a.loss for a, b in itertools.pairwise(history))


def watched(spec: TrainSpec, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return the arguments of the objective at each step of a training."""
    seen: list[dict[str, Any]] = []
    loss, advance = Objective.loss, Objective.advance

    def spy_loss(self: Objective, batch: Batch, **options: Any) -> torch.Tensor:
        seen.append({"batch": batch, **options})
        return loss(self, batch, **options)

    def spy_advance(self: Objective, state: GammaState, done: StepStats) -> GammaState:
        seen[-1]["done"] = done
        return advance(self, state, done)

    monkeypatch.setattr(Objective, "loss", spy_loss)
    monkeypatch.setattr(Objective, "advance", spy_advance)
    model = some_model()
    model.head = nn.Linear(8, 5)
    model.output = nn.Linear(5, 3)
    objective = Objective(spec.variant_spec, training_facts(spec, count=20, latent_dim=5), latent_dim=5)
    train(model, some_images(), spec, objective, CPU, Progress())
    return seen


def test_a_step_is_told_of_features_latents_and_margins(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(some_spec(epochs=10), monkeypatch)
    assert len(seen) == 20
    for number, step in enumerate(seen):
        batch, done = step["batch"], step["done"]
        assert (batch.features.shape[1], batch.latents.shape[1], batch.outputs.shape[1]) == (8, 5, 3)
        own = batch.outputs[torch.arange(8), batch.labels]
        others = batch.outputs.scatter(1, batch.labels[:, None], -math.inf).amax(1)
        assert done.margin == pytest.approx(float((own - others).detach().median()))
        epoch = 1 + number // 2
        assert (step["epoch"], done.next_epoch) == (epoch, epoch + number % 2)
        assert done.mean_square == pytest.approx(float((batch.latents**2).detach().mean()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_backbone_alone_runs_in_the_precision_that_was_asked_for(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 has 8 bits: the features are its numbers, the latents behind them are not."""
    (step, *_) = watched(some_spec(precision=precision), monkeypatch)
    features, latents = step["batch"].features.detach(), step["batch"].latents.detach()
    assert features.dtype == latents.dtype == torch.float32
    assert torch.equal(features, features.bfloat16().float()) == (precision == "bf16")
    assert not torch.equal(latents, latents.bfloat16().float())


def test_a_trained_model_is_laid_out_as_a_loaded_one() -> None:
    model, spec = some_model(), some_spec(precision="bf16")
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 8))
    train(model, some_images(), spec, some_objective(spec), CPU, Progress())
    assert all(parameter.is_contiguous() for parameter in model.parameters())


def test_the_schedule_is_asked_for_the_width_that_the_variant_names() -> None:
    spec = dataclasses.replace(some_spec(), variant_spec=VariantSpec(balance_dim=64))
    assert training_facts(spec, count=20, latent_dim=8).latent_dim == 64
    assert training_facts(some_spec(), count=20, latent_dim=8).latent_dim == 8


def test_the_mean_of_the_data_reaches_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    means = []

    def spy(inputs: torch.Tensor, recipe: Recipe, *, mean: torch.Tensor | None, **more: Any) -> torch.Tensor:
        means.append(mean)
        return augment(inputs, recipe, mean=mean, **more)

    monkeypatch.setattr("bench.training.train.augment", spy)
    trained(some_spec(crop_padding=1, crop_fill="mean"))
    assert all(mean is not None and mean.flatten().tolist() == [0.5] * 3 for mean in means)


def test_an_objective_weighs_its_term() -> None:
    objective = Objective(
        VariantSpec(term="center_loss", term_weight=0.25),
        training_facts(some_spec(), count=20, latent_dim=2),
        latent_dim=2,
    )
    latents, labels = torch.tensor([[3.0, 4.0]]), torch.tensor([0])
    outputs = torch.tensor([[1.0, 0.0, 0.0]])
    expected = nn.functional.cross_entropy(outputs, labels) + 0.25 * 25 / 2
    assert objective.loss(Batch(latents, latents, outputs, labels), gamma=0.0, epoch=1) == pytest.approx(
        float(expected)
    )


def test_the_activation_of_a_recipe_is_built_in() -> None:
    def kinds(activation: str | None) -> set[type[nn.Module]]:
        built = build_classifier(
            ModelSpec(name="resnet18"),
            VariantSpec(),
            image_size=8,
            num_classes=3,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            seed=0,
            activation=activation,
        )
        return {type(module) for module in built.classifier.modules()}

    assert nn.ReLU in kinds(None)
    assert nn.ReLU not in kinds("silu")
    assert nn.SiLU in kinds("silu")

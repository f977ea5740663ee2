"""The training loop's parts: schedule, augmentation, inputs, seeds."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from bench.core.errors import CellFailure
from bench.core.specs import DataSpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.data.augment import augment
from bench.data.tensors import Images, as_inputs
from bench.progress import Progress
from bench.train import freeze, learning_rate, steps_per_epoch, train, training_facts
from models.classifier import Classifier, Normalize
from models.objective import Objective

CPU = torch.device("cpu")


def some_spec(**recipe: object) -> TrainSpec:
    return TrainSpec(
        data=DataSpec(name="d", train_sha="", num_classes=3, image_size=4),
        model=ModelSpec(name="m"),
        variant="v",
        variant_spec=VariantSpec(),
        recipe=dataclasses.replace(Recipe(epochs=3, batch_size=8, lr=1e-2), **recipe),  # type: ignore[arg-type]
        seed=0,
    )


def some_model() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Dropout(0.5))
    return Classifier(Normalize((0.5,) * 3, (0.25,) * 3), backbone, nn.Identity(), nn.Linear(8, 3))


def some_images(count: int = 20) -> Images:
    pixels = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return Images([str(i) for i in range(count)], pixels, torch.arange(count) % 3)


def trained(spec: TrainSpec) -> Classifier:
    model, images = some_model(), some_images()
    objective = Objective(spec.variant_spec, training_facts(spec, count=len(images), latent_dim=8))
    train(model, images, spec, objective, CPU, Progress())
    return model


def test_learning_rate_is_constant_then_a_cosine() -> None:
    recipe = Recipe(epochs=1000, lr=1e-3)
    assert learning_rate(1, recipe) == learning_rate(200, recipe) == 1e-3
    assert learning_rate(600, recipe) == pytest.approx(1e-3 / 2, rel=1e-3)
    assert learning_rate(1000, recipe) == pytest.approx(1e-8)
    assert learning_rate(1, Recipe(epochs=1, lr=1e-3)) == pytest.approx(1e-8)


def test_the_output_layer_keeps_its_learning_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: object) -> object:
        seen.append([group["lr"] for group in self.param_groups])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    trained(some_spec(epochs=10))
    assert {output for _, output in seen} == {1e-2}
    assert seen[0][0] == 1e-2
    assert seen[-1][0] == pytest.approx(1e-8)


def test_weight_decay_and_augmentation_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    decays, batches = set(), []
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: object) -> object:
        decays.update(group["weight_decay"] for group in self.param_groups)
        return real(self, *arguments)

    def seen(inputs: torch.Tensor, **options: object) -> torch.Tensor:
        batches.append(options)
        return augment(inputs, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    monkeypatch.setattr("bench.train.augment", seen)
    trained(some_spec(weight_decay=0.25, crop_padding=1, horizontal_flip=True))
    assert decays == {0.25}
    assert {(o["crop_padding"], o["horizontal_flip"]) for o in batches} == {(1, True)}
    assert len(batches) == 3 * 2


def test_the_penalty_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a weight of a thousand the latents end up shorter than without."""
    lengths = []
    for gamma in (0.0, 1e3):
        monkeypatch.setattr(Objective, "gamma", lambda self, epoch, gamma=gamma: gamma)
        spec = dataclasses.replace(
            some_spec(epochs=20), variant_spec=VariantSpec(penalty="mean_square", schedule="short")
        )
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


def test_a_loss_that_is_no_number_fails_the_run() -> None:
    model, images, spec = some_model(), some_images(), some_spec()
    with torch.no_grad():
        model.output.bias.fill_(math.nan)
    objective = Objective(spec.variant_spec, training_facts(spec, count=20, latent_dim=8))
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


def test_every_crop_is_a_window_of_the_padded_image() -> None:
    inputs = torch.arange(1, 2 * 1 * 4 * 4 + 1).float().view(2, 1, 4, 4).repeat(40, 1, 1, 1)
    cropped = augment(inputs, crop_padding=2, horizontal_flip=False, generator=torch.Generator().manual_seed(0))
    places = set()
    for before, after in zip(inputs, cropped, strict=True):
        padded = nn.functional.pad(before, [2] * 4)
        windows = {(i, j) for i in range(5) for j in range(5) if torch.equal(padded[:, i : i + 4, j : j + 4], after)}
        assert len(windows) == 1
        places |= windows
    assert len(places) > 15


def test_flips_mirror_about_half_of_the_images() -> None:
    inputs = torch.rand(400, 1, 3, 3)
    flipped = augment(inputs, crop_padding=0, horizontal_flip=True, generator=torch.Generator().manual_seed(0))
    same = (flipped == inputs).flatten(1).all(1)
    mirrored = (flipped == inputs.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < int(mirrored.sum()) < 250

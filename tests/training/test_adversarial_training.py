"""Training against an adversary: what a step is about, where the search starts, and in which precision."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from trainings import CPU, some_images, some_model, some_objective, some_spec, trained

from bench.core.specs import AdversarySpec, TrainSpec, VariantSpec
from bench.data.tensors import ResidentImages
from bench.models.auxiliary_losses import CenterLoss
from bench.models.classifier import Classifier, Normalize
from bench.models.margins import logit_margins
from bench.runtime.progress import Progress
from bench.training.train import train

EPS = 0.1


def adversarial(steps: int = 3, eps: float = EPS, **recipe: object) -> TrainSpec:
    variant = VariantSpec(adversary=AdversarySpec(eps=eps, steps=steps))
    return dataclasses.replace(some_spec(**recipe), variant_spec=variant)


def passes(spec: TrainSpec) -> list[tuple[bool, torch.Tensor]]:
    """Return per forward pass of a training whether it is the step's own, and the distance of each image, (B,).

    A distance is L∞, to the clean image. The pixels are kept away from 0 and 1, so that no perturbation is clipped.
    """
    model, images, seen = some_model(), some_images(), []
    images = dataclasses.replace(images, pixels=0.25 + images.pixels / 2)

    def watch(module: nn.Module, arguments: tuple[torch.Tensor]) -> None:
        moved = (arguments[0].detach()[:, None] - images.pixels).abs().flatten(2).amax(2)
        seen.append((module.training, moved.amin(1)))

    model.normalize.register_forward_pre_hook(watch)
    train(model, images, spec, some_objective(spec), CPU, Progress())
    return seen


def test_a_step_is_about_the_images_that_the_adversary_found() -> None:
    """Three passes of a search in evaluation mode, then one training pass on images at the end of the budget."""
    seen = passes(adversarial())
    assert [training for training, _ in seen] == [False, False, False, True] * 6
    for training, moved in seen:
        assert bool((moved <= EPS + 1e-6).all())
        if training:
            assert bool((moved > 0.9 * EPS).all())
    assert all(bool((moved == 0).all()) for training, moved in passes(some_spec()))


def test_every_batch_of_every_epoch_starts_its_search_elsewhere() -> None:
    starts = [tuple((1e5 * moved).round().tolist()) for _, moved in passes(adversarial(steps=0))]
    assert len(starts) == len(set(starts)) == 6


def test_the_search_raises_the_loss_that_is_trained() -> None:
    """With every other thing equal, the loss that a training's first epoch sees is higher."""
    losses = []
    for eps in (0.0, 0.02, 0.2):
        spec = adversarial(eps=eps, epochs=1, lr=1e-6)
        model = some_model()
        model.backbone[2].p = 0.0
        (record,) = train(model, some_images(), spec, some_objective(spec), CPU, Progress())
        losses.append(record.loss)
    assert losses[0] + 0.01 < losses[1] < losses[2] - 0.01


def test_a_budget_of_nothing_is_the_plain_training() -> None:
    """To the bit, with augmentation: the search has draws of its own, and leaves no trace in the network."""
    recipe = {"crop_padding": 1, "horizontal_flip": True}
    plain, nothing = trained(some_spec(**recipe)), trained(adversarial(eps=0.0, **recipe))
    for (name, a), b in zip(plain.state_dict().items(), nothing.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_the_search_runs_in_the_precision_of_the_training() -> None:
    kinds = []
    for precision in ("fp32", "bf16"):
        model, spec = some_model(), adversarial(epochs=1, precision=precision)
        model.backbone.register_forward_hook(lambda module, _, out: kinds.append((module.training, out.dtype)))
        train(model, some_images(), spec, some_objective(spec), CPU, Progress())
    assert set(kinds[:8]) == {(False, torch.float32), (True, torch.float32)}
    assert set(kinds[8:]) == {(False, torch.bfloat16), (True, torch.bfloat16)}


def test_the_search_does_not_move_what_a_term_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The term updates its centres whenever it is called: once per batch of the training."""
    calls, forward = [], CenterLoss.forward
    monkeypatch.setattr(CenterLoss, "forward", lambda self, batch: calls.append(1) or forward(self, batch))
    both = dataclasses.replace(adversarial().variant_spec, term="center_loss")
    trained(dataclasses.replace(some_spec(), variant_spec=both))
    assert len(calls) == 3 * 2


def lopsided_images(count: int = 256) -> ResidentImages:
    """Two classes: pixel 0 is 0.5 ± 0.3 and right for nine images in ten, the others are 0.5 ± 0.05, always right."""
    labels = torch.arange(count) % 2
    sides = 2.0 * labels - 1
    pixels = (0.5 + 0.05 * sides).view(-1, 1).repeat(1, 48)
    pixels[:, 0] = 0.5 + 0.3 * sides * torch.where(torch.arange(count) % 10 < 9, 1, -1)
    return ResidentImages([str(i) for i in range(count)], pixels.view(-1, 3, 4, 4), labels)


def test_adversarial_training_gives_up_what_the_budget_can_turn_around() -> None:
    """At ε = 0.1 the weak pixels are the adversary's. A linear network's worst margin is m − ε·‖∂m/∂x‖₁, exactly."""
    right = {}
    for variant in (VariantSpec(), VariantSpec(adversary=AdversarySpec(eps=0.1))):
        spec = dataclasses.replace(some_spec(epochs=12, lr=3e-2, batch_size=32, weight_decay=0.0), variant_spec=variant)
        torch.manual_seed(0)
        model = Classifier(Normalize((0.5,) * 3, (0.25,) * 3), nn.Flatten(), nn.Identity(), nn.Linear(48, 2))
        images = lopsided_images()
        train(model, images, spec, some_objective(spec), CPU, Progress())
        with torch.no_grad():
            margins = logit_margins(model(images.pixels), images.labels)
            slope = (model.output.weight[1] - model.output.weight[0]).abs().sum() / 0.25
        right[variant.adversary is not None] = [float((margins > eps * slope).float().mean()) for eps in (0.0, 0.1)]
    assert right[False] == [1.0, 0.0]
    assert right[True] == [pytest.approx(0.9, abs=0.01)] * 2

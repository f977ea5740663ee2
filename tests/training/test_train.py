"""The training loop's parts: learning rates, penalty, inputs, seeds; and a training that was interrupted."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from trainings import CPU, some_images, some_model, some_objective, some_spec, trained

from bench.core.errors import BenchError, CellFailure
from bench.core.specs import AdversarySpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.data.augment import augment
from bench.data.tensors import as_inputs
from bench.models.auxiliary_losses import Batch
from bench.models.build import build_classifier
from bench.models.classifier import Classifier, freeze
from bench.models.objective import Objective
from bench.models.schedules import GammaState, StepStats
from bench.runtime.progress import Progress, Stage
from bench.training.lr_schedules import LR_SCHEDULES, cosine, halving_2024, imagenet, one_cycle
from bench.training.train import begin, steps_per_epoch, train, training_facts
from bench.training.training_state import TrainingState, dump_state, restore_state


def test_learning_rate_is_constant_then_a_cosine() -> None:
    recipe = Recipe(epochs=1000, lr=1e-3)
    assert cosine(1, recipe) == cosine(200, recipe) == (1e-3, 1e-3)
    assert cosine(600, recipe).body == pytest.approx(1e-3 / 2, rel=1e-3)
    assert cosine(1000, recipe) == (pytest.approx(1e-8), 1e-3)
    assert cosine(1, Recipe(epochs=1, lr=1e-3)).body == pytest.approx(1e-8)


@pytest.mark.parametrize(
    ("epoch", "body", "output"),
    [(1, 0.28, 0.28), (3, 0.64, 0.64), (5, 1, 1), (70, 1, 1), (135, 0.5, 1), (200, 1e-7 / 2e-4, 1)],
)
def test_imagenet_warms_up_and_decays_as_published(epoch: int, body: float, output: float) -> None:
    rates = imagenet(epoch, Recipe(epochs=200, lr=2e-4, lr_schedule="imagenet"))
    assert rates.body / 2e-4 == pytest.approx(body, rel=1e-3)
    assert rates.output / 2e-4 == pytest.approx(output)


def test_halving_is_torchs_step_scheduler_as_the_authors_call_it() -> None:
    """Their loop steps a StepLR(50, 0.5) after every epoch above 250."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=50, gamma=0.5)
    rates = []
    for epoch in range(1, 801):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if epoch > 250:
            scheduler.step()
    assert [halving_2024(epoch, Recipe(epochs=800, lr=1.0)) for epoch in range(1, 801)] == [(r, 1.0) for r in rates]
    assert (rates[299], rates[300]) == (1.0, 0.5)


def test_every_schedule_of_learning_rates_stays_within_the_given_one() -> None:
    for name in LR_SCHEDULES:
        for epochs in (1, 3, 300):
            recipe = Recipe(epochs=epochs, lr=0.1)
            rates = [LR_SCHEDULES.get(name)(epoch, recipe) for epoch in range(1, epochs + 1)]
            assert all(0 < rate.body <= 0.1 and 0 < rate.output <= 0.1 for rate in rates)


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


class Stop(Exception):
    """Exception that interrupts a training."""


def interrupted(spec: TrainSpec, after: tuple[int, int]) -> bytes:
    """The state that a training saved before it was stopped after some epochs and batches."""
    model, objective, saved = some_model(), some_objective(spec), []

    def stop(state: TrainingState) -> None:
        saved.append(dump_state(state))
        if (len(state.history), len(state.epoch.steps)) == after:
            raise Stop

    with pytest.raises(Stop):
        train(model, some_images(), spec, objective, CPU, Progress(), after_batch=stop)
    return saved[-1]


def test_the_progress_of_a_resumed_training_begins_at_its_images() -> None:
    earlier, advanced = list[int](), list[int]()

    class Counted(Progress):
        @contextmanager
        def stage(self, title: str, *, total: int, unit: str) -> Iterator[Stage]:
            assert total == 3 * len(some_images())
            yield self  # type: ignore[misc]

        def resume(self, count: int) -> None:
            earlier.append(count)

        def advance(self, count: int, *, accuracy: float | None = None) -> None:
            advanced.append(count)

    spec, model = some_spec(epochs=3), some_model()
    objective = some_objective(spec)
    state = begin(model, spec, objective)
    restore_state(state, interrupted(spec, (1, 1)))
    train(model, some_images(), spec, objective, CPU, Counted(), state=state)
    count = len(some_images())
    assert count < earlier[0] < 2 * count
    assert advanced == [2 * count - earlier[0], count]


@pytest.mark.parametrize(
    "variant",
    [
        VariantSpec(penalty="mean_square", schedule="paper_imagenet"),
        VariantSpec(penalty="mean_square", schedule="auto"),
        VariantSpec(term="center_loss"),
        VariantSpec(adversary=AdversarySpec(eps=0.1, steps=2)),
    ],
    ids=["two phases", "closed loop", "centres", "adversary"],
)
@pytest.mark.parametrize("after", [(1, 0), (5, 1), (29, 1)])
def test_a_resumed_training_is_the_same_training(variant: VariantSpec, after: tuple[int, int]) -> None:
    """In either phase of the published schedule (it turns at epoch 24), and with a loop that remembers."""
    check_resumed(dataclasses.replace(some_spec(epochs=32), variant_spec=variant), after)


@pytest.mark.parametrize(
    "variant",
    [
        VariantSpec(adversary=AdversarySpec(norm="l2", eps=0.3, steps=2), training_step="trades", noise=0.1),
        VariantSpec(adversary=AdversarySpec(eps=0.1, steps=1), weight_perturbation=0.01, term="center_loss", ema=0.9),
        VariantSpec(training_step="augmix"),
    ],
    ids=["trades", "weights", "augmix"],
)
def test_a_resumed_robust_training_is_the_same_training(variant: VariantSpec) -> None:
    check_resumed(dataclasses.replace(some_spec(epochs=4), variant_spec=variant), (2, 1))


def check_resumed(spec: TrainSpec, after: tuple[int, int]) -> None:
    spec = dataclasses.replace(spec, recipe=dataclasses.replace(spec.recipe, noise=0.1))
    whole, model = some_model(), some_model()
    history = train(whole, some_images(), spec, some_objective(spec), CPU, Progress())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # what is saved must bring everything
    objective = some_objective(spec)
    state = begin(model, spec, objective)
    restore_state(state, interrupted(spec, after))
    assert (len(state.history), len(state.epoch.steps)) == after
    assert train(model, some_images(), spec, objective, CPU, Progress(), state=state) == history
    for (name, a), b in zip(whole.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def convolutions() -> Classifier:
    model = some_model()
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1)]
    model.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return model


def test_a_resumed_training_in_bfloat16_is_the_same_training() -> None:
    """Its weights are channels-last, and its saved moments are not."""
    spec = some_spec(precision="bf16")
    whole, model, objective = convolutions(), convolutions(), some_objective(spec)
    saved: list[bytes] = []
    train(whole, some_images(), spec, objective, CPU, Progress(), after_batch=lambda s: saved.append(dump_state(s)))
    state = begin(model, spec, objective)
    restore_state(state, saved[0])
    train(model, some_images(), spec, objective, CPU, Progress(), state=state)
    for (name, a), b in zip(whole.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_state_of_another_training_is_refused() -> None:
    spec = some_spec()
    state = begin(some_model(), spec, some_objective(spec))
    with pytest.raises(BenchError, match="does not fit"):
        restore_state(state, b"\x08\0\0\0\0\0\0\0not json")
    other = some_model()
    other.output = nn.Linear(8, 4)
    foreign = dump_state(begin(other, spec, some_objective(spec)))
    with pytest.raises(BenchError, match="does not fit"):
        restore_state(state, foreign)


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


def test_a_variants_own_weight_decay_takes_the_place_of_the_recipes() -> None:
    spec = dataclasses.replace(some_spec(weight_decay=5e-4), variant_spec=VariantSpec(weight_decay=0.1))
    decays = {group["weight_decay"] for group in begin(some_model(), spec, some_objective(spec)).optimizer.param_groups}
    assert decays == {0.1}


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


def test_one_cycle_rises_and_falls_within_the_epochs() -> None:
    recipe = Recipe(epochs=10, lr=2.0, lr_schedule="one_cycle")
    steps = [1 + i / 100 for i in range(1000)]
    rates = [one_cycle(epoch, recipe) for epoch in steps]
    assert all(rate.body == rate.output for rate in rates)
    assert rates[0].body == pytest.approx(0.4)
    assert rates[230].body == max(rates).body == pytest.approx(2.0)
    assert rates[115].body == pytest.approx(1.2)
    assert rates[-1].body == pytest.approx(0.14, abs=0.01)


def test_rates_change_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *arguments: object) -> object:
        seen.append(self.param_groups[0]["lr"])
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    spec = some_spec(optimizer="sgd", lr_schedule="one_cycle", lr=0.1)
    trained(spec)
    assert seen == [one_cycle(1 + i / 2, spec.recipe).body for i in range(6)]


def test_sgd_has_nesterov_momentum_and_the_decay_of_the_recipe() -> None:
    """Two steps by hand on a model that is linear: v ← μv + g, θ ← θ − η(g + μv), where g contains the decay."""
    spec = some_spec(optimizer="sgd", momentum=0.8, weight_decay=0.1, lr=0.5)
    model = some_model()
    optimizer = begin(model, spec, some_objective(spec)).optimizer
    weight, velocity = model.output.weight.detach().double().clone(), 0.0
    for gradient in (1.0, -2.0):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
        total = gradient + 0.1 * weight
        velocity = 0.8 * velocity + total
        weight = weight - 0.5 * (total + 0.8 * velocity)
    assert torch.allclose(model.output.weight.double(), weight, atol=1e-5)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_averaged_weights_are_those_of_the_equation(decay: float) -> None:
    """β = min(decay, 1 − (1 + t)^(−2/3)); the model ends with the average of the weights after each step."""
    spec, seen = some_spec(epochs=4, ema=decay), []
    plain = dataclasses.replace(spec, recipe=dataclasses.replace(spec.recipe, ema=None))
    model, objective = some_model(), some_objective(plain)
    average = model.output.weight.detach().double().clone()
    train(
        model, some_images(), plain, objective, CPU, Progress(),
        after_batch=lambda state: seen.append(model.output.weight.detach().double().clone()),
    )  # fmt: skip
    for step, weight in enumerate(seen):
        beta = min(decay, 1 - (1 + step) ** (-2 / 3))
        average = beta * average + (1 - beta) * weight
    assert torch.allclose(trained(spec).output.weight.double(), average, atol=1e-6)


def test_the_variants_average_yields_to_the_recipes() -> None:
    spec = dataclasses.replace(some_spec(), variant_spec=VariantSpec(ema=0.9))
    emas = [dataclasses.replace(spec, recipe=dataclasses.replace(spec.recipe, ema=e)).ema for e in (None, 0.5, 0.0)]
    assert emas == [0.9, 0.5, None]


def test_an_average_is_resumed() -> None:
    spec = some_spec(epochs=4, ema=0.9, optimizer="sgd", lr_schedule="one_cycle")
    whole, model, objective, saved = some_model(), some_model(), some_objective(spec), []
    train(whole, some_images(), spec, objective, CPU, Progress(), after_batch=lambda s: saved.append(dump_state(s)))
    state = begin(model, spec, objective)
    restore_state(state, saved[4])
    train(model, some_images(), spec, objective, CPU, Progress(), state=state)
    for (name, a), b in zip(whole.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(("schedule", "kind"), [("auto", torch.Tensor), ("paper_imagenet", float)])
def test_values_of_the_schedule_are_restored_as_tensors_or_numbers(schedule: str, kind: type) -> None:
    spec = some_spec(epochs=4)
    spec = dataclasses.replace(spec, variant_spec=VariantSpec(penalty="mean_square", schedule=schedule))
    objective, saved = some_objective(spec), list[GammaState]()
    train(
        some_model(), some_images(), spec, objective, CPU, Progress(), after_batch=lambda s: saved.append(s.gamma)
    )  # fmt: skip
    state, fresh = (begin(some_model(), spec, objective) for _ in range(2))
    state.gamma = saved[2]
    restore_state(fresh, dump_state(state))
    assert isinstance(fresh.gamma.gamma, kind)
    assert fresh.gamma == saved[2]

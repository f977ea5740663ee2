"""Learning rates, optimisers, weight decay and averaged weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from trainings import CPU, some_images, some_model, some_objective, some_spec, trained

from bench.core.specs import Recipe, VariantSpec
from bench.runtime.progress import Progress
from bench.training.lr_schedules import LR_SCHEDULES, cosine, halving_2024, imagenet, one_cycle
from bench.training.train import begin, train


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


def test_a_variants_own_weight_decay_takes_the_place_of_the_recipes() -> None:
    spec = dataclasses.replace(some_spec(weight_decay=5e-4), variant_spec=VariantSpec(weight_decay=0.1))
    decays = {group["weight_decay"] for group in begin(some_model(), spec, some_objective(spec)).optimizer.param_groups}
    assert decays == {0.1}


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

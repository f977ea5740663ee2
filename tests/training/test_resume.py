"""A training that was interrupted, saved and resumed is the same training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from trainings import CPU, some_images, some_model, some_objective, some_spec

from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec, TrainSpec, VariantSpec
from bench.models.classifier import Classifier
from bench.models.schedules import GammaState
from bench.runtime.progress import Progress, Stage
from bench.training.train import begin, train
from bench.training.training_state import TrainingState, dump_state, restore_state


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

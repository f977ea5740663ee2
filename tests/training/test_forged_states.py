"""A saved state of a training with values that no training has saved is one sentence, also if its hash is right."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from trainings import CPU, some_images, some_model, some_objective, some_spec

from bench.core.errors import BenchError
from bench.core.specs import TrainSpec, VariantSpec
from bench.runtime.files import FACTS, read_facts
from bench.runtime.progress import Progress
from bench.training.train import begin, train
from bench.training.training_state import TrainingState, dump_state, restore_state

SPEC = dataclasses.replace(some_spec(epochs=3), variant_spec=VariantSpec(penalty="mean_square", schedule="auto"))
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def saved() -> bytes:
    """The state after one step of the second epoch."""
    states: dict[tuple[int, int], bytes] = {}

    def keep(state: TrainingState) -> None:
        states[len(state.history), len(state.epoch.steps)] = dump_state(state)

    train(some_model(), some_images(), SPEC, some_objective(SPEC), CPU, Progress(), after_batch=keep)
    return states[1, 1]


def begun(spec: TrainSpec) -> TrainingState:
    return begin(some_model(), spec, some_objective(spec))


def test_the_state_itself_is_restored(saved: bytes) -> None:
    state = begun(SPEC)
    restore_state(state, saved)
    assert (len(state.history), len(state.epoch.steps)) == (1, 1)


HEADERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "text as time": lambda facts: {"elapsed_s": "x"},
    "negative time": lambda facts: {"elapsed_s": -1.0},
    "no epoch": lambda facts: {"epoch": None},
    "negative epoch": lambda facts: {"epoch": {"epoch": -1, "n_images": 0}},
    "text as count": lambda facts: {"epoch": {"epoch": 2, "n_images": "x"}},
    "fraction as count": lambda facts: {"epoch": {"epoch": 2, "n_images": 8.5}},
    "text as loss": lambda facts: {"history": [{**facts["history"][0], "loss": "x"}]},
    "true as loss": lambda facts: {"history": [{**facts["history"][0], "loss": True}]},
    "text as history": lambda facts: {"history": "abc"},
    "text as weight": lambda facts: {"gamma": {**facts["gamma"], "gamma": "x"}},
    "unknown weight": lambda facts: {"gamma_tensors": ["other"]},
}


@pytest.mark.parametrize("case", HEADERS)
def test_values_of_the_header(case: str, saved: bytes) -> None:
    facts = read_facts(saved)
    forged = save(load(saved), {FACTS: json.dumps({**facts, **HEADERS[case](facts)})})
    refuse(forged)


FIRST = "optimizer.0."
TENSORS: dict[str, Callable[[Tensors], Tensors]] = {
    "short moments": lambda t: {FIRST + "exp_avg": t[FIRST + "exp_avg"].flatten()[:1].clone()},
    "moments of one number": lambda t: {FIRST + "exp_avg_sq": torch.zeros(())},
    "moments in float64": lambda t: {FIRST + "exp_avg": t[FIRST + "exp_avg"].double()},
    "steps per weight": lambda t: {FIRST + "step": torch.zeros(3)},
    "moments of no weight": lambda t: {"optimizer.99.step": torch.zeros(())},
    "another moment": lambda t: {FIRST + "other": torch.zeros(())},
    "no number of a weight": lambda t: {"optimizer.x": torch.zeros(())},
    "a step of two numbers": lambda t: {"epoch.steps": t["epoch.steps"][:, :2].clone()},
    "a short generator": lambda t: {"generators.cpu": t["generators.cpu"][:9].clone()},
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_of_other_shapes_and_types(case: str, saved: bytes) -> None:
    """The fused optimiser reads the memory behind short moments, which ends the process."""
    tensors = load(saved)
    refuse(save({**tensors, **TENSORS[case](tensors)}, {FACTS: json.dumps(read_facts(saved))}))


@pytest.mark.parametrize("left_out", ["optimizer.0.exp_avg", "generators.cpu", "epoch.steps"])
def test_a_tensor_that_is_missing(left_out: str, saved: bytes) -> None:
    tensors = {name: tensor for name, tensor in load(saved).items() if name != left_out}
    refuse(save(tensors, {FACTS: json.dumps(read_facts(saved))}))


def test_a_state_of_the_other_optimiser(saved: bytes) -> None:
    recipe = dataclasses.replace(SPEC.recipe, optimizer="sgd")
    refuse(saved, dataclasses.replace(SPEC, recipe=recipe))


def test_a_header_that_is_none() -> None:
    refuse(struct.pack("<Q", 2) + b"{}")


def refuse(content: bytes, spec: TrainSpec = SPEC) -> None:
    with pytest.raises(BenchError, match=r"^the saved state of the training does not fit it: .*\.$") as raised:
        restore_state(begun(spec), content)
    assert "\n" not in str(raised.value)

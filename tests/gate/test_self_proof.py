"""The gate on trained networks: what is degraded is caught, what is not is let through."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from bench.api import evaluate
from bench.gate.baseline import Baseline, make_baseline
from bench.gate.checks import Check
from bench.gate.rules import Rules
from bench.gate.run_checks import check
from bench.gate.snapshot import take_snapshot
from bench.gate.verdict import Verdict
from bench.results.store import Store

SEEDS = 5
EPOCHS = 12
TOLERANCES = {"clean": 3.0, "fgsm": 5.0}


def load_example() -> ModuleType:
    """examples/own_model/model.py, a network that trains in a second."""
    path = Path(__file__).parents[2] / "examples" / "own_model" / "model.py"
    spec = importlib.util.spec_from_file_location("own_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXAMPLE = load_example()


def look(
    models: Sequence[nn.Module], folder: Path, *, start: int = 0, attacks: str = "fgsm", limit: int = 500
) -> Store:
    for seed, model in enumerate(models, start):
        evaluate(
            model, name="own", dataset="digits", attacks=attacks, eps="0.1", corruptions="none", audit="none",
            seed=seed, limit=limit, results=folder,
        )  # fmt: skip
    return Store(folder)


@pytest.fixture(scope="module")
def networks() -> list[nn.Module]:
    return [EXAMPLE.train(seed, epochs=EPOCHS) for seed in range(SEEDS)]


@pytest.fixture(scope="module")
def held(networks: list[nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    store = look(networks, tmp_path_factory.mktemp("baseline"))
    return make_baseline(take_snapshot(store).runs, TOLERANCES)


def judged(held: Baseline, store: Store) -> list[Check]:
    lines = check(held, take_snapshot(store), Rules())
    return [line for line in lines if line.metric != "audit"]


def test_nothing_changed(held: Baseline, networks: list[nn.Module], tmp_path: Path) -> None:
    lines = judged(held, look(networks, tmp_path))
    assert len(lines) == 2 * SEEDS
    assert {line.why for line in lines} == {"no image changed"}


def test_a_broken_normalisation_of_the_same_weights_is_caught_in_every_seed(
    held: Baseline, networks: list[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code that ships with the weights forgets to subtract the mean."""
    monkeypatch.setattr(EXAMPLE, "MEAN", 0.0)
    lines = judged(held, look(networks, tmp_path))
    assert {line.size for line in lines} == {"500 images"}
    caught = {line.name for line in lines if line.verdict is Verdict.FAIL}
    assert len(caught) == SEEDS


def noisy(model: nn.Module, seed: int) -> nn.Module:
    """Every weight two thirds of its tensor's deviation away."""
    generator = torch.Generator().manual_seed(seed)
    other = EXAMPLE.Digits()
    state = {
        name: value + 0.66 * value.std() * torch.randn(value.shape, generator=generator)
        for name, value in model.state_dict().items()
    }
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize(
    "degrade",
    [
        lambda model, seed: EXAMPLE.train(seed, epochs=1),
        noisy,
    ],
    ids=["fewer epochs", "noise on the weights"],
)
def test_other_weights_that_are_worse_are_caught_over_seeds(
    held: Baseline, networks: list[nn.Module], tmp_path: Path, degrade: Callable[[nn.Module, int], nn.Module]
) -> None:
    lines = judged(held, look([degrade(model, seed) for seed, model in enumerate(networks)], tmp_path))
    assert {line.size for line in lines} == {"5 and 5 seeds"}
    assert {line.verdict for line in lines} == {Verdict.FAIL}


def test_one_worse_network_alone_is_never_enough(held: Baseline, networks: list[nn.Module], tmp_path: Path) -> None:
    lines = judged(held, look([noisy(networks[0], 0)], tmp_path))
    assert {line.why for line in lines} == {"missing: 4 of the baseline's 5 trainings"}


def test_new_seeds_of_the_same_recipe_pass(held: Baseline, tmp_path: Path) -> None:
    """Nothing was lost but the chance of a training."""
    lines = judged(held, look([EXAMPLE.train(seed, epochs=EPOCHS) for seed in range(10, 15)], tmp_path, start=10))
    assert {line.verdict for line in lines} == {Verdict.PASS}


def test_eight_other_seeds_of_the_attack_raise_no_alarm(networks: list[nn.Module], tmp_path: Path) -> None:
    """PGD starts elsewhere every time: images change, and none of the changes is a drop."""
    model = networks[0]
    held = make_baseline(take_snapshot(look([model], tmp_path / "0", attacks="pgd-5", limit=200)).runs, {})
    changed = 0
    for seed in range(1, 9):
        lines = judged(held, look([model], tmp_path / str(seed), start=seed, attacks="pgd-5", limit=200))
        assert {line.size for line in lines} == {"200 images"}
        assert not [line for line in lines if line.verdict is Verdict.FAIL]
        changed += sum((line.n_regressed or 0) + (line.n_improved or 0) for line in lines)
    assert changed > 0

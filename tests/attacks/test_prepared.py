"""A search model proposes, the model under test decides: whatever the search model says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.registry import resolve
from bench.core.records import EvalRecord
from bench.core.specs import EvalSpec, Norm, Precision
from bench.data.tensors import ResidentImages
from bench.evaluation.cell import CellInput
from bench.evaluation.evaluate import evaluate_cell
from bench.evaluation.pass_counter import CountingModel
from bench.runtime.progress import Progress

SIDE, COUNT, MARGIN = 6, 8, 0.05


class Linear(nn.Module):
    """Two classes, logits (−s, s)/2 of a linear score s, 0 in the middle of the box."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(3 * SIDE * SIDE, generator=torch.Generator().manual_seed(7))

    def forward(self, inputs: Tensor) -> Tensor:
        score = (inputs.flatten(1) - 0.5) @ self.weight.to(inputs.dtype)
        return torch.stack((-score, score), 1) / 2


class Liar(nn.Module):
    """Says that every image is broken: a third class is always ahead. The gradients are still of some use."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits = self.model(inputs)
        return torch.cat((logits, logits.new_full((len(logits), 1), 1e3)), 1)


class Twin:
    """In the place of bench.evaluation.fast_model.SearchModels."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def get(self, precision: Precision) -> nn.Module:
        return self.model

    def note(self, precision: Precision) -> tuple[str, ...]:
        return ()

    def difference(self, precision: Precision, points: Tensor) -> str:
        """Lies are not found out here: what they can do at worst is tested."""
        return ""


def at_margin(model: Linear) -> ResidentImages:
    """Images of both classes whose exact distance to the boundary, in the maximum norm, is MARGIN."""
    labels = torch.arange(COUNT) % 2
    towards = model.weight.sign() * MARGIN
    pixels = 0.5 + (2 * labels - 1)[:, None] * towards
    return ResidentImages([f"x/{i}" for i in range(COUNT)], pixels.view(-1, 3, SIDE, SIDE), labels)


def record_of(name: str, eps: float, search: nn.Module | None, norm: Norm = "linf") -> EvalRecord:
    model, attack = Linear(), resolve(name)
    images = at_margin(model)
    spec = EvalSpec(
        run_id="r", data_sha="d", attack=attack.spec(norm, eps, batch_size=4), protocol="standard", limit=None,
        batch_size=4, seed=0,
    )  # fmt: skip
    context = CellInput(
        model=model, weights_sha="", images=images, n_test=COUNT, official=False, num_classes=2,
        device=torch.device("cpu"), entry=attack.entry, search_models=Twin(search or model),  # type: ignore[arg-type]
    )  # fmt: skip
    record, _ = evaluate_cell(spec, context, Progress())
    assert record.status == "ok", record.message
    return record


@pytest.mark.parametrize(
    ("name", "eps", "robust"),
    [
        ("pgd", 1.05 * MARGIN, 0),
        ("pgd", 0.95 * MARGIN, COUNT),
        ("apgd-t", 1.05 * MARGIN, 0),
        ("apgd-t", 0.95 * MARGIN, COUNT),
        ("autoattack", 1.05 * MARGIN, 0),
    ],
)
def test_a_search_model_that_lies_does_not_change_the_verdict(name: str, eps: float, robust: int) -> None:
    """Beyond the margin every image is broken, though the liar says so from the start; within it none is."""
    assert record_of(name, eps, None).n_correct == robust
    assert record_of(name, eps, Liar(Linear())).n_correct == robust


def run(name: str, model: nn.Module, eps: float) -> Tensor:
    images = at_margin(Linear())
    attack = resolve(name)
    rng = SampleRng(0, attack.name, images.ids)
    spec = attack.spec("linf", eps, batch_size=3)
    return call_attack(attack.entry, model, images.pixels, images.labels, spec=spec, rng=rng).adversarials


@pytest.mark.parametrize("name", ["pgd", "apgd-ce"])
def test_only_what_was_found_is_confirmed(name: str) -> None:
    """One pass of the model under test for each image that breaks, beside those of the ranking."""
    for eps, hits in ((1.05 * MARGIN, COUNT), (0.95 * MARGIN, 0)):
        exact, search = CountingModel(Linear()), CountingModel(Linear())
        run(name, FastModel(exact, search), eps)
        ranking = 0 if name == "pgd" else COUNT
        assert exact.forwards == hits + ranking
        assert exact.backwards == 0
        assert search.forwards == search.backwards > 0


def test_confirming_is_counted_as_passes() -> None:
    """Everything that one model computes, or two."""
    alone, twin = record_of("pgd", 1.05 * MARGIN, None), record_of("pgd", 1.05 * MARGIN, Linear())
    assert twin.n_forwards == alone.n_forwards + COUNT
    assert twin.n_backwards == alone.n_backwards


def test_an_attack_without_a_search_of_its_own_is_given_the_model_under_test_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[nn.Module] = []

    def attack(model: nn.Module, inputs: Tensor, labels: Tensor, **_: object) -> Tensor:
        given.append(model)
        return inputs

    monkeypatch.setattr("bench.attacks.adapter.load_function", lambda entry: attack)
    search = Linear()
    for name in ("autoattack-rand", "pgd"):
        record_of(name, MARGIN, search)
    assert [search in model.modules() for model in given] == [False, True]


def test_fgsm_differentiates_the_search_model() -> None:
    exact, search = CountingModel(Linear()), CountingModel(Linear())
    assert torch.equal(run("fgsm", FastModel(exact, search), 0.1), run("fgsm", Linear(), 0.1))
    assert (exact.forwards, search.backwards) == (0, COUNT)

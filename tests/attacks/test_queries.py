"""A bounded search is the beginning of the unbounded one, image by image, and says where it was cut.

The stages of AutoAttack are a tenth as long here: what is tested is where they stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import ATTACKS
from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.query_budget import AttackResult
from bench.attacks.registry import cost_of, resolve
from bench.core.errors import BenchError
from bench.evaluation.pass_counter import CountingModel

EPS = {"linf": 0.08, "l2": 0.4}
COUNT = 6
BOUNDED = [name for name in ATTACKS if ATTACKS.get(name).bounded]
STEPS, QUERIES = 10, 40


@pytest.fixture(autouse=True, scope="module")
def _short_stages() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.attacks.ensemble.ITERATIONS", STEPS)
        patch.setattr("bench.attacks.ensemble.SQUARE_QUERIES", QUERIES)
        yield


def net(wide: bool = False) -> nn.Module:
    """``wide``: the bias decides, so that no attack succeeds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(36, 4))
    model.requires_grad_(False)
    if wide:
        model[3].weight.mul_(1e-4)
        model[3].bias.copy_(torch.arange(4.0))
    return model.eval()


def attack(
    name: str, norm: str, bound: int | None, chosen: list[int], model: nn.Module, batch: int = 3
) -> AttackResult:
    """Broken are those whose class is not the model's own; of an unbounded attack nothing is cut."""
    resolved = resolve(name)
    spec = resolved.spec(norm, EPS[norm], batch_size=batch, max_queries=bound)  # type: ignore[arg-type]
    spec = type(spec)(**{**vars(spec), "params": {**spec.params, "batch_size": batch}})
    inputs = torch.rand(COUNT, 3, 6, 6, generator=torch.Generator().manual_seed(1))[chosen]
    inputs = inputs.to(next(model.parameters()).dtype)
    with torch.no_grad():
        labels = (model.model if isinstance(model, CountingModel) else model)(inputs).argmax(1)
    rng = SampleRng(0, resolved.name, [f"test/{i}" for i in chosen])
    found = call_attack(resolved.entry, model, inputs, labels, spec=spec, rng=rng)
    assert (found.truncated is None) == (bound is None)
    return found if bound else found._replace(truncated=torch.zeros_like(labels, dtype=torch.bool))


def broken(adversarials: Tensor, chosen: list[int], model: nn.Module) -> Tensor:
    inputs = torch.rand(COUNT, 3, 6, 6, generator=torch.Generator().manual_seed(1))[chosen]
    return model(adversarials).argmax(1) != model(inputs).argmax(1)


@cache
def alone(name: str, norm: str) -> list[tuple[int, bool, Tensor]]:
    """Attack each image alone, without a bound; return its passes, whether it is broken, and its adversarial image."""
    model = net()
    found = []
    for i in range(COUNT):
        counting = CountingModel(model)
        adversarials = attack(name, norm, None, [i], counting, batch=1).adversarials  # no room for what may be in vain
        found.append((counting.forwards, bool(broken(adversarials, [i], model)), adversarials[0]))
    return found


@pytest.mark.parametrize(
    ("name", "norm"),
    # Norms differ in their points only, which Square and AutoAttack draw. autoattack-plus has no stage of its own.
    [
        (name, norm)
        for name in BOUNDED
        for norm in EPS
        if norm in ATTACKS.get(name).norms
        and name != "autoattack-plus"
        and (norm == ATTACKS.get(name).norms[0] or name in ("pgd", "square", "autoattack"))
    ],
)
def test_a_bounded_search_is_the_beginning_of_the_unbounded_one(name: str, norm: str) -> None:
    """In batches of three that refill; the oracle is each image by itself, counted by the model."""
    model, everyone = net(), list(range(COUNT))
    passes = sorted({cost for cost, _, _ in alone(name, norm)})
    ends = {passes[0], passes[len(passes) // 2], passes[-1]}  # of the first, of some and of the last of the images
    for bound in sorted({1, passes[-1] // 2 + 1, *ends, *(p - 1 for p in ends if p > 1)}):
        found = attack(name, norm, bound, everyone, model)
        verdicts = broken(found.adversarials, everyone, model)
        for i, (cost, breaks, adversarial) in enumerate(alone(name, norm)):
            assert bool(verdicts[i]) == (breaks and cost <= bound), (bound, i)
            assert bool(found.truncated[i]) == (cost > bound), (bound, i)
            assert not verdicts[i] or torch.allclose(found.adversarials[i], adversarial, atol=1e-5)


@pytest.mark.parametrize("bound", [1, 2, 9, 11, 12, 13, 25])
@pytest.mark.parametrize("name", BOUNDED)
def test_no_image_costs_more_than_the_bound(name: str, bound: int) -> None:
    """Use a model that no attack breaks, so that every attack goes as far as it may."""
    counting = CountingModel(net(wide=True))
    found = attack(name, ATTACKS.get(name).norms[0], bound, [0], counting)
    assert counting.forwards == bound or not found.truncated.any()
    assert counting.forwards <= bound


@pytest.mark.parametrize(
    ("name", "whole"), [("fgsm", 1), ("pgd-4-r3", 15), ("apgd-ce", 1 + 11), ("square", 1 + 41), ("apgd-t", 1 + 33)]
)
def test_a_search_that_ends_with_its_last_question_is_not_cut(name: str, whole: int) -> None:
    model = net(wide=True)
    bounds = [bound for bound in (whole - 1, whole) if bound]
    cuts = {bound: attack(name, "linf", bound, [0, 1], model).truncated.tolist() for bound in bounds}
    assert cuts.pop(whole) == [False, False]
    assert all(cut == [True, True] for cut in cuts.values())


def test_the_count_goes_on_from_stage_to_stage() -> None:
    """autoattack: 1 for the ranking, 11 of APGD-CE, 33 of the targeted APGD; then FAB is under way."""
    for bound in (1 + 5, 1 + 11, 1 + 11 + 5, 1 + 11 + 33, 1 + 11 + 33 + 5):
        counting = CountingModel(net(wide=True))
        assert attack("autoattack", "linf", bound, [0, 1, 2], counting, batch=2).truncated.all()
        assert counting.forwards == 3 * bound


def test_results_do_not_depend_on_the_batch() -> None:
    model = net().double()
    everyone, bound = list(range(COUNT)), 40
    one = attack("pgd-10-r5", "l2", bound, everyone, model, batch=64)
    for batch in (1, 3):
        again = attack("pgd-10-r5", "l2", bound, everyone[::-1], model, batch=batch)
        assert torch.equal(again.truncated.flip(0), one.truncated)
        assert torch.allclose(again.adversarials.flip(0), one.adversarials, atol=1e-9)


def test_the_bound_is_part_of_the_identity_only_where_there_is_one() -> None:
    specs = [resolve("pgd").spec("linf", 0.1, batch_size=8, max_queries=bound) for bound in (None, 5, 6)]
    assert [dict(spec.params) for spec in specs] == [
        {"steps": 20, "restarts": 1}, {"steps": 20, "restarts": 1, "max_queries": 5},
        {"steps": 20, "restarts": 1, "max_queries": 6},
    ]  # fmt: skip
    assert [spec.label for spec in specs] == ["pgd-20", "pgd-20-q5", "pgd-20-q6"]
    assert {spec.name for spec in specs} == {"pgd-20"}  # the draws are those of the whole attack


def test_attacks_that_cannot_be_stopped_say_so() -> None:
    for name, backend in (("pgd", "reference"), ("autoattack", "reference"), ("autoattack-rand", "native")):
        with pytest.raises(BenchError, match="cannot be stopped after 5 forward passes"):
            resolve(name, backend).spec("linf", 0.1, batch_size=8, max_queries=5)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match="max_queries is 0; it must be 1 or more"):
        resolve("pgd").spec("linf", 0.1, batch_size=8, max_queries=0)


def test_the_stated_cost_is_within_the_bound() -> None:
    entry = resolve("autoattack").entry
    cost = cost_of(entry, {"version": "standard", "max_queries": 50}, 10)
    assert (cost.forwards, cost.backwards, cost.least_forwards) == (50, 50, 1)

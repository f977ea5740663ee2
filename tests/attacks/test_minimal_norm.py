"""DDN, FMN and DeepFool: known distances, foolbox's smallest perturbations, and what a budget changes."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import eagerpy
import foolbox
import pytest
import torch
from helpers import LinearModel
from nets import correct, trained
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.ddn_attack import Ddn
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.query import query
from bench.attacks.engine.run_search import run_search
from bench.attacks.engine.search import Samples
from bench.attacks.fmn_attack import Fmn
from bench.attacks.geometry.norms import length
from bench.attacks.registry import resolve
from bench.core.specs import Norm
from bench.evaluation.pass_counter import CountingModel

STEPS = 100
Search = Ddn | Fmn


class ProjectingL2(foolbox.attacks.L2FMNAttack):  # type: ignore[misc]
    """Foolbox 3.3.4 multiplies by min(1, ‖δ‖/‖δ‖) where ε/‖δ‖ is meant."""

    def project(self, x: Any, x0: Any, epsilon: Any) -> Any:
        delta = x - x0
        norms = eagerpy.maximum(foolbox.devutils.flatten(delta).norms.l2(axis=-1), 1e-12)
        return x0 + delta * foolbox.devutils.atleast_kd(eagerpy.minimum(1, epsilon / norms), x.ndim)


THEIRS: dict[tuple[str, Norm], Callable[..., Any]] = {
    ("ddn", "l2"): foolbox.attacks.DDNAttack,
    ("fmn", "linf"): foolbox.attacks.LInfFMNAttack,
    ("fmn", "l1"): foolbox.attacks.L1FMNAttack,
    ("fmn", "l2"): foolbox.attacks.DDNAttack,  # its own L2 form does not project
}
CASES = list(THEIRS)
NETS = ("strided", "pooled", "hardened")


def endless(name: str, norm: Norm, steps: int = STEPS) -> Search:
    return Ddn(eps=-1.0, steps=steps) if name == "ddn" else Fmn(norm=norm, eps=-1.0, steps=steps)


def samples_of(inputs: Tensor, labels: Tensor) -> Samples:
    return Samples(inputs, labels, torch.arange(len(inputs)), labels[:, None])


def smallest(search: Search, norm: Norm, model: nn.Module, samples: Samples) -> Tensor:
    """The least length of the adversarial points of the whole walk, (N,); infinite where there was none."""
    state = search.start(samples, torch.zeros_like(samples.labels))
    found = samples.inputs.new_full((len(samples),), torch.inf)
    for _ in range(search.steps):  # the published loops do not ask about the last point
        answer = query(search, model, state)
        lengths = length(state.points - samples.inputs, norm)
        found = torch.where(answer.logits.argmax(1) != samples.labels, torch.minimum(found, lengths), found)
        state = search.advance(state, answer)
    return found


def of_foolbox(attack: Any, norm: Norm, model: nn.Module, samples: Samples) -> Tensor:
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    with torch.random.fork_rng(devices=[]):  # DDN draws directions even where it needs none
        moved = attack(steps=STEPS).run(bounded, samples.inputs, samples.labels)
    found = length(moved - samples.inputs, norm)
    return torch.where(model(moved).argmax(1) != samples.labels, found, torch.inf)


@pytest.mark.parametrize(
    ("name", "norm", "net"),
    [
        pytest.param(*case, net, marks=[] if NETS[i % 3] == net else pytest.mark.slow)
        for i, case in enumerate(CASES)
        for net in NETS
    ],
)
def test_the_smallest_perturbations_are_those_of_foolbox(name: str, norm: Norm, net: str) -> None:
    model = trained(net)
    samples = samples_of(*correct(model, 40))
    ours = smallest(endless(name, norm), norm, model, samples)
    theirs = of_foolbox(THEIRS[name, norm], norm, model, samples)
    assert ours.isfinite().all()
    assert theirs.isfinite().all() or (name, norm) == ("fmn", "l1")  # where the walls keep theirs from some
    ratio = (ours / theirs)[theirs.isfinite()]
    assert len(ratio) >= 20
    assert 0.98 < float(ratio.median()) < 1.015
    # FMN's place on the boundary is not DDN's.
    assert float(ratio.quantile(0.9)) < (1.04 if name == "ddn" or norm == "linf" else 1.15)


@pytest.mark.parametrize(
    ("name", "norm", "attack"),
    [
        ("ddn", "l2", foolbox.attacks.DDNAttack),
        ("fmn", "linf", foolbox.attacks.LInfFMNAttack),
        ("fmn", "l1", foolbox.attacks.L1FMNAttack),
        ("fmn", "l2", ProjectingL2),
    ],
)
def test_in_float64_and_far_from_the_walls_the_walk_is_foolboxs(name: str, norm: Norm, attack: Any) -> None:
    """Radii and step sizes to the last digits."""
    model = deepcopy(trained("pooled")).double()
    inputs = 0.5 + 0.2 * (correct(trained("pooled"), 20)[0].double() - 0.5)
    samples = samples_of(inputs, model(inputs).argmax(1))
    search = endless(name, norm)
    ours = smallest(search if isinstance(search, Ddn) else replace(search, overshoot=0.0), norm, model, samples)
    theirs = of_foolbox(attack, norm, model, samples)
    far = theirs < 0.3  # no pixel can have come to a wall
    assert int(far.sum()) >= 8
    assert torch.allclose(ours[far], theirs[far], rtol=1e-7)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_linear_models_distance_is_found(name: str, norm: Norm) -> None:
    """From above, and to a hundredth."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(108, generator=generator).double()
    model = LinearModel(weight, 0.7 - 0.5 * float(weight.sum())).requires_grad_(False)
    inputs = 0.5 + 0.01 * torch.randn(8, 3, 6, 6, generator=generator).double()
    samples = samples_of(inputs, model(inputs).argmax(1))
    ratio = smallest(endless(name, norm, 300), norm, model, samples) / model.margin(inputs, norm)
    assert float(ratio.min()) >= 1 - 1e-9
    assert float(ratio.max()) < 1.01


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_a_verdict_is_that_of_the_whole_walk_and_leaves_early(name: str, norm: Norm) -> None:
    """The smallest is within ε if and only if some point is; and no path depends on its neighbours."""
    model = trained("strided")
    samples = samples_of(*correct(model, 40))
    search = endless(name, norm)
    found = smallest(search, norm, model, samples)
    eps = float(found.median()) * 1.001
    bounded = Ddn(eps=eps, steps=STEPS - 1) if name == "ddn" else Fmn(norm=norm, eps=eps, steps=STEPS - 1)
    assert (bounded.steps + 1, search.steps) == (STEPS, STEPS)
    far = (found - eps).abs() > 0.03 * eps  # the step sizes know how many steps there are
    for size in (40, 7):
        counting = CountingModel(model)
        searched_result = run_search(bounded, counting, samples, batch_size=size)
        assert torch.equal(searched_result.success[far], (found <= eps)[far])
        assert counting.backwards < 0.75 * STEPS * 40
        within = length(searched_result.adversarials - samples.inputs, norm)[searched_result.success]
        assert float(within.max()) <= eps


class Flat(nn.Module):
    """No gradient, and another class where the mean is above 0.6 or below 0.4."""

    def forward(self, inputs: Tensor) -> Tensor:
        away = ((inputs.flatten(1).mean(1) - 0.5).abs() > 0.1).to(inputs.dtype)
        return torch.stack((1 - away, away), 1) + 0 * inputs.flatten(1).sum(1, keepdim=True)


def test_without_a_gradient_ddn_goes_elsewhere_and_fmn_ends() -> None:
    inputs = torch.full((4, 3, 6, 6), 0.5)
    samples = samples_of(inputs, torch.zeros(4, dtype=torch.int64))
    search, counting = Ddn(eps=0.5, steps=20), CountingModel(Flat())
    first = search.advance(begun := search.start(samples, samples.labels), query(search, counting, begun)).points
    assert torch.allclose(length(first - inputs, "l2"), torch.full((4,), 1.05))
    assert len({tuple(point.flatten().tolist()) for point in first}) == 4
    again = search.advance(begun, query(search, counting, begun)).points
    assert torch.equal(first, again)
    counting = CountingModel(Flat())
    assert not run_search(Fmn(norm="l2", eps=0.5), counting, samples, batch_size=4).success.any()
    assert counting.forwards == 4


def run(name: str, eps: float, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    attack = resolve(name)
    spec = attack.spec("l2", eps, batch_size=64)
    rng = SampleRng(0, name, [""] * len(inputs))
    return call_attack(attack.entry, model, inputs, labels, spec=spec, rng=rng).adversarials


def test_deepfool_returns_what_is_within_the_budget_and_the_clean_image_elsewhere() -> None:
    model = trained("strided")
    inputs, labels = correct(model, 40)
    far = run("deepfool", 100.0, model, inputs, labels)
    lengths = length(far - inputs, "l2")
    assert (model(far).argmax(1) != labels).all()
    eps = float(lengths.sort().values[19:21].mean())  # between two lengths, so that rounding moves no image over it
    found = run("deepfool", eps, model, inputs, labels)
    near = lengths <= eps
    assert 10 < int(near.sum()) < 30
    torch.testing.assert_close(found[near], far[near], rtol=0, atol=1e-5)  # batches of other sizes round differently
    assert torch.equal(found[~near], inputs[~near])

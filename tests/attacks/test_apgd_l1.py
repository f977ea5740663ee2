"""Auto-PGD in L1: from one start the path of its authors' program, through all three radii."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from nets import correct, trained
from pyautoattack import autopgd_base
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor, nn

from bench.attacks.apgd_l1 import UNCHANGED, ApgdL1, phase_steps
from bench.attacks.engine.query import query
from bench.attacks.engine.run_search import run_search
from bench.attacks.engine.search import Samples
from bench.attacks.geometry.norms import length
from bench.attacks.objectives import Objective

IMAGES, STEPS = 10, 100
OBJECTIVES: tuple[Objective, ...] = ("ce", "dlr", "dlr-targeted")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The authors' projection turns everything into float32; here it cannot. Nor does it count rounding errors."""
    trained("pooled")  # in float32
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(autopgd_base, "L0_norm", lambda x: (x.abs() > UNCHANGED).flatten(1).sum(1))
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(previous)


def setting(count: int = IMAGES) -> tuple[nn.Module, Samples]:
    """In float64, with a little noise: no two pixels are equally steep."""
    model = deepcopy(trained("pooled")).double()
    inputs, _ = correct(trained("pooled"), count)
    noise = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)).double()
    inputs = (inputs.double() + 0.05 * noise).clamp(0, 1)
    ranking = model(inputs).argsort(dim=1, descending=True)
    return model, Samples(inputs, ranking[:, 0], torch.arange(count), ranking)


class Recording(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.points = model, list[Tensor]()

    def forward(self, inputs: Tensor) -> Tensor:
        self.points.append(inputs.detach().clone())
        logits: Tensor = self.model(inputs)
        return logits


def our_path(search: ApgdL1, model: nn.Module, samples: Samples) -> tuple[list[Tensor], list[Tensor]]:
    state = search.start(samples, torch.zeros_like(samples.labels))
    asked, broken = [], []
    while not state.over.any():
        answer = query(search, model, state)
        asked.append(state.points)
        broken.append(search.is_adversarial(state, answer.logits))
        state = search.advance(state, answer)
    return asked, broken


def reference_path(
    search: ApgdL1, model: nn.Module, samples: Samples, monkeypatch: pytest.MonkeyPatch, start: Tensor
) -> list[Tensor]:
    recording = Recording(model)
    options = {"n_iter": search.steps, "norm": "L1", "eps": search.eps, "device": "cpu", "use_largereps": True}
    if search.objective == "dlr-targeted":
        attack = APGDAttack_targeted(recording, **options)
        attack.y_target = samples.ranking[:, 1]
    else:
        attack = APGDAttack(recording, loss=search.objective, **options)
    attack.init_hyperparam(samples.inputs)
    monkeypatch.setattr(torch, "randn_like", lambda x: start - samples.inputs)  # projected already
    radii = [3 * search.eps, 2 * search.eps, search.eps]
    attack.decr_eps_pgd(samples.inputs, samples.labels, radii, list(phase_steps(search.steps)))
    return recording.points


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    ("objective", "eps", "steps"),
    [("ce", 0.6, 100), ("dlr", 1.5, 100), ("dlr-targeted", 0.6, 20), ("ce", 1.5, 20), ("dlr-targeted", 1.5, 100)],
)
def test_the_path_is_that_of_the_reference(
    objective: Objective, eps: float, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three starts and all steps: sparsities, step sizes and radii are in it."""
    model, samples = setting()
    search = ApgdL1(eps=eps, objective=objective, steps=steps)
    ours, broken = our_path(search, model, samples)
    theirs = reference_path(search, model, samples, monkeypatch, ours[0])
    assert len(ours) == len(theirs) == steps + 3
    apart = torch.stack([length(a - b, "linf") for a, b in zip(ours, theirs, strict=True)])
    standing = ~torch.stack(broken).cummax(0).values
    assert int(standing[-1].sum()) >= 3
    assert float(apart[standing].max()) < 1e-6


@pytest.mark.parametrize(("steps", "expected"), [(100, (30, 30, 40)), (20, (6, 6, 8)), (7, (3, 3, 1)), (1, (1, 0, 0))])
def test_the_steps_of_the_phases_are_all_of_them(steps: int, expected: tuple[int, int, int]) -> None:
    assert phase_steps(steps) == expected


def test_every_point_is_in_its_ball_and_the_box_and_only_the_last_phase_breaks() -> None:
    model, samples = setting(30)
    asked, broken = our_path(ApgdL1(eps=2.0, objective="ce"), model, samples)
    for k, points in enumerate(asked):
        radius = 2.0 * (3 if k < 31 else 2 if k < 62 else 1)
        assert float(length(points - samples.inputs, "l1").max()) <= radius + 1e-9
        assert float(points.min()) >= 0
        assert float(points.max()) <= 1
        assert k >= 62 or not broken[k].any()
    assert broken[-1].any()
    assert not torch.stack([model(points).argmax(1) != samples.labels for points in asked[:31]]).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_verdict_does_not_depend_on_batch_order_or_neighbours(objective: Objective) -> None:
    model, samples = setting(30)
    search = ApgdL1(eps=2.0, objective=objective, steps=20, attempts=2)
    found = run_search(search, model, samples, batch_size=64)
    assert 0 < int(found.success.sum()) < 30
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    shuffled = Samples(*(getattr(samples, name)[order] for name in ("inputs", "labels", "keys", "ranking")))
    again = run_search(search, model, shuffled, batch_size=7)
    assert torch.equal(again.success, found.success[order])
    assert torch.allclose(again.adversarials, found.adversarials[order], rtol=0, atol=1e-9)

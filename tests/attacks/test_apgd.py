"""Auto-PGD: from one start, the path of its authors' program; and nothing that a neighbour could change."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor, nn

from bench.attacks.apgd_attack import Apgd, ApgdState, Objective
from bench.attacks.engine.fast_model import FastModel
from bench.attacks.engine.query import query
from bench.attacks.engine.run_search import run_search
from bench.attacks.engine.search import Samples
from bench.attacks.geometry.norms import length
from bench.core.specs import Norm

IMAGES, STEPS = 12, 100
OBJECTIVES: tuple[Objective, ...] = ("ce", "dlr", "dlr-targeted")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """The reference makes its tables in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@cache
def network() -> nn.Module:
    """A small convolutional net in float64, trained until the images of :func:`samples_for` have margins to lose."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 16, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 10),
    ).double()
    inputs, labels = some_images(60), torch.arange(60) % 10
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(layers(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return layers.eval().requires_grad_(False)


def some_images(count: int) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def samples_for(model: nn.Module, count: int = IMAGES) -> Samples:
    inputs = some_images(count)
    ranking = model(inputs).argsort(dim=1, descending=True)
    return Samples(inputs, ranking[:, 0], torch.arange(count), ranking)


class Recording(nn.Module):
    """Keeps the points it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.points = model, []

    def forward(self, inputs: Tensor) -> Tensor:
        self.points.append(inputs.detach().clone())
        logits: Tensor = self.model(inputs)
        return logits


def our_path(search: Apgd, model: nn.Module, samples: Samples) -> tuple[list[Tensor], list[Tensor], ApgdState]:
    """The points asked about, which of them break their image, and where the walk ended."""
    state = search.start(samples, torch.zeros_like(samples.labels))
    asked, broken = [], []
    while not state.over.any():
        answer = query(search, model, state)
        asked.append(state.points)
        broken.append(search.is_adversarial(state, answer.logits))
        state = search.advance(state, answer)
    return asked, broken, state


def reference_path(search: Apgd, model: nn.Module, samples: Samples, start: Tensor) -> list[Tensor]:
    recording = Recording(model)
    norm = {"linf": "Linf", "l2": "L2"}[search.norm]
    if search.objective == "dlr-targeted":
        attack = APGDAttack_targeted(recording, n_iter=STEPS, norm=norm, eps=search.eps, device="cpu")
        attack.y_target = samples.ranking[:, 1]
    else:
        attack = APGDAttack(recording, n_iter=STEPS, norm=norm, eps=search.eps, loss=search.objective, device="cpu")
    attack.init_hyperparam(samples.inputs)
    attack.attack_single_run(samples.inputs, samples.labels, x_init=start)
    return recording.points


@pytest.mark.parametrize(
    ("norm", "eps", "objective"),
    [
        ("linf", 0.02, "ce"),
        ("linf", 0.04, "dlr"),
        ("linf", 0.02, "dlr-targeted"),
        ("l2", 0.2, "ce"),
        ("l2", 0.4, "dlr"),
        ("l2", 0.2, "dlr-targeted"),
    ],
)
def test_the_path_is_that_of_the_reference(norm: Norm, eps: float, objective: Objective) -> None:
    """Step sizes and checkpoints are in it: 101 points, each the consequence of all before."""
    model = network()
    samples = samples_for(model)
    search = Apgd(norm=norm, eps=eps, objective=objective)
    ours, broken, state = our_path(search, model, samples)
    theirs = reference_path(search, model, samples, ours[0])
    assert len(ours) == len(theirs) == STEPS + 1
    apart = torch.stack([length(a - b, "linf") for a, b in zip(ours, theirs, strict=True)])
    # Of a broken image nothing more is asked; where its label has fallen to the third place DLR is constant, too, and
    # rounding errors have no path to compare.
    standing = ~torch.stack(broken).cummax(0).values
    assert int(standing[-1].sum()) >= 4
    # Near a smooth maximum on the sphere, points 1e-8 apart have one loss to the last digit: which is best is chance.
    assert float(apart[standing].max()) < (1e-8 if norm == "linf" else 1e-7)
    assert float(state.step_size.max()) < eps  # the checkpoints did something


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_point_is_in_the_ball_and_in_the_box(norm: Norm) -> None:
    model = network()
    samples = samples_for(model)
    asked, _, _ = our_path(Apgd(norm=norm, eps=0.3, objective="ce"), model, samples)
    for points in asked:
        assert float(points.min()) >= 0
        assert float(points.max()) <= 1
        assert float(length(points - samples.inputs, norm).max()) <= 0.3 + 1e-12


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_verdict_does_not_depend_on_batch_order_or_neighbours(objective: Objective) -> None:
    model = network()
    samples = samples_for(model, 40)
    search = Apgd(norm="linf", eps=0.045, objective=objective, steps=20, attempts=3)
    found = run_search(search, model, samples, batch_size=64)
    assert 0 < int(found.success.sum()) < 40
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    shuffled = Samples(*(getattr(samples, name)[order] for name in ("inputs", "labels", "keys", "ranking")))
    for size in (1, 7):
        again = run_search(search, model, shuffled, batch_size=size)
        assert torch.equal(again.success, found.success[order])
        assert torch.allclose(again.adversarials, found.adversarials[order], rtol=0, atol=1e-12)


def test_an_image_leaves_when_it_is_broken_and_its_place_is_taken() -> None:
    model = Recording(network())
    samples = samples_for(model.model, 40)
    model.points.clear()
    found = run_search(Apgd(norm="linf", eps=0.04, objective="ce"), model, samples, batch_size=8)
    standing = int((~found.success).sum())
    assert 0 < standing < 40
    assert all(len(points) == 8 for points in model.points[:100])
    assert sum(map(len, model.points)) < 101 * standing + 40 * 20


def test_an_image_that_is_not_confirmed_goes_on() -> None:
    """The model under test gives every point the label of all samples."""
    model = network()
    samples = samples_for(model)
    samples = dataclasses.replace(samples, labels=torch.zeros_like(samples.labels))
    search = Apgd(norm="linf", eps=0.5, objective="ce", steps=10)
    asked: list[int] = []

    class Denying(nn.Module):
        def forward(self, points: Tensor) -> Tensor:
            asked.append(len(points))
            return nn.functional.one_hot(torch.zeros(len(points), dtype=torch.int64), samples.ranking.shape[1]).to(
                points
            )

    found = run_search(search, FastModel(Denying(), model), samples, batch_size=8)
    assert sum(asked) > IMAGES
    assert not found.success.any()
    assert torch.equal(found.adversarials, samples.inputs)


def test_every_attempt_takes_the_next_class_of_the_ranking() -> None:
    model = network()
    samples = samples_for(model)
    search = Apgd(norm="linf", eps=0.02, objective="dlr-targeted", attempts=5)
    for attempt in range(5):
        state = search.start(samples, torch.full_like(samples.labels, attempt))
        assert torch.equal(state.targets, samples.ranking[:, attempt + 1])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.042, 0.05])
def test_logits_times_a_thousand_are_as_easy_to_break(norm: Norm, eps: float) -> None:
    """In float32, where cross-entropy's own gradient would be 0."""
    model = network()
    samples = samples_for(model, 60)
    single = replace(samples, inputs=samples.inputs.float())
    scaled = nn.Sequential(deepcopy(network()).float(), Times(1000.0))
    radius = eps if norm == "linf" else 10 * eps
    search = Apgd(norm=norm, eps=radius, objective="ce", steps=20)
    plain = run_search(search, deepcopy(network()).float(), single, batch_size=64)
    loud = run_search(search, scaled, single, batch_size=64)
    hinge = run_search(replace(search, objective="margin"), deepcopy(network()).float(), single, batch_size=64)
    assert 10 < int(plain.success.sum()) < 60
    # At this scale the log-odds are the margin; what differs between the two losses remains.
    assert abs(int(loud.success.sum()) - int(hinge.success.sum())) <= 5
    assert int(loud.success.sum()) >= 0.7 * int(plain.success.sum())


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.factor


def test_no_gradient_is_no_point_that_is_not_a_number() -> None:
    class Constant(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(len(inputs), 4) + 0 * inputs.sum()

    model = Constant()
    samples = samples_for(model)
    for objective in OBJECTIVES:
        for norm in ("linf", "l2"):
            asked, _, _ = our_path(Apgd(norm=norm, eps=0.1, objective=objective, steps=30), model, samples)
            assert all(points.isfinite().all() for points in asked)

"""cr and pma: the paths of plain loops, the ball, the scale of the logits; and robust breaks what autoattack breaks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import relaxation_attack as relaxation
from bench.attacks.auto_attack import autoattack
from bench.attacks.engine.counter_rng import SampleRng, derive
from bench.attacks.engine.run_search import run_search
from bench.attacks.engine.search import Samples
from bench.attacks.ensemble import relaxation_targets
from bench.attacks.geometry.norms import length, project, sample_ball, steepest
from bench.attacks.margin_attack import ProbabilityMargin, pma
from bench.attacks.relaxation_attack import build_cr, cr
from bench.core.specs import Norm
from tests.attacks.nets import digits, trained

Attack = Callable[..., Tensor]
EPS: dict[Norm, float] = {"linf": 0.08, "l2": 0.6, "l1": 4.0}  # about half of the images are broken


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 64, 10)).double()
    return net.eval().requires_grad_(False)


def samples(count: int = 6) -> Samples:
    inputs = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ranking = network()(inputs).argsort(dim=1, descending=True)
    return Samples(inputs, ranking[:, 0], torch.arange(count), ranking)


class Recording(nn.Module):
    """A model that stores the points of its queries."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.points = model, []

    def forward(self, inputs: Tensor) -> Tensor:
        self.points.append(inputs.detach().clone())
        logits: Tensor = self.model(inputs)
        return logits


def margins(model: nn.Module, x: Tensor, label: int) -> Tensor:
    logits = model(x)[0]
    others: Tensor = torch.cat((logits[:label], logits[label + 1 :]))
    return others - logits[label]


def ascend(model: nn.Module, x: Tensor, label: int, target: int | None, norm: Norm) -> Tensor:
    """Return the direction of the gradient of the margin towards ``target``, or towards the best other class."""
    x = x.clone().requires_grad_()
    logits = model(x)[0]
    loss = logits[target] - logits[label] if target is not None else margins(model, x, label).max()
    return steepest(torch.autograd.grad(loss, x)[0], norm)


class Broken(Exception):
    """A query found an adversarial point."""


class Loops:
    """Constraint relaxation of one image of ten classes, as nested loops: its queries, and whether it is broken."""

    def __init__(self, model: nn.Module, one: Samples, norm: Norm, eps: float) -> None:
        self.model, self.one, self.norm, self.eps = model, one, norm, eps
        self.x, self.label = one.inputs, int(one.labels)
        self.asked: list[Tensor] = []
        self.broken = False
        try:
            self.run()
        except Broken:
            self.broken = True

    def ask(self, point: Tensor, *, inside: bool = True) -> Tensor:
        self.asked.append(point)
        logits: Tensor = self.model(point)[0]
        if inside and int(logits.argmax()) != self.label:
            raise Broken
        return logits

    def drawn(self, purpose: str, number: int) -> Tensor:
        keys = derive(self.one.keys, f"cr-{purpose}", torch.tensor([number]))
        return sample_ball(keys, tuple(self.x.shape[1:]), self.norm, self.eps).to(self.x)

    def inside(self, point: Tensor, radius: float = 1.0) -> Tensor:
        return project(point, self.x, self.norm, radius * self.eps)

    def step(self, point: Tensor, share: float, target: int | None) -> Tensor:
        return point + share * self.eps * ascend(self.model, point, self.label, target, self.norm)

    def run(self) -> None:
        point, units = self.inside(self.x + self.drawn("warm-up", 0)), []
        for _ in range(10):
            units.append(float(self.ask(point).std(unbiased=False)))
            point = self.inside(self.step(point, 0.5, None))
        logits = self.ask(point).index_fill(0, torch.tensor(self.label), -torch.inf)
        self.unit, self.targets = units[0], logits.topk(3).indices.tolist()
        self.closest = dict.fromkeys(self.targets, math.inf)
        for number in range(15):
            target = self.targets[number % 3]
            if number < 3 or self.closest[target] < 0.05 * self.unit:
                self.attempt(number, target)

    def seen(self, point: Tensor, target: int) -> float:
        logits = self.ask(point)
        gap = float(logits[self.label] - logits[target])
        self.closest[target] = min(self.closest[target], gap)
        return gap

    def attempt(self, number: int, target: int) -> None:
        point = self.inside(self.x + self.drawn("start", number))
        for cycle, s in enumerate((0.5, 0.25, 0.125, 0.0625, 0.05)):
            point = self.relax(point, s, target)
            for _ in range(10):
                self.seen(point, target)
                point = self.inside(self.step(point, s, target))
            if self.seen(point, target) > 1.0 * s * self.unit:
                return
            point = self.inside(self.inside(point, 1 - s) + s * self.drawn("shake", number * 5 + cycle))
            for _ in range(10):
                self.seen(point, target)
                point = self.inside(self.step(point, s, target))
        self.seen(point, target)

    def relax(self, outside: Tensor, s: float, target: int) -> Tensor:
        """Return the last projection, which the next part queries."""
        self.seen(outside, target)
        for k in range(10):
            if k:
                self.ask(outside, inside=False)
            outside = self.inside(self.step(outside, s, target), 1 + s)
            if k < 9:
                self.seen(self.inside(outside), target)
        return self.inside(outside)


def around_the_threshold(model: nn.Module, one: Samples, norm: Norm) -> tuple[float, float]:
    """Return two close budgets, of which only the larger one breaks the image."""
    low, high = 0.001, 4.0
    for _ in range(12):
        middle = (low * high) ** 0.5
        broken = bool(run_search(build_cr(norm, middle, 10), model, one, batch_size=1).success)
        low, high = (low, middle) if broken else (middle, high)
    return low, high


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_cr_takes_the_path_of_nested_loops(norm: Norm) -> None:
    model, many = network(), samples(2)
    lengths = []
    for index in range(len(many)):
        one = Samples(*(part[index : index + 1] for part in vars(many).values()))
        for eps, broken in zip((*around_the_threshold(model, one, norm), 0.001), (False, True, False), strict=True):
            expected = Loops(model, one, norm, eps)
            asked = Recording(model)
            result = run_search(build_cr(norm, eps, 10), asked, one, batch_size=1)
            assert bool(result.success) == expected.broken == broken
            assert len(asked.points) == len(expected.asked)
            assert torch.allclose(torch.cat(asked.points), torch.cat(expected.asked), atol=1e-9)
            lengths.append(len(asked.points))
    assert max(lengths) > 11 + 3 * 201  # with restarts
    assert 11 + 3 * 30 in lengths  # a ball so small that every target is given up at once


def looped_pma(model: nn.Module, x: Tensor, label: int, run: int, eps: float) -> list[Tensor]:
    """Return the points of one run of the attack in linf."""
    points = [x]
    for step in range(100):
        point = points[-1].clone().requires_grad_()
        logits = model(point)[0]
        others = torch.cat((logits[:label], logits[label + 1 :]))
        p = torch.softmax(logits / (0.5 * logits.detach().std(unbiased=False)), 0)
        other = torch.cat((p[:label], p[label + 1 :])).max()
        loss = [other, -p[label]][run] if step <= 50 else other - p[label]
        loss = logits[label] - others.max() if step == 0 else loss
        size = eps * (1 + math.cos(math.pi * (step % 50) / 50))
        moved = points[-1] + size * torch.autograd.grad(loss, point)[0].sign()
        points.append(project(moved, x, "linf", eps))
    return points


@pytest.mark.parametrize("run", [0, 1])
def test_pma_takes_the_path_of_a_loop(run: int) -> None:
    model, many, eps = network(), samples(), 0.004  # no image is broken
    for index in range(3):
        one = Samples(*(part[index : index + 1] for part in vars(many).values()))
        asked, search = Recording(model), ProbabilityMargin(norm="linf", eps=eps)
        assert not run_search(search, asked, one, batch_size=1).success
        mine = torch.cat(asked.points)[101 * run : 101 * (run + 1)]
        assert torch.allclose(mine, torch.cat(looped_pma(model, one.inputs, int(one.labels), run, eps)), atol=1e-9)


@pytest.mark.parametrize("attack", [cr, pma])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_scale_and_offset_of_the_logits_do_not_change_the_verdicts(attack: Attack, norm: Norm) -> None:
    """float64, and factors for which the softmax and the cross-entropy of float32 saturate or are flat."""
    net, (inputs, labels) = trained("strided").double(), (part[:40] for part in digits())
    keep = net(inputs.double()).argmax(1) == labels
    x, y = inputs[keep].double(), labels[keep]

    class Scaled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, z: Tensor) -> Tensor:
            logits: Tensor = self.factor * net(z) + 7 * self.factor
            return logits

    found = [
        net(attack(Scaled(factor), x, y, norm=norm, eps=EPS[norm], batch_size=7)).argmax(1) != y
        for factor in (1.0, 1e-3, 1e3)
    ]
    net.float()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert 0 < int(found[0].sum()) < len(y)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_points_of_the_relaxed_ball_are_never_a_result(norm: Norm) -> None:
    """The queries of the relaxed part leave the ball. Found images lie in ball and box."""
    net, (inputs, labels) = trained("hardened"), (part[:60] for part in digits())
    keep = net(inputs).argmax(1) == labels
    x, y = inputs[keep], labels[keep]
    asked = Recording(net)
    found = cr(asked, x, y, norm=norm, eps=EPS[norm], batch_size=len(x))
    broken = net(found).argmax(1) != y
    assert broken.any()
    assert float(length(found - x, norm).max()) <= EPS[norm] * (1 + 1e-5)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    farthest = max(
        float((p[:, None] - x[None]).flatten(2).norm(float("inf") if norm == "linf" else int(norm[1]), dim=2)
              .min(1).values.max())
        for p in asked.points
    )  # fmt: skip
    assert farthest > 1.2 * EPS[norm]


def test_targets_that_are_far_away_cost_thirty_queries_each() -> None:
    """A linear model of four classes with margins of ten times what the ball can change."""
    weights = torch.eye(4).repeat_interleave(3, 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False))
    model[1].weight.data.copy_(weights)
    x = torch.full((1, 3, 2, 2), 0.3)
    x.view(1, 12)[0, :3] = 0.7  # margin 1.2; at most 6·eps is gained
    asked = Recording(model.eval())
    cr(asked, x, torch.tensor([0]), eps=0.02)
    assert sum(len(p) for p in asked.points) == 1 + 11 + relaxation_targets(4) * 30


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_robust_breaks_every_image_that_autoattack_breaks(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its first two attacks find nothing: the later stages draw the same numbers as in autoattack."""
    net, (inputs, labels) = trained("strided"), (part[:24] for part in digits())
    keep = net(inputs).argmax(1) == labels
    x, y = inputs[keep], labels[keep]
    few = {"norm": norm, "eps": EPS[norm], "steps": 4, "queries": 30, "batch_size": 16}
    alone = autoattack(net, x, y, rng=SampleRng(0, "autoattack", [str(i) for i in range(len(x))]), **few)
    ours = SampleRng(0, "robust", [str(i) for i in range(len(x))])
    robust = autoattack(net, x, y, version="robust", rng=ours, **few)
    by_both = net(alone).argmax(1) != y
    assert int(by_both.sum()) > 0
    assert not (by_both & (net(robust).argmax(1) == y)).any()
    never = torch.zeros(1, dtype=torch.bool)
    for search in (relaxation.ConstraintRelaxation, ProbabilityMargin):
        monkeypatch.setattr(search, "is_adversarial", lambda self, state, logits: never.expand(len(logits)))
    assert torch.equal(autoattack(net, x, y, version="robust", rng=ours, **few), alone)

"""PGD's objectives and momentum, against loops written out by hand in float64."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from nets import correct, trained
from torch import Tensor, nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.query import query
from bench.attacks.engine.run_search import run_search
from bench.attacks.engine.search import Samples
from bench.attacks.geometry.norms import length, project
from bench.attacks.pgd_attack import Pgd
from bench.attacks.registry import resolve
from bench.core.errors import BenchError
from bench.core.specs import Norm

EPS: dict[Norm, float] = {"linf": 0.08, "l2": 0.6}


def doubled() -> tuple[nn.Module, Samples]:
    model = deepcopy(trained("pooled")).double()
    inputs, labels = correct(trained("pooled"), 30)
    return model, Samples(inputs.double(), labels, torch.arange(30), labels[:, None])


def path(search: Pgd, model: nn.Module, samples: Samples) -> Tensor:
    state = search.start(samples, torch.zeros_like(samples.labels))
    asked = []
    while not state.over.any():
        asked.append(state.points)
        state = search.advance(state, query(search, model, state))
    return torch.stack(asked)


def by_hand(model: nn.Module, samples: Samples, norm: Norm, eps: float, steps: int) -> Tensor:
    """Dong et al., equations 6 and 7 (and 8 for L2), one image at a time, with cross-entropy itself."""
    paths = []
    for x, y in zip(samples.inputs, samples.labels, strict=True):
        g, point, asked = torch.zeros_like(x), x, [x]
        for _ in range(steps):
            leaf = point.clone().requires_grad_()
            nn.functional.cross_entropy(model(leaf[None]), y[None]).backward()
            g = 1.0 * g + leaf.grad / leaf.grad.abs().sum()
            point = point + eps / steps * (g.sign() if norm == "linf" else g / g.square().sum().sqrt())
            point = point.clamp(0, 1)
            asked.append(point)
        paths.append(torch.stack(asked))
    return torch.stack(paths, 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_momentum_form_is_its_formula(norm: Norm) -> None:
    """Nothing is projected by hand: steps of ε/T cannot leave the ball."""
    model, samples = doubled()
    eps, steps = EPS[norm], 12
    search = Pgd(norm=norm, eps=eps, steps=steps, step=eps / steps, momentum=1.0, random_start=False)
    found = path(search, model, samples)
    assert torch.allclose(found, by_hand(model, samples, norm, eps, steps), rtol=0, atol=1e-10)
    assert float(length(found[-1] - samples.inputs, norm).max()) <= eps * (1 + 1e-12)


def run(name: str, norm: Norm, eps: float) -> Tensor:
    model, samples = doubled()
    attack = resolve(name)
    rng = SampleRng(0, attack.name, [str(i) for i in range(30)])
    spec = attack.spec(norm, eps, batch_size=7)
    return call_attack(attack.entry, model, samples.inputs, samples.labels, spec=spec, rng=rng).adversarials


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_image_is_returned_at_the_first_point_of_the_walk_that_breaks_it(norm: Norm) -> None:
    model, samples = doubled()
    points = by_hand(model, samples, norm, EPS[norm], 15)
    broken = torch.stack([model(each).argmax(1) != samples.labels for each in points])
    first = torch.where(broken.any(0), broken.int().argmax(0), 0)  # the clean image is no success
    expected = points[first, torch.arange(30)]
    assert 5 < int(broken.any(0).sum()) < 28
    assert torch.allclose(run("mim-15", norm, EPS[norm]), expected, rtol=0, atol=1e-10)


def test_the_margin_objective_walks_along_the_margin() -> None:
    model, samples = doubled()
    search = Pgd(norm="linf", eps=0.08, steps=8, loss_name="margin")
    points = path(search, model, samples)
    for now, then in pairwise(points):
        leaf = now.clone().requires_grad_()
        logits = model(leaf)
        own = logits.gather(1, samples.labels[:, None]).squeeze(1)
        rival = logits.scatter(1, samples.labels[:, None], -torch.inf).amax(1)
        (rival - own).sum().backward()
        moved = (now + 2.5 / 8 * 0.08 * leaf.grad.sign()).clamp(samples.inputs - 0.08, samples.inputs + 0.08)
        assert torch.allclose(then, moved.clamp(0, 1), rtol=0, atol=1e-12)
    other = path(Pgd(norm="linf", eps=0.08, steps=8), model, samples)
    assert torch.equal(other[0], points[0])
    assert not torch.allclose(other[-1], points[-1])


def test_the_registered_form_takes_the_margin() -> None:
    model, samples = doubled()
    margin, ce = run("pgd-margin-20", "l2", 1.0), run("pgd-20", "l2", 1.0)
    assert not torch.equal(margin, ce)
    keys = SampleRng(0, "pgd-margin-20", [str(i) for i in range(30)]).keys()
    own = Samples(samples.inputs, samples.labels, keys, samples.ranking)
    search = Pgd(norm="l2", eps=1.0, steps=20, loss_name="margin")
    assert torch.equal(run_search(search, model, own, batch_size=7).adversarials, margin)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("pgd-margin", "pgd-margin-20"),
        ("pgd-margin-5-r2", "pgd-margin-5-r2"),
        ("mim", "mim-10"),
        ("mim-20", "mim-20"),
        ("ddn", "ddn-100"),
        ("fmn-20", "fmn-20"),
    ],
)
def test_names(name: str, canonical: str) -> None:
    assert resolve(name).name == canonical


@pytest.mark.parametrize("name", ["mim-0", "mim-10-r2", "pgd-cw", "pgd-margin-5-r0", "ddn-", "deepfool-50"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(BenchError):
        resolve(name)


def test_a_step_of_the_l1_form_sends_the_steepest_pixels_to_their_walls() -> None:
    """To the end of its length, and back onto the ball from there: by hand, pixel by pixel."""
    model, samples = doubled()
    search = Pgd(norm="l1", eps=2.0, steps=10)
    points = path(search, model, samples)
    for now, then in pairwise(points):
        leaf = now.clone().requires_grad_()
        logits = model(leaf)
        own = logits.gather(1, samples.labels[:, None]).squeeze(1)
        (logits.scatter(1, samples.labels[:, None], -torch.inf).logsumexp(1) - own).sum().backward()
        for image, start, end, slope in zip(samples.inputs, now, then, leaf.grad, strict=True):
            left, moved = 0.5, start.clone().flatten()
            for pixel in slope.flatten().abs().argsort(descending=True, stable=True).tolist():
                up = bool(slope.flatten()[pixel] > 0)
                way = min(float(1 - moved[pixel] if up else moved[pixel]), left)
                moved[pixel] += way if up else -way
                left -= way
                if left <= 0:
                    break
            nearest = project(moved.view(1, 3, 8, 8), image[None], "l1", 2.0)[0]
            assert torch.allclose(end, nearest, rtol=0, atol=1e-10)

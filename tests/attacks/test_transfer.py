"""Images made on one model for another, where every step can be computed by hand; and the loss that saturates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.registry import resolve
from bench.attacks.transfer import transfer_images
from bench.core.specs import Norm

INPUTS = 0.3 + 0.4 * torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def linear(scale: float = 1.0) -> nn.Sequential:
    """Two logits, the first ``scale`` above the second at the grey image, which a budget of 0.2 turns round."""
    torch.manual_seed(1)
    layer = nn.Linear(48, 2)
    with torch.no_grad():
        layer.weight.mul_(4 * scale)
        layer.bias.copy_(-layer.weight.sum(1) / 2 + torch.tensor([scale, 0.0]))
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5), ("l1", 2.0)])
def test_on_a_linear_source_the_walk_ends_where_its_margin_is_least(norm: Norm, eps: float) -> None:
    """Steps of eps/steps along one direction cross the ball; the gradient of a linear margin is the same everywhere."""
    source = linear()
    labels = source(INPUTS).argmax(1)
    found = transfer_images(source, INPUTS, labels, norm=norm, eps=eps, steps=5)
    delta = found - INPUTS
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    assert torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1) == pytest.approx(eps, rel=1e-4)
    weight = source[1].weight.detach()
    gradient = (weight[0] - weight[1]).expand(20, -1) * (1 - 2 * labels[:, None]).float()
    dual = {"linf": gradient.abs().sum(1), "l2": gradient.norm(dim=1), "l1": gradient.abs().amax(1)}[norm]
    fall = ((found - INPUTS).flatten(1) * gradient).sum(1).neg()
    wanted = eps * dual
    if norm == "l1":  # the steepest pixel meets its wall, and the next ones take over
        assert (fall <= wanted + 1e-4).all()
        assert (fall > 0.5 * wanted).all()
    else:
        assert fall == pytest.approx(wanted, rel=1e-4)


def test_it_does_not_stop_at_the_first_break() -> None:
    """A part of the budget breaks the source; what another model gets to see lies at the end of all of it."""
    source, labels = linear(), torch.zeros(20, dtype=torch.int64)
    near = transfer_images(source, INPUTS, labels, norm="linf", eps=0.2, steps=10)
    assert (source(near).argmax(1) == 1).all()
    margins = source(near)[:, 1] - source(near)[:, 0]
    attack = resolve("pgd-20")
    spec = attack.spec("linf", 0.2, batch_size=20)
    rng = SampleRng(0, attack.name, [str(i) for i in range(20)])
    stopped = call_attack(attack.entry, source, INPUTS, labels, spec=spec, rng=rng).adversarials
    assert isinstance(stopped, torch.Tensor)
    assert (margins > source(stopped)[:, 1] - source(stopped)[:, 0]).all()


@pytest.mark.parametrize(("scale", "blind"), [(5.0, False), (1000.0, True)])
def test_the_plain_cross_entropy_is_blind_at_large_logits(scale: float, blind: bool) -> None:
    """exp(−104) is 0 in float32, and with it the gradient of a cross-entropy; that of the log-odds is not."""
    model, labels = linear(scale), torch.zeros(20, dtype=torch.int64)
    right = (model(INPUTS).argmax(1) == 0) & (model(INPUTS)[:, 0] - model(INPUTS)[:, 1] > (110 if blind else 0))
    assert right.sum() > 5
    broken = {}
    for name in ("pgd-plain-20", "pgd-20"):
        attack = resolve(name)
        rng = SampleRng(0, "pgd", [str(i) for i in range(int(right.sum()))])
        spec = attack.spec("linf", 0.2, batch_size=20)
        found = call_attack(attack.entry, model, INPUTS[right], labels[right], spec=spec, rng=rng).adversarials
        assert isinstance(found, torch.Tensor)
        broken[name] = int((model(found).argmax(1) != 0).sum())
    assert broken["pgd-20"] == right.sum()
    assert (broken["pgd-plain-20"] < broken["pgd-20"] / 2) == blind

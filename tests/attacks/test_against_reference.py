"""AutoAttack against its authors' program on three trained networks: what we leave standing, it does too.

Both with the same stages, iterations and queries, and with draws of their own. One image of 24 is 4 points, so that the
tolerance is none. That the paths are equal is tested stage by stage elsewhere.
"""

from __future__ import annotations

import pytest
from nets import NETS, correct, trained
from torch import Tensor

from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.registry import resolve
from bench.core.specs import Backend, Norm
from bench.evaluation.verify import predict, verified

IMAGES = 24
NAME = "autoattack-apgd-ce+apgd-t+fab-t+square-i10-s40"
BUDGETS: list[tuple[Norm, float]] = [("linf", 0.06), ("linf", 0.1), ("l2", 0.5), ("l2", 0.8), ("l1", 1.5), ("l1", 3.0)]
QUICK: list[tuple[Norm, float, str]] = [("linf", 0.1, "strided"), ("l2", 0.8, "pooled"), ("l1", 3.0, "hardened")]
SLOW = [
    pytest.param(norm, eps, net, marks=pytest.mark.slow)
    for norm, eps in BUDGETS
    for net in NETS
    if (norm, eps, net) not in QUICK
]


def standing(net: str, norm: Norm, eps: float, backend: Backend) -> Tensor:
    """Return the images that keep their class, (IMAGES,) bool, after the harness has checked and classified again."""
    model = trained(net)
    inputs, labels = correct(model, IMAGES)
    attack = resolve(NAME, backend)
    rng = SampleRng(0, attack.name, [str(i) for i in range(IMAGES)])
    spec = attack.spec(norm, eps, batch_size=IMAGES)
    moved = call_attack(attack.entry, model, inputs, labels, spec=spec, rng=rng).adversarials
    return predict(model, verified(inputs, moved, norm, eps), 10) == labels


@pytest.mark.parametrize(("norm", "eps", "net"), [*QUICK, *SLOW])
def test_we_leave_no_more_standing_than_the_authors_program(norm: Norm, eps: float, net: str) -> None:
    ours, theirs = (standing(net, norm, eps, backend) for backend in ("native", "reference"))
    assert 1 < int(theirs.sum()) < IMAGES
    assert int(ours.sum()) <= int(theirs.sum())

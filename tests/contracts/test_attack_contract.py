"""Every registered attack meets its contract by being registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import ATTACKS
from bench.attacks.adapter import call_attack
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.registry import backend_version, resolve
from bench.core.specs import Backend
from bench.work.passes import CountingModel
from bench.work.verify import verified

NAMES = [name for name in ATTACKS if ATTACKS.origin(name) == "bench.attacks.builtin"]
CASES = [
    (name, norm, backend)
    for name in NAMES
    for norm in ATTACKS.get(name).norms
    for backend in ("native", "reference")
    if backend == "native" or (ATTACKS.get(name).reference and norm in resolve(name, "reference").entry.norms)
]
EPS = {"linf": 0.1, "l2": 0.5, "l1": 2.0}


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(36, 4))
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def batch(model: nn.Module) -> tuple[Tensor, Tensor]:
    inputs = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return inputs, model(inputs).argmax(1)


@pytest.mark.parametrize(("name", "norm", "backend"), CASES)
def test_contract(name: str, norm: str, backend: Backend, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """Same shape, inside ball and box, repeatable, inputs and model and generator untouched, cost as stated.

    That the library's attacks are repeatable is tested once, on short stages (test_own_ensemble): theirs are slow.
    """
    inputs, labels = batch
    attack = resolve(name, backend)
    spec = attack.spec(norm, EPS[norm], batch_size=8)  # type: ignore[arg-type]
    rng = SampleRng(0, attack.name, ["a", "b", "c"])
    counting = CountingModel(model).eval()
    before, generator = inputs.clone(), torch.get_rng_state()
    weights = [p.clone() for p in model.parameters()]
    first = call_attack(attack.entry, counting, inputs, labels, spec=spec, rng=rng).adversarials
    cost = attack.entry.cost(spec.params, 4)
    verified(inputs, first, spec.norm, spec.eps)
    if backend == "native":
        again = call_attack(attack.entry, model, inputs, labels, spec=spec, rng=rng).adversarials
        assert torch.equal(first, again)
    assert torch.equal(inputs, before)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert cost.least_forwards <= counting.forwards / len(inputs) <= 1.1 * cost.forwards + 10
    assert counting.backwards / len(inputs) <= 1.1 * cost.backwards + 2


@pytest.mark.parametrize("name", NAMES)
def test_entry_is_documented(name: str) -> None:
    entry = ATTACKS.get(name)
    assert entry.summary
    assert "arXiv" in entry.source
    assert backend_version(entry)
    assert resolve(resolve(name).name) == resolve(name)

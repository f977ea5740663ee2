"""Test many ways to write a model: every cell is measured, or fails with a sentence that says why."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from networks import ENSEMBLE, Net, evaluate, network
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

evaluate_l2 = partial(evaluate, attacks=["ddn-5", "deepfool"], attack_limit={}, norm="l2", eps=["0.3"])


def features(net: nn.Sequential, x: Tensor) -> Tensor:
    found: Tensor = net[:3](x)
    return found


def strided(net: nn.Sequential, x: Tensor) -> Tensor:
    found = features(net, x)
    return net[4](found.as_strided((len(found), 256), (256, 1)))


def by_value(net: nn.Sequential, x: Tensor) -> Tensor:
    return net(x) if float(x.mean()) > 0.4 else net(x + 0.0)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


class Counting(nn.Module):
    """Counts its passes in a buffer that no answer depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        logits: Tensor = self.net(x)
        return logits


def scripted() -> nn.Module:
    net = network().eval()
    net[2] = torch.jit.script(nn.ReLU())
    return net


def hooked() -> nn.Module:
    net = network()
    net[0].register_forward_hook(lambda module, given, output: output.contiguous())
    return net


def parametrised() -> nn.Module:
    net = network()
    parametrizations.weight_norm(net[0])
    return net


def old_weight_norm() -> nn.Module:
    net = network()
    nn.utils.weight_norm(net[0])
    return net


Pair = namedtuple("Pair", ["scores", "aux"])

#: Each computes the function of ``network()``.
SAME: dict[str, Callable[[], nn.Module]] = {
    "view": lambda: Net(lambda net, x: net[4](features(net, x).view(len(x), -1))),
    "view of a transposed map": lambda: Net(lambda net, x: net[4](features(net, x).mT.mT.view(len(x), 256))),
    "as_strided": lambda: Net(strided),
    "flatten and unflatten": lambda: Net(lambda net, x: net(x.flatten(1).unflatten(1, (3, 8, 8)))),
    "scripted piece": scripted,
    "hook": hooked,
    "parametrised weights": parametrised,
    "weight norm by hooks": old_weight_norm,
    "control flow": lambda: Net(by_value),
    "buffer updated in eval": Counting,
    "autograd function": lambda: Net(lambda net, x: net(Double.apply(x) / 2)),
    "functional_call": lambda: Net(lambda net, x: functional_call(net, dict(net.named_parameters()), (x,))),
    "checkpoint": lambda: Net(lambda net, x: checkpoint(net, x, use_reentrant=False)),
    "reentrant checkpoint": lambda: Net(lambda net, x: checkpoint(net, x, use_reentrant=True)),
    "writes into its input": lambda: Net(lambda net, x: net(x.sub_(0.5).add_(0.5))),
    "writes into its input in no_grad": lambda: Net(lambda net, x: (net(x), x.data.zero_())[0]),
    "tuple": lambda: Net(lambda net, x: (net(x), features(net, x))),
    "list": lambda: Net(lambda net, x: [net(x)]),
    "named tuple": lambda: Net(lambda net, x: Pair(net(x), None)),
    "dictionary": lambda: Net(lambda net, x: {"features": features(net, x), "logits": net(x)}),
    "ordered dictionary": lambda: Net(lambda net, x: OrderedDict(logits=net(x))),
    "object": lambda: Net(lambda net, x: SimpleNamespace(logits=net(x), loss=None)),
    "float64": lambda: Net(lambda net, x: net.double()(x.double())),
}
MODULES = {
    "scripted": lambda: torch.jit.script(network().eval()),
    "frozen script": lambda: torch.jit.freeze(torch.jit.script(network().eval())),
    "traced": lambda: torch.jit.trace(network().eval(), torch.rand(2, 3, 8, 8)),
    "exported": lambda: exported(),
}


def exported() -> nn.Module:
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.export.export(network().eval(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    return program.module()


NOTES = {
    "tuple": "logits taken from the first of 2 outputs",
    "list": "logits taken from the first of 1 outputs",
    "named tuple": "logits taken from the first of 2 outputs",
    "dictionary": "logits taken from the key 'logits'",
    "ordered dictionary": "logits taken from the key 'logits'",
    "object": "logits taken from the attribute 'logits'",
    "float64": "logits cast from float64",
    "buffer updated in eval": "a forward pass in evaluation mode changes the model's",
}


#: They differ in what surrounds their logits only, which one wrapper takes off before any attack.
OUTPUTS = {"list", "named tuple", "dictionary", "ordered dictionary", "object"}


def verdicts(model: nn.Module) -> pd.DataFrame:
    return pd.concat([evaluate(model, attacks=["fgsm", "pgd-5", ENSEMBLE]), evaluate_l2(model)], ignore_index=True)


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    rows = verdicts(network())
    found = rows.drop_duplicates("attack").set_index("attack")["n_correct"]
    assert found["clean"] >= 35
    assert 0 < found["pgd-5"] < 30
    assert 0 < found[ENSEMBLE] < 9
    return rows


@pytest.mark.parametrize("name", [*SAME, *MODULES])
def test_one_function_has_one_number_however_it_is_written(name: str, expected: pd.DataFrame) -> None:
    model = {**SAME, **MODULES}[name]()
    if name in OUTPUTS:
        rows = evaluate(model, attacks=["fgsm", "pgd-5"], attack_limit={})
        expected = expected.drop_duplicates("attack")
        expected = expected[expected["attack"].isin(rows["attack"])]
    else:
        rows = verdicts(model)
    assert set(rows["status"]) == {"ok"}, rows["notes"].tolist()
    assert (rows["max_distance"].dropna() <= rows["eps"][rows["max_distance"].notna()] * (1 + 1e-6)).all()
    apart = (rows["n_correct"].to_numpy() - expected["n_correct"].to_numpy()).tolist()
    assert all(abs(difference) <= 1 for difference in apart), apart
    noted = NOTES.get(name, "")
    wanted = any if name == "buffer updated in eval" else all  # an attack may meet the copy alone
    assert wanted(noted in str(notes) for notes in rows["notes"]), rows["notes"].tolist()

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
from networks import network
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from bench import api
from bench.core.errors import BenchError

ENSEMBLE = "autoattack-apgd-ce+apgd-t+fab-t+square-i5-s30"
evaluate = partial(
    api.evaluate, name="n", eps=["0.05"], corruptions="none", audit="none", limit=40, attack_limit={ENSEMBLE: 10}
)
evaluate_l2 = partial(evaluate, attacks=["ddn-5", "deepfool"], attack_limit={}, norm="l2", eps=["0.3"])


class Net(nn.Module):
    """The same network, with ``how`` one of the ways to write its forward pass."""

    def __init__(self, how: Callable[[nn.Sequential, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.how = network(), how

    def forward(self, x: Tensor) -> Any:
        return self.how(self.net, x)


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


def measured(model: nn.Module, attacks: list[str], **options: Any) -> pd.DataFrame:
    """Rows by the attacks' names without ``-q50``: a few queries show as much of them as thousands."""
    rows = evaluate(model, attacks=attacks, attack_limit={}, max_queries=50, **options)
    return rows.assign(attack=rows["attack"].str.removesuffix("-q50")).set_index("attack")


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


#: What each returns is no logits; its cells fail, and the message names what was returned.
WITHOUT_LOGITS = {
    "a dictionary with the keys 'scores'": lambda net, x: {"scores": net(x)},
    "a tuple of nothing": lambda net, x: (),
    "a tuple of str, Tensor": lambda net, x: ("cat", net(x)),
    "an object of type str": lambda net, x: "cat",
    "an object of type NoneType": lambda net, x: None,
    "a sparse tensor": lambda net, x: net(x).to_sparse(),
    "a nested tensor": lambda net, x: torch.nested.nested_tensor(list(net(x).detach())),
    "a complex tensor": lambda net, x: net(x).to(torch.complex64),
    "(40, 10, 1) where logits (40, 10)": lambda net, x: net(x)[..., None],
}


@pytest.mark.parametrize("said", WITHOUT_LOGITS)
def test_what_is_no_logits_is_one_sentence(said: str) -> None:
    rows = evaluate(Net(WITHOUT_LOGITS[said]), attacks=["fgsm"], attack_limit={})
    assert set(rows["reason"]) == {"wrong_shape"}
    assert all(said in message for message in rows["notes"]), rows["notes"].tolist()
    assert rows["acc"].isna().all()


#: Everything that cuts the graph between the input and the logits.
CUT = {
    "detach": lambda net, x: net(x.detach()),
    "data": lambda net, x: net(x.data),
    "numpy": lambda net, x: net(torch.from_numpy(x.detach().numpy())),
    "argmax": lambda net, x: nn.functional.one_hot(net(x).argmax(1), 10).float(),
    "integers": lambda net, x: net((255 * x).to(torch.uint8) / 255),
    "item": lambda net, x: torch.tensor(net(x).tolist()),
    "no_grad": lambda net, x: no_grad(net, x),
}


def no_grad(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = net(x)
    return logits


@pytest.mark.parametrize(
    ("name", "trained", "audit"),
    [
        ("detach", True, "default"),
        ("detach", False, "none"),
        ("data", True, "none"),
        ("numpy", False, "none"),
        ("argmax", True, "none"),
        ("integers", False, "none"),
        ("item", True, "none"),
        ("no_grad", True, "none"),
        ("no_grad", False, "default"),
    ],
)
def test_a_cut_graph_is_a_failed_cell(name: str, trained: bool, audit: str) -> None:
    """Whether or not the parameters ask for gradients, and with an audit, too."""
    model = Net(CUT[name]).requires_grad_(trained)
    rows = measured(model, ["fgsm", "pgd-5", "square"], audit=audit, limit=10)
    for attack in ("fgsm", "pgd-5"):
        assert (rows.status[attack], rows.reason[attack]) == ("failed", "no_gradient")
        assert "gives no gradient with respect to its input" in rows.notes[attack]
    assert rows.status["square"] == "ok"
    if audit == "default":
        assert rows.audit["square"] == "flagged"
        assert "no_gradient" in rows.audit_flags["square"]


@pytest.mark.parametrize("how", [lambda net, x: net((x * 16).round() / 16), lambda net, x: net(x.data) + 0 * net(x)])
def test_a_zero_gradient_is_a_flag(how: Callable[[nn.Sequential, Tensor], Tensor]) -> None:
    rows = measured(Net(how), ["fgsm", "square"])
    assert rows.status.tolist() == ["ok", "ok", "ok"]
    assert rows["flags"]["fgsm"] == "zero_gradient"
    assert rows["flags"]["square"] == ""


def test_gradients_that_are_hidden_off_the_grey_levels_are_a_flag() -> None:
    def hidden(net: nn.Sequential, x: Tensor) -> Tensor:
        on_grid = ((x * 16) - (x * 16).round()).abs().amax((1, 2, 3)) < 1e-4
        return torch.where(on_grid[:, None], net(x), net(x.detach()))

    rows = evaluate(Net(hidden), attacks=["fgsm", "pgd-5"], attack_limit={}).set_index("attack")
    assert rows["flags"][["fgsm", "pgd-5"]].tolist() == ["zero_gradient", "zero_gradient"]
    assert "40 of 40 attacked images after a random perturbation" not in rows["notes"]["clean"]
    assert "attacked images after a random perturbation" in rows["notes"]["pgd-5"]


class Branch(nn.Module):
    """Normalises bright images alone, as a whole batch or each by itself."""

    def __init__(self, *, each: bool) -> None:
        super().__init__()
        self.net, self.each = network(), each

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.net[0](x), self.net[1]
        if self.each:
            found = torch.where((x.mean((1, 2, 3)) > 0.45)[:, None, None, None], norm(conv), conv)
        else:
            found = norm(conv) if float(x.mean()) > 0.45 else conv
        logits: Tensor = self.net[2:](found)
        return logits


@pytest.mark.parametrize("each", [True, False])
def test_a_copy_that_takes_another_branch_on_real_images_is_discarded(
    each: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise has a mean of 0.5, digits one of 0.3: the copy whose norm is folded passes on noise alone."""
    attacks = ["fgsm", "pgd-5", ENSEMBLE]
    found = evaluate(Branch(each=each), attacks=attacks)
    monkeypatch.setattr("bench.evaluation.fast_model.folded", lambda model, examples: None)  # no faster copy
    plain = evaluate(Branch(each=each), attacks=attacks)
    assert found["n_correct"].tolist() == plain["n_correct"].tolist()
    attacked = found[found["attack"] != "clean"]
    assert all("the faster copy was discarded" in notes for notes in attacked["notes"]), attacked["notes"].tolist()


def srgb(net: nn.Sequential, x: Tensor) -> Tensor:
    """Linear light to sRGB as many write it: the gradient at black pixels is 0 times infinity."""
    return net(torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("how", [srgb, lambda net, x: net(x + 0 * torch.sqrt(0 * x))])
def test_a_gradient_that_is_not_a_number_fails_the_cell(how: Callable[[nn.Sequential, Tensor], Tensor]) -> None:
    rows = measured(Net(how), ["fgsm", "pgd-5", "square"], limit=20)
    assert rows["reason"][["fgsm", "pgd-5"]].tolist() == ["nan_gradient", "nan_gradient"]
    assert "the gradient of the margin is NaN or infinite at" in rows["notes"]["fgsm"]
    assert rows["status"]["square"] == "ok"


def test_tensors_without_values_are_one_sentence() -> None:
    with pytest.raises(BenchError, match="lazy parameters without a shape"):
        evaluate(nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), attacks="none", attack_limit={})
    with pytest.raises(BenchError, match="on the meta device"):
        evaluate(network().to("meta"), attacks="none", attack_limit={})

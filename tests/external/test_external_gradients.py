"""Models that return no logits, or whose gradients are missing, zero, hidden or not finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import ENSEMBLE, Net, evaluate, measured, network
from torch import Tensor, nn

from bench.core.errors import BenchError

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

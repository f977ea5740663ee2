"""Identity of a model: one that changes in any way that may change a number is measured anew."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from oddities import images
from torch import Tensor, nn

from bench import api
from bench.external.identity import model_identity
from bench.runtime.plugin import load_plugins, plugin_sha

evaluate = partial(
    api.evaluate, name="n", attacks=["fgsm"], eps=["0.1"], corruptions="none", audit="none", limit=30, device="cpu"
)
SCALE = 1.0


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))


class Own(nn.Module):
    """One network and its switches."""

    def __init__(self, **switches: Any) -> None:
        super().__init__()
        self.net, self.calls = network(), 0
        self.rounds = self.only_far = self.hides = False
        self.inner: dict[str, Any] = {"levels": [16, 8]}
        self.scale = 1.0
        for name, value in switches.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.rounds:  # to the 16 levels that digits have: nothing changes on clean images
            x = (x * 16).round() / 16
        if self.only_far:
            x = torch.where((x - 0.5).abs() > 0.45, x, x.round())
        logits: Tensor = self.net(x) * self.scale * SCALE
        return logits.detach() + 1e-3 * (logits - logits.detach()) if self.hides else logits


def identity(model: nn.Module) -> dict[str, str]:
    return model_identity(model.eval(), (images(16) * 16).round() / 16)


def test_the_same_model_is_the_same_and_a_counter_is_no_change() -> None:
    model = Own()
    first = identity(model)
    assert model.calls > 0
    assert identity(model) == identity(Own()) == first


@pytest.mark.parametrize(
    "switches",
    [
        {"rounds": True},
        {"only_far": True},
        {"hides": True},
        {"scale": 1.0001},
        {"inner": {"levels": [16, 4]}},
        {"mode": "strict"},
    ],
)
def test_any_switch_is_another_model(switches: dict[str, Any]) -> None:
    first, other = identity(Own()), identity(Own(**switches))
    assert first["weights"] == other["weights"]
    assert first != other


class Base(nn.Module):
    """A base class of the user's own, with a function in a list, a hidden module and an array."""

    def __init__(self, level: float = 0.0) -> None:
        super().__init__()
        self.net, self.level = network(), np.array([level])
        self.steps = [functools.partial(torch.add, other=level)]
        self.hidden = [nn.Linear(1, 1)]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits


def derived(threshold: float) -> type[Base]:
    class Derived(Base):
        def limit(self) -> float:
            return threshold

    return Derived


def structure(model: nn.Module) -> str:
    return identity(model)["structure"]


def test_arrays_closures_partials_and_hidden_modules_are_part_of_the_structure() -> None:
    assert structure(Base()) == structure(Base())
    assert structure(derived(0.0)()) == structure(derived(0.0)())
    assert structure(derived(0.0)()) != structure(derived(0.5)())
    assert structure(Base()) != structure(Base(0.5))
    changed = Base()
    changed.level = np.array([0.5])
    assert structure(changed) != structure(Base())
    changed = Base()
    changed.steps = [functools.partial(torch.add, other=0.5)]
    assert structure(changed) != structure(Base())
    changed = Base()
    with torch.no_grad():
        changed.hidden[0].weight += 1
    assert structure(changed) != structure(Base())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor([2**24]), torch.tensor([2**24 + 1])),
        (torch.tensor([1.0], dtype=torch.float64), torch.tensor([1 + 1e-12], dtype=torch.float64)),
        (torch.tensor([1 + 1j]), torch.tensor([1 + 2j])),
        (torch.eye(2).to_sparse(), (2 * torch.eye(2)).to_sparse()),
        tuple(torch.quantize_per_tensor(torch.ones(2), scale, 0, torch.qint8) for scale in (0.1, 0.2)),
    ],
)  # fmt: skip
def test_plain_tensors_are_hashed_by_every_bit(one: Tensor, other: Tensor) -> None:
    first, second, again = Own(extra=one), Own(extra=other), Own(extra=one.clone())
    assert structure(first) == structure(again) != structure(second)


def test_memory_that_runs_out_is_no_property_of_the_model() -> None:
    class Large(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise MemoryError

    with pytest.raises(MemoryError):
        identity(Large())


def test_hooks_are_part_of_the_structure() -> None:
    def shifted(module: nn.Module, given: Any) -> Any:
        return (given[0] + 0.0,)

    first, second = Own(), Own()
    for model in (first, second):
        model.net[1].register_forward_pre_hook(shifted)
    assert structure(first) == structure(second) != structure(Own())


def test_globals_that_a_forward_names_are_part_of_the_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    first = structure(Own())
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert structure(Own()) != first


def test_what_a_first_pass_sets_and_addresses_are_no_change() -> None:
    class Lazy(Base):
        def forward(self, x: Tensor) -> Tensor:
            self.size = tuple(x.shape)
            return super().forward(x)

        def extra_repr(self) -> str:
            return repr(object())

    model = Lazy()
    assert structure(model) == structure(model) == structure(Lazy())


def test_a_switch_that_only_moves_perturbed_images_is_seen_by_behaviour_alone() -> None:
    plain, rounding = Own(), Own(rounds=True)
    assert torch.equal(plain((images() * 16).round() / 16), rounding((images() * 16).round() / 16))
    assert identity(plain)["behaviour"] != identity(rounding)["behaviour"]


def test_a_gradient_that_is_hidden_is_seen_by_behaviour_alone() -> None:
    plain, hiding = Own(), Own(hides=True)
    assert torch.equal(plain(images()), hiding(images()))
    assert identity(plain)["behaviour"] != identity(hiding)["behaviour"]


def test_globals_and_replaced_methods_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    first = identity(Own())
    replaced = Own()
    replaced.forward = MethodType(lambda self, x: self.net(x), replaced)  # type: ignore[method-assign]
    assert identity(replaced)["structure"] != first["structure"]
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert identity(Own())["behaviour"] != first["behaviour"]


def test_the_last_bit_of_a_logit_counts() -> None:
    other = Own()
    with torch.no_grad():
        other.net[1].bias[0] = torch.nextafter(other.net[1].bias[0], torch.tensor(9.0))
    assert identity(other)["behaviour"] != identity(Own())["behaviour"]


@pytest.mark.parametrize("make", [lambda: Own(rounds=True), lambda: Own(hides=True)])
def test_a_stored_number_is_that_of_the_model_at_hand(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    before = evaluate(Own(), results=tmp_path)
    stored, fresh = evaluate(make(), results=tmp_path), evaluate(make())
    assert set(stored["run_id"]).isdisjoint(before["run_id"])
    assert stored["n_correct"].tolist() == fresh["n_correct"].tolist()
    again = evaluate(make(), results=tmp_path)
    assert again["created"].tolist() == stored["created"].tolist()


def test_extra_state_and_quantised_weights_are_part_of_the_weights() -> None:
    class Extra(nn.Sequential):
        version = 3

        def get_extra_state(self) -> dict[str, Any]:
            return {"version": self.version, "scale": torch.ones(2)}

        def set_extra_state(self, state: dict[str, Any]) -> None:
            self.version = state["version"]

    one, other = Extra(*network()), Extra(*network())
    other.version = 4
    assert identity(one)["weights"] == identity(Extra(*network()))["weights"] != identity(other)["weights"]
    assert evaluate(one)["status"].tolist() == ["ok", "ok"]


# --- plug-ins ---------------------------------------------------------------------------------------------------------

FILES = {
    "plug.py": "import sys, pathlib\nsys.path.insert(0, str(pathlib.Path(__file__).parent))\nimport near_{k}\n"
    "def late():\n    import far_{k}.inner\n",
    "near_{k}.py": "import next_{k}\n",
    "next_{k}.py": "VALUE = 1\n",
    "far_{k}/__init__.py": "",
    "far_{k}/inner.py": "from . import beside\n",
    "far_{k}/beside.py": "VALUE = 1\n",
    "unused_{k}.py": "VALUE = 1\n",
}


def loaded(folder: Path, k: int, changed: str = "") -> str:
    """The hash after the plug-in is loaded from a folder of its own, with one file changed."""
    place = folder / f"plugin_{k}"
    for name, text in FILES.items():
        path = place / name.format(k=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(k=0) + ("VALUE = 2\n" if name == changed else ""), encoding="utf-8")
    load_plugins([place / "plug.py"])
    return plugin_sha()


@pytest.mark.parametrize("changed", FILES)
def test_a_plugin_is_what_it_imports_from_its_own_folder(
    tmp_path: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    shas = []
    for k, file in enumerate(["", "", changed]):
        with monkeypatch.context() as patch:
            patch.setattr("bench.runtime.plugin._LOADED", {})
            patch.setattr(sys, "path", list(sys.path))
            before = set(sys.modules)
            shas.append(loaded(tmp_path, k, file))
            for name in set(sys.modules) - before:
                patch.delitem(sys.modules, name)
    assert shas[0] == shas[1]
    assert (shas[2] == shas[0]) == changed.startswith("unused")

"""The caller's global PyTorch state changes no number, and comes back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from oddities import images
from torch import nn
from torch.overrides import TorchFunctionMode

from bench.api import evaluate
from bench.attacks.adapter import call_attack
from bench.attacks.deepfool_attack import walk_to_boundary
from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.registry import resolve
from bench.attacks.transfer import transfer_images
from bench.core.errors import BenchError
from bench.runtime.torch_state import AUTOCAST_DEVICES, harness_torch_state

ATTACKS = ["fgsm", "pgd-5", "mim-3", "autoattack-apgd-ce+fab-t+square-i5-s20"]
MEASURED = ["attack", "status", "reason", "n_correct", "n_forwards", "max_distance", "flags", "notes", "audit"]


@contextmanager
def switched(set_value: Callable[[Any], object], value: Any, default: Any) -> Iterator[None]:
    set_value(value)
    try:
        yield
    finally:
        set_value(default)


def low_precision() -> AbstractContextManager[None]:
    """bfloat16 products on processors that have them."""
    return switched(torch.set_float32_matmul_precision, "medium", "highest")


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: switched(torch.set_grad_enabled, False, True),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "set_autocast_enabled": lambda: switched(lambda on: torch.set_autocast_enabled("cpu", on), True, False),
    "float64 by default": lambda: switched(torch.set_default_dtype, torch.float64, torch.float32),
    "float16 by default": lambda: switched(torch.set_default_dtype, torch.float16, torch.float32),
    "another device by default": lambda: torch.device("meta"),
    "deterministic algorithms": lambda: switched(torch.use_deterministic_algorithms, True, False),
    "deterministic algorithms with warnings": lambda: switched(
        lambda on: torch.use_deterministic_algorithms(on, warn_only=on), True, False
    ),
    "compressed activations": lambda: torch.autograd.graph.saved_tensors_hooks(torch.zeros_like, lambda tensor: tensor),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "low precision": low_precision,
}


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    return nn.Sequential(*layers).eval()


def state() -> tuple[Any, ...]:
    backends = torch.backends
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        [torch.is_autocast_enabled(device) for device in AUTOCAST_DEVICES],
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_float32_matmul_precision(),
        (backends.cudnn.deterministic, backends.cudnn.benchmark, backends.cudnn.allow_tf32),
    )


def measured(network: nn.Module) -> pd.DataFrame:
    rows = evaluate(
        network, name="n", attacks=ATTACKS, eps=["0.1"], corruptions="fog", severities=3, limit=60, device="cpu"
    )
    return rows[[column for column in MEASURED if column in rows]]


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    rows = measured(model())
    assert set(rows["status"]) == {"ok"}
    assert rows.set_index("attack")["n_correct"]["pgd-5"] < rows.set_index("attack")["n_correct"]["clean"]
    return rows


@pytest.mark.parametrize("name", STATES)
def test_every_number_is_that_of_an_ordinary_state(name: str, expected: pd.DataFrame) -> None:
    network = model()
    with STATES[name]():
        before = state()
        rows = measured(network)
        assert state() == before
    pd.testing.assert_frame_equal(rows, expected)


class Nothing(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


def test_a_mode_that_may_change_every_operation_is_refused() -> None:
    with Nothing(), pytest.raises(BenchError, match="the torch mode Nothing is active"):
        measured(model())


def test_a_model_that_was_made_in_inference_mode_is_measured(expected: pd.DataFrame) -> None:
    with torch.inference_mode():
        network = model()
        rows = measured(network)
        assert all(parameter.is_inference() for parameter in network.parameters())
    pd.testing.assert_frame_equal(rows, expected)


FUNCTIONS = ["fgsm", "pgd-5", "mim-3", "ddn-10", "fmn-10", "apgd-ce", "fab-t", "square", "deepfool"]


def attacked(name: str, network: nn.Module) -> torch.Tensor:
    points = images().clone()
    labels = network(points).argmax(1)
    if name == "deepfool":
        return walk_to_boundary(network, points).adversarial
    if name == "transfer":
        return transfer_images(network, points, labels, norm="linf", eps=0.1, steps=3)
    resolved = resolve(name)
    norm = "l2" if "linf" not in resolved.entry.norms else "linf"
    queries = 30 if name == "square" else None
    spec = resolved.spec(norm, 0.1 if norm == "linf" else 2.0, batch_size=64, max_queries=queries)
    rng = SampleRng(0, name, [str(i) for i in range(len(points))], torch.device("cpu"))
    return call_attack(resolved.entry, network, points, labels, spec=spec, rng=rng).adversarials


@pytest.mark.parametrize("name", [*FUNCTIONS, "transfer"])
@pytest.mark.parametrize("setting", ["no_grad", "inference_mode", "set_grad_enabled"])
def test_attack_functions_set_what_they_need(name: str, setting: str) -> None:
    network = model().requires_grad_(False)
    expected = attacked(name, network)
    assert not torch.equal(expected, images())
    with STATES[setting]():
        before = state()
        assert torch.equal(attacked(name, network), expected)
        assert state() == before


def test_the_state_is_restored_after_an_error_and_after_a_change_inside() -> None:
    before = state()
    with pytest.raises(RuntimeError, match="inside"):
        switch_everything()
    assert state() == before


@harness_torch_state()
def switch_everything() -> None:
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_autocast_enabled("cpu", True)
    torch.set_float32_matmul_precision("medium")
    raise RuntimeError("inside")


def test_an_attack_that_changes_the_state_leaves_the_next_one_alone(tmp_path: Path) -> None:
    class Switches(nn.Module):
        """Switches gradients off for good in its first pass, as a project's own evaluation code may."""

        def __init__(self) -> None:
            super().__init__()
            self.net = model()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.net(inputs)
            torch.set_grad_enabled(False)
            return logits

    rows, plain = (
        evaluate(one, name="n", attacks=ATTACKS, eps=["0.1"], corruptions="none", limit=40, audit="none")
        for one in (Switches(), model())
    )
    assert torch.is_grad_enabled()
    assert set(rows["status"]) == {"ok"}
    assert rows["n_correct"].tolist() == plain["n_correct"].tolist()


def test_trainings_and_diagnoses_too(tmp_path: Path) -> None:
    from bench.cli import invoke

    def run(folder: Path) -> tuple[bytes, list[str]]:
        common = ["--models", "test_resnet", "--variants", "baseline", "--dataset", "digits", "--train-limit", "64"]
        quick = ["--epochs", "1", "--attacks", "fgsm", "--eps", "0.1", "--limit", "20", "--corruptions", "none"]
        assert invoke(["run", *common, *quick, "--device", "cpu", "--results", str(folder)]) == 0
        weights = next(folder.rglob("*.safetensors")).read_bytes()
        row = pd.read_csv(folder / "leaderboard.csv").iloc[0]
        return weights, [f"{value}" for key, value in row.items() if not key.startswith(("time", "created"))]

    expected = run(tmp_path / "plain")
    with torch.no_grad(), STATES["autocast"](), STATES["float64 by default"](), STATES["low precision"]():
        assert run(tmp_path / "switched") == expected

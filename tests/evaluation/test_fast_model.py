"""Search models that the harness hands to the attacks, and the effect of ``--attack-precision`` on a cell."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from records import cell_record, run_record
from torch import Tensor, nn

from bench.attacks.registry import resolve, resolve_all
from bench.core.errors import BenchError
from bench.core.specs import EvalSpec, Precision
from bench.evaluation.fast_model import BFloat16, SearchModels
from bench.models.classifier import Classifier, Normalize
from bench.planning.request import at_precision
from bench.results.precedence import evidence
from bench.runtime.environment import has_bfloat16

CPU = torch.device("cpu")


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def classifier() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 16))
    backbone[1].running_mean.uniform_(-1, 1)
    backbone[1].running_var.uniform_(0.5, 2)
    model = Classifier(Normalize([0.5] * 3, [0.2] * 3), backbone, nn.Linear(16, 8), nn.Linear(8, 5))
    return model.eval().requires_grad_(False)


def search_model(model: nn.Module, precision: Precision) -> nn.Module:
    return SearchModels(model, (3, 8, 8), CPU).get(precision)


def test_the_search_model_is_another_and_answers_alike() -> None:
    model = classifier()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = model(images())
    full, half = search_model(model, "fp32"), search_model(model, "bf16")
    assert not any(isinstance(module, nn.BatchNorm2d) for other in (full, half) for module in other.modules())
    assert torch.allclose(full(images()), expected, rtol=1e-4, atol=1e-5)
    assert half(images()).dtype == torch.float32
    apart = float((half(images()) - expected).abs().max() / expected.abs().max())
    assert 1e-5 < apart < 0.05
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model(images()), expected)
    assert model.backbone[0].weight.is_contiguous()


def test_in_bf16_the_backbone_computes_in_bfloat16_and_what_stands_behind_it_in_float32() -> None:
    half, types = search_model(classifier(), "bf16"), {}
    for name, module in half.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, given, output, name=name: types.update({name: output.dtype}))
    points = images().requires_grad_()
    (gradient,) = torch.autograd.grad(half(points).sum(), points)
    assert gradient.dtype == torch.float32
    assert {name: dtype for name, dtype in types.items() if "backbone" in name} == {
        "backbone.module.0": torch.bfloat16,
        "backbone.module.4": torch.bfloat16,
    }
    assert types["head"] == types["output"] == torch.float32


def test_a_foreign_model_is_bfloat16_as_a_whole() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).requires_grad_(False)
    half = search_model(model, "bf16")
    assert isinstance(half, BFloat16)
    assert half(images()).dtype == torch.float32
    assert not torch.equal(half(images()), model(images()))


class Opaque(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8)

    def __deepcopy__(self, memo: object) -> nn.Module:
        raise RuntimeError("there is only one of me")

    def forward(self, inputs: Tensor) -> Tensor:
        return self.conv(inputs).flatten(1)


@pytest.mark.parametrize("model", [nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), Opaque()], ids=["flat", "opaque"])
def test_a_model_without_a_faster_form_is_its_own(model: nn.Module) -> None:
    assert search_model(model, "fp32") is model


class Shifted(nn.Module):
    """Logits of which the last is switched off. A copy moves the others, as a wrongly folded bias does."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.net, self.shift = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), shift

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        return (logits + self.shift * torch.arange(5)).index_fill(1, torch.tensor([4]), -1e9)


@pytest.mark.parametrize(("shift", "wrong"), [(1.0, True), (1e-6, False)])
def test_a_class_that_is_switched_off_hides_no_difference(
    shift: float, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, copied = Shifted(0), Shifted(shift)
    copied.load_state_dict(model.state_dict())
    monkeypatch.setattr("bench.evaluation.fast_model.folded", lambda *_: copied)
    assert (SearchModels(model, (3, 8, 8), CPU).get("fp32") is model) is wrong


def test_it_is_made_once() -> None:
    made = SearchModels(classifier(), (3, 8, 8), CPU)
    assert made.get("fp32") is made.get("fp32") is not made.get("bf16")


# --attack-precision


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    return lambda there: monkeypatch.setattr("bench.runtime.environment.has_bfloat16", lambda device: there)


def test_auto_is_settled_by_the_hardware_and_by_what_the_attack_can(bfloat16: Callable[[bool], None]) -> None:
    attacks = resolve_all(["pgd", "autoattack-rand"])
    bfloat16(True)
    assert [a.precision for a in at_precision(attacks, "auto", "cpu")] == ["bf16", "fp32"]
    bfloat16(False)
    assert [a.precision for a in at_precision(attacks, "auto", "cpu")] == ["fp32", "fp32"]


def test_the_hardware_of_this_machine() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    assert has_bfloat16(CPU) == ("avx512_bf16" in flags or "amx_bf16" in flags)
    assert not has_bfloat16(torch.device("mps"))


@pytest.mark.parametrize("attacks", [resolve_all(["pgd"], "reference"), resolve_all(["autoattack-rand"])])
def test_what_cannot_search_in_bf16_says_so(attacks: list[Any]) -> None:
    with pytest.raises(BenchError, match="searches in fp32, not in bf16; use --attack-precision auto"):
        at_precision(attacks, "bf16", "cpu")


def cell(precision: Precision) -> EvalSpec:
    attack = resolve("pgd").at(precision).spec("linf", 0.1, batch_size=8)
    return EvalSpec(
        run_id="r", data_sha="d", attack=attack, protocol="standard", limit=None, batch_size=8, seed=0
    )  # fmt: skip


def test_the_precision_is_part_of_what_a_cell_is() -> None:
    assert cell("fp32").cell_id != cell("bf16").cell_id


def test_a_search_in_full_precision_counts_before_one_in_half() -> None:
    run = run_record()
    older, newer = cell_record(run, "pgd-20", [True]), cell_record(run, "pgd-20", [True])
    older = replace(older, spec=cell("fp32"), created="2026-01-01T00:00:00+00:00")
    newer = replace(newer, spec=cell("bf16"), created="2026-01-02T00:00:00+00:00")
    assert evidence(older) > evidence(newer)
    assert evidence(replace(newer, n=2)) > evidence(older)


def test_both_precisions_stand_in_results_csv(bench: Callable[..., Any], plugin: Path, tmp_path: Path) -> None:
    command = ["run", "--models", "tiny", "--plugin", plugin, "--limit", "40", "--epochs", "1", "--eps", "0.1"]
    command += ["--variants", "baseline", "--no-diagnose", "--results", tmp_path]
    for precision in ("fp32", "bf16"):
        assert bench(*command, "--attacks", "fgsm,pgd-3", "--attack-precision", precision).code == 0
    with (tmp_path / "results.csv").open() as file:
        found = sorted((row["attack"], row["attack_precision"], row["status"]) for row in csv.DictReader(file))
    ok = [(attack, precision, "ok") for attack in ("fgsm", "pgd-3") for precision in ("bf16", "fp32")]
    assert found == [("clean", "", "ok"), *ok]
    refused = bench(*command, "--attacks", "pgd-3", "--attack-precision", "bf16", "--attack-backend", "reference")
    assert refused.code == 2
    assert "computed by foolbox, searches in fp32, not in bf16" in refused.err

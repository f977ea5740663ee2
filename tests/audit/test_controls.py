"""The audit on networks of which it is known whether they are robust.

The thresholds were chosen on networks of seed 0; these are of other seeds, and one of another architecture and loss.
Networks that are trained for long are slow tests. Among the others are one that raises no flag and the two that the
audit finds out in different ways: by the scale of the logits, and by what remains at a large budget.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from controls import CPU, EPS, HONEST, MASKED, mlp, ordinary
from torch import nn

from bench import api
from bench.audit.audit import Audited, PairedModel, audit
from bench.audit.levels import DEFAULT, PASSES
from bench.context import RunContext
from bench.core.records import AuditRecord
from bench.data import DataRequest, load_dataset
from bench.results.store import Store
from bench.runtime.progress import Progress

SEED = 3
WHOLE_SUITE = ("fgsm", "pgd", "autoattack-apgd-ce+apgd-t")
GRADIENTS_ONLY = ("fgsm", "pgd")
Audits = Callable[[str], AuditRecord]


def audited(
    model: nn.Module, folder: Path, attacks: tuple[str, ...], *, n: int = 200, paired: nn.Module | None = None
) -> AuditRecord:
    """Attack ``model`` as a run would, and audit it, with the ordinary network as its baseline unless it is that."""
    limits = {name: n for name in attacks if name.startswith("autoattack")}
    api.evaluate(
        model, name="net", attacks=attacks, eps=[EPS], limit=n, attack_limit=limits, corruptions="none", audit="none",
        results=folder, device="cpu",
    )  # fmt: skip
    store = Store(folder)
    (run,) = store.runs()
    dataset = load_dataset("digits", DataRequest())
    context = RunContext(dataset=dataset, store=store, device=CPU, progress=Progress())
    shown = None if paired is None else PairedModel(run_id="baseline", model=paired)
    record = audit(Audited(run=run, model=model, num_classes=10, batch_size=128, paired=shown), context)
    assert record.status == "ok", record.message
    assert store.read_audit(run.run_id, dataset.test.sha) == record
    return record


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Audits:
    """Audits of the networks in MASKED, each made once."""

    @functools.cache
    def audit_of(name: str) -> AuditRecord:
        model = MASKED[name][0](SEED)
        return audited(model, tmp_path_factory.mktemp("masked"), GRADIENTS_ONLY, paired=ordinary(SEED))

    return audit_of


def flags(record: AuditRecord) -> dict[str, float | None]:
    found = (*record.findings, *(finding for budget in record.budgets for finding in budget.findings))
    return {finding.flag: finding.points for finding in found}


def slow(*names: str) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def check_honest(record: AuditRecord) -> None:
    assert flags(record) == {}
    (budget,) = record.budgets
    accuracy = budget.figures["acc_suite"]
    assert accuracy is not None
    assert 20 < accuracy < 95, "there was something to doubt"


@pytest.mark.parametrize("name", ["ordinary", "another architecture", *slow("adversarially trained")])
def test_an_honest_network_is_left_alone(name: str, tmp_path: Path) -> None:
    paired = None if name == "ordinary" else ordinary(SEED)
    check_honest(audited(HONEST[name](SEED), tmp_path, GRADIENTS_ONLY, paired=paired))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ordinary", "five times longer"])
def test_an_honest_network_is_left_alone_after_a_strong_attack(name: str, tmp_path: Path) -> None:
    """The audit's shorter attacks leave images that APGD broke."""
    record = audited(HONEST[name](SEED), tmp_path, WHOLE_SUITE, paired=None if name == "ordinary" else ordinary(SEED))
    check_honest(record)
    if name == "five times longer":  # half of its images have a softmax of exactly 1: a figure, but no flag
        assert record.figures["softmax_one"] is not None
        assert record.figures["softmax_one"] > 0.2


@pytest.mark.parametrize("name", ["logits × 1000", "quantised", *slow("distilled", "resized", "saturated", "smoothed")])
def test_a_network_that_hides_its_gradients_is_found_out(name: str, masked: Audits) -> None:
    assert MASKED[name][1] in flags(masked(name))


def test_a_network_without_gradients_is_found_out_in_several_ways(masked: Audits) -> None:
    assert {"transfer", "stronger_attack", "large_eps_survivors"} <= flags(masked("quantised")).keys()


@pytest.mark.parametrize("name", ["quantised", *slow("saturated")])
def test_it_is_found_out_without_a_baseline_too(name: str, tmp_path: Path) -> None:
    make, _ = MASKED[name]
    found = flags(audited(make(SEED), tmp_path, GRADIENTS_ONLY, n=100))
    assert "transfer" not in found
    assert found["large_eps_survivors"] is not None
    assert found["large_eps_survivors"] > 50


def test_the_passes_are_bounded(masked: Audits, tmp_path: Path) -> None:
    """Models that nothing breaks cost the most: every attack goes to its end on nearly every image."""
    few = audited(ordinary(SEED), tmp_path, GRADIENTS_ONLY, n=64, paired=ordinary(SEED))
    for record, n in ((masked("quantised"), DEFAULT.images), (few, 64)):
        assert record.budgets[0].n == n
        assert 0 < record.n_forwards + record.n_backwards <= PASSES * n


def test_where_everything_breaks_it_costs_a_fraction_of_autoattack(tmp_path: Path) -> None:
    """The reference takes at least 100 passes in each direction on an image that its first stage breaks."""
    model = ordinary(SEED)
    api.evaluate(
        model, name="net", attacks=GRADIENTS_ONLY, eps=[0.4], limit=200, corruptions="none", audit="none",
        results=tmp_path, device="cpu",
    )  # fmt: skip
    store = Store(tmp_path)
    (run,) = store.runs()
    context = RunContext(dataset=load_dataset("digits", DataRequest()), store=store, device=CPU, progress=Progress())
    paired = PairedModel(run_id="b", model=mlp(SEED))
    record = audit(Audited(run=run, model=model, num_classes=10, batch_size=128, paired=paired), context)
    (budget,) = record.budgets
    assert budget.figures["acc_suite"] == 0
    assert record.n_forwards + record.n_backwards <= 0.3 * 200 * budget.n_correct


class Constant(nn.Module):
    """Always the same class, whatever it is shown."""

    def __init__(self, winner: int, num_classes: int = 10) -> None:
        super().__init__()
        self.winner, self.num_classes = winner, num_classes
        self.weight = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits = 0 * inputs.flatten(1).sum(1, keepdim=True).expand(-1, self.num_classes)
        return logits + 5 * torch.nn.functional.one_hot(torch.tensor(self.winner), self.num_classes)


class Contrary(nn.Module):
    """Never right: the class of the lowest logit."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = -ordinary(SEED)(inputs)
        return logits


def test_a_constant_model_is_truly_robust(tmp_path: Path) -> None:
    """No perturbation changes its answer, so nothing may be said against it, whatever its gradients are."""
    record = audited(Constant(3), tmp_path, GRADIENTS_ONLY, n=100, paired=ordinary(SEED))
    assert flags(record) == {}
    assert record.figures["zero_gradient_margin"] == 1.0
    assert record.budgets[0].figures["acc_suite"] == pytest.approx(10, abs=2)


def test_a_model_that_is_never_right_has_nothing_to_lose(tmp_path: Path) -> None:
    record = audited(Contrary(), tmp_path, GRADIENTS_ONLY, n=100, paired=ordinary(SEED))
    assert flags(record) == {}
    assert record.budgets[0].n_correct == 0
    assert record.figures["deepfool_ratio"] is None

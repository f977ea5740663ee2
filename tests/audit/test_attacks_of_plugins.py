"""A plug-in's attack is treated by its traits, as a built-in one is, and an audit stores the traits that it used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from controls import ordinary
from records import audit_record, cell_record, run_record, samples_of
from test_controls import CPU, SEED, audited, flags
from torch import Tensor, nn

from bench.attacks import ATTACKS, AttackEntry, SampleRng, pgd
from bench.audit import audit as module
from bench.audit.audit import Audited, audit
from bench.context import RunContext
from bench.core.errors import CellFailure
from bench.core.records import AttackTraits, AuditRecord, EvalRecord
from bench.core.specs import Norm
from bench.data import load_dataset
from bench.data.registry import DataRequest
from bench.planning.resume import is_audited
from bench.results.store import Store
from bench.runtime.progress import Progress


class Hidden(nn.Module):
    """The network behind pixels that pass no gradient of use: it points the other way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(2 * inputs.detach() - inputs)
        return logits


@contextmanager
def plugin(*, uses_gradient: bool, family: str = "") -> Iterator[None]:
    """Load a plug-in with an attack that knows how the gradients are hidden."""
    inner = ordinary(SEED)

    def adaptive(model: nn.Module, inputs: Tensor, labels: Tensor, *, norm: Norm, eps: float, rng: SampleRng) -> Tensor:
        return pgd(inner, inputs, labels, norm=norm, eps=eps, rng=rng)

    entry = AttackEntry(summary="s", source="s", function=adaptive, uses_gradient=uses_gradient, family=family)
    ATTACKS.register("adaptive", entry, origin="a plug-in")
    try:
        yield
    finally:
        ATTACKS.remove("adaptive")


def hidden() -> nn.Module:
    return Hidden(ordinary(SEED)).eval().requires_grad_(False)


@pytest.mark.parametrize("uses_gradient", [True, False], ids=["declared", "not declared"])
def test_images_that_a_plug_ins_gradients_broke_are_no_evidence_of_masking(uses_gradient: bool, tmp_path: Path) -> None:
    """Without the trait its gradients are not held against Square, which then seems to find what they do not."""
    with plugin(uses_gradient=uses_gradient):
        record = audited(hidden(), tmp_path, ("fgsm", "pgd", "adaptive"), n=100)
    assert ("black_box_stronger" in flags(record)) != uses_gradient


def audited_again(folder: Path) -> AuditRecord:
    store, dataset = Store(folder), load_dataset("digits", DataRequest())
    (run,) = store.runs()
    context = RunContext(dataset=dataset, store=store, device=CPU, progress=Progress())
    return audit(Audited(run=run, model=hidden(), num_classes=10, batch_size=128), context)


def test_an_audit_is_made_again_when_a_trait_has_changed_and_kept_when_the_plug_in_is_missing(tmp_path: Path) -> None:
    with plugin(uses_gradient=False):
        first = audited(hidden(), tmp_path, ("fgsm", "pgd", "adaptive"), n=100)
    assert first.traits == {"adaptive": AttackTraits(uses_gradient=False, family="")}
    place = first.run_id, first.data_sha, Store(tmp_path)
    assert is_audited(*place), "what is not loaded declares nothing else"
    with plugin(uses_gradient=False):
        assert is_audited(*place)
    with plugin(uses_gradient=True):
        assert not is_audited(*place)
        second = audited_again(tmp_path)
        assert is_audited(*place)
    assert "black_box_stronger" in flags(first)
    assert "black_box_stronger" not in flags(second)
    third = audited_again(tmp_path)
    assert (third.traits, flags(third)) == (second.traits, flags(second)), "the traits of the cells are remembered"
    assert is_audited(*place)


def test_a_failed_audit_with_other_traits_replaces_the_stale_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with plugin(uses_gradient=True):
        first = audited(hidden(), tmp_path, ("fgsm", "adaptive"), n=100)
    place, store = (first.run_id, first.data_sha), Store(tmp_path)

    def fails(*arguments: object) -> None:
        raise CellFailure("out_of_memory", "no memory")

    monkeypatch.setattr(module, "_audit", fails)
    audited_again(tmp_path)
    assert store.read_audit(*place) == first, "made with these traits"
    with plugin(uses_gradient=False):
        audited_again(tmp_path)
    stored = store.read_audit(*place)
    assert stored is not None
    assert (stored.status, stored.budgets) == ("failed", first.budgets)


RUN = run_record()


def of_plugin(record: EvalRecord) -> EvalRecord:
    assert record.spec.attack is not None
    spec = dataclasses.replace(record.spec, attack=dataclasses.replace(record.spec.attack, code_sha="x"))
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


@pytest.mark.parametrize("known", [True, False], ids=["loaded then", "not loaded then"])
@pytest.mark.parametrize("family", ["", "pgd"])
def test_an_audit_that_did_not_know_the_traits_is_made_again(known: bool, family: str, tmp_path: Path) -> None:
    store, cell = Store(tmp_path), of_plugin(cell_record(RUN, "adaptive", [True]))
    store.write_run(RUN, None)
    store.write_cell(cell, samples_of([True]))
    record = audit_record(RUN, cells=(cell.cell_id,))
    traits = {"adaptive": AttackTraits(uses_gradient=True, family="")} if known else {}
    store.write_audit(dataclasses.replace(record, traits=traits))
    assert is_audited(RUN.run_id, "d", store), "nothing more is known now"
    with plugin(uses_gradient=True, family=family):
        assert is_audited(RUN.run_id, "d", store) == (known and not family)


def test_audits_of_built_in_attacks_do_not_depend_on_plug_ins(tmp_path: Path) -> None:
    """Their record has no traits, as records of earlier versions."""
    store = Store(tmp_path)
    store.write_run(RUN, None)
    for attack in ("fgsm", "square"):
        store.write_cell(cell_record(RUN, attack, [True]), samples_of([True]))
    cells = tuple(cell_record(RUN, attack, [True]).cell_id for attack in ("fgsm", "square"))
    store.write_audit(audit_record(RUN, cells=cells))
    assert audit_record(RUN).traits == {}
    with plugin(uses_gradient=True):
        assert is_audited(RUN.run_id, "d", store)

"""Images that the audit's own attacks broke: stored image by image, verified, and reported in the audit's sentence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from controls import briefly_trained
from records import audit_record, run_record
from torch import Tensor, nn

from bench import api
from bench.attacks.registry import resolve
from bench.audit import checks
from bench.audit.audit import Audited, audit
from bench.audit.probes import AuditAttacker, Rescaled
from bench.context import RunContext
from bench.core.records import AuditRecord, BudgetAudit
from bench.core.seals import sealed
from bench.core.specs import Norm
from bench.data import DataRequest, load_dataset
from bench.data.tensors import load_images
from bench.evaluation.cell import CellInput
from bench.leaderboard.write_tables import rebuild
from bench.results.audit_summary import audit_sentence, broken_beyond_suite
from bench.results.store import Store
from bench.runtime.progress import Progress

RUN = run_record()


def evaluated(folder: Path, eps: list[str], model: nn.Module | None = None, **options: Any) -> pd.DataFrame:
    return api.evaluate(
        briefly_trained() if model is None else model, name="net", attacks=["fgsm"], eps=eps, limit=60,
        corruptions="none", results=folder, device="cpu", **options,
    )  # fmt: skip


def stored_audit(folder: Path) -> tuple[Store, AuditRecord]:
    store = Store(folder)
    (run,) = store.runs()
    (record,) = store.audits(run.run_id)
    return store, record


@pytest.fixture(scope="module")
def at_one_tenth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results folder of a model that was attacked with FGSM and audited. Tests only read it."""
    folder = tmp_path_factory.mktemp("audited")
    evaluated(folder, ["0.1"])
    return folder


def test_every_image_that_the_audit_broke_is_stored_and_counts(at_one_tenth: Path) -> None:
    """FGSM alone leaves what PGD breaks; the figures and the images say the same."""
    store, record = stored_audit(at_one_tenth)
    (budget,) = record.budgets
    (cell,) = [found for found in store.cells(record.run_id) if found.spec.attack]
    samples = store.read_samples(cell)
    assert list(budget.images) == [sample.sample_id for sample in samples]
    assert [budget.images[i] for i in budget.standing] == [s.sample_id for s in samples if s.correct]
    in_budget = {"plain", "rescaled", "longer", "margin", "noise", "neighbours", "square"}
    assert set(budget.broken) == in_budget, "in the budget alone"
    right = {i for i, sample in enumerate(samples) if sample.clean_pred == sample.label}
    assert all(set(broken) <= right for broken in budget.broken.values())
    for name, figure in (("plain", "acc_plain"), ("margin", "acc_margin")):
        assert budget.figures[figure] == pytest.approx(100 * (len(right) - len(budget.broken[name])) / 60)
    more = broken_beyond_suite(budget)
    assert more > 0, "the test shows nothing otherwise"
    assert 100 * more / 60 == pytest.approx(budget.figures["drop_stronger_attack"])
    row = rebuild(store).iloc[0]
    assert row["robust_acc_lowest@linf-0.1"] == pytest.approx(100 * (sum(s.correct for s in samples) - more) / 60)
    assert row["robust_acc_lowest@linf-0.1_audit_n"] == 60
    assert f"; the attacks of the audit fooled {more} images more: " in audit_sentence(
        store.runs()[0], record, at_chance=False
    )


def test_attacks_that_ask_about_what_is_left_broke_no_image_before_them(at_one_tenth: Path) -> None:
    (budget,) = stored_audit(at_one_tenth)[1].budgets
    by_gradients = {image for name in checks.WHITE_BOX for image in budget.broken[name]}
    for name in checks.BLACK_BOX:
        assert by_gradients.isdisjoint(budget.broken[name])


def test_the_large_budget_counts_where_it_is_the_budget(tmp_path: Path) -> None:
    evaluated(tmp_path, ["0.5"])
    (budget,) = stored_audit(tmp_path)[1].budgets
    assert {"large", "grey"} <= set(budget.broken)


class Tied(nn.Module):
    """Class 1 is ahead by one float32 step at every image, which some divisions round away."""

    def forward(self, inputs: Tensor) -> Tensor:
        top = torch.full((len(inputs),), 1.9) + 0 * inputs.flatten(1).sum(1)
        return torch.stack([top, torch.nextafter(top, torch.tensor(2.0)).detach() + 0 * top], 1)


def test_images_found_on_rescaled_logits_are_judged_by_the_model_itself() -> None:
    """Divided by ``scale`` the two logits are equal, and class 0 wins; of the model itself it is class 1."""
    inputs = torch.zeros(1, 3, 8, 8)
    scale = next(s for s in np.linspace(1.5, 9, 200) if int(Rescaled(Tied(), float(s))(inputs).argmax(1)) == 0)
    assert int(Tied()(inputs).argmax(1)) == 1
    images = load_images(load_dataset("digits", DataRequest()).test, 8, dataset="digits")
    images = dataclasses.replace(images, labels=torch.ones(len(images), dtype=torch.int64))
    context = CellInput(
        model=Tied().eval(), weights_sha="", images=images, n_test=8, official=True, num_classes=2,
        device=torch.device("cpu"), entry=resolve("pgd-plain-2").entry,
    )  # fmt: skip
    attacker = AuditAttacker(context, 0, 8, Progress(), context.images)
    wrong = attacker.clean()
    assert not wrong.any()
    assert not attacker.attack("pgd-plain-2", "linf", 0.1, wrong, scale=float(scale)).any()


def test_the_sentence_names_the_budget_as_it_was_written(tmp_path: Path) -> None:
    evaluated(tmp_path, ["25/255"])
    store, record = stored_audit(tmp_path)
    assert record.budgets[0].eps_text == "25/255"
    assert " % at linf 25/255" in audit_sentence(store.runs()[0], record, at_chance=False)


def test_a_budget_that_this_command_asked_for_is_audited(tmp_path: Path) -> None:
    """Whatever the run was attacked at before, and whatever tells more."""
    for eps in ("0.1", "0.01"):  # the former tells more
        evaluated(tmp_path, [eps])
        assert [budget.eps_text for budget in stored_audit(tmp_path)[1].budgets] == [eps]


def test_on_the_command_line_too(bench: Callable[..., Any], plugin: Path, tmp_path: Path) -> None:
    fixed = ("--plugin", plugin, "--models", "tiny", "--results", tmp_path, "--limit", "30", "--attacks", "fgsm")
    more = ("--variants", "baseline", "--epochs", "10", "--corruptions", "none", "--no-diagnose", "--audit", "default")
    outcome = bench("run", *fixed, *more, "--eps", "3/10")
    assert " % at linf 3/10" in outcome.err.split("audit: ")[1]


def budget_of(**changes: Any) -> BudgetAudit:
    made = dataclasses.replace(
        audit_record(RUN).budgets[0], images=tuple("abcdefghij"), standing=(0, 1, 2, 3), n=10, eps=8 / 255,
        broken={"plain": (3, 5), "square": (2, 3), "noise": (9,)},
        figures={"acc_suite": 40.0, "mde": 10.0, "drop_stronger_attack": 20.0},
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def said_of(budget: BudgetAudit) -> str:
    return audit_sentence(RUN, dataclasses.replace(audit_record(RUN), budgets=(budget,)), at_chance=False)


def test_the_sentence_shows_the_lowest_number_and_who_broke_what() -> None:
    """The suite left four of ten images and the audit broke two of these, so that 20 % are left."""
    said = said_of(budget_of())
    assert (
        "the audit found nothing against its robust accuracy of 20.0 % at linf 8/255, the lowest known on 10 images "
        "(40.0 % under the attacks of the run; the attacks of the audit fooled 2 images more: plain 1, square 2); it "
    ) in said
    assert "robust accuracy of 40.0 % at linf 8/255 (10 images)" in said_of(budget_of(broken={"plain": (5,)}))


def test_the_sentence_of_an_audit_that_stored_no_images_goes_by_its_figures() -> None:
    said = said_of(budget_of(images=(), standing=(), broken={}))
    assert "20.0 % at linf 8/255, the lowest known on 10 images" in said
    assert "the attacks of the audit fooled 2 images more; it stored no images)" in said


def test_audits_on_disk_without_images_are_still_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_run(RUN, None)
    store.write_audit(audit_record(RUN))
    (path,) = tmp_path.glob("runs/*/audits/*.json")
    text = path.read_text()
    for name in ("images", "standing", "broken", "eps_text"):
        assert f'"{name}"' in text
    content = json.loads(text)
    for name in ("images", "standing", "broken", "eps_text"):
        del content["budgets"][0][name]
    path.write_text(json.dumps(sealed(content)))
    assert store.read_audit(RUN.run_id, "d") == audit_record(RUN)


def audited(store: Store, model: nn.Module) -> AuditRecord:
    data = load_dataset("digits", DataRequest())
    context = RunContext(dataset=data, store=store, device=torch.device("cpu"), progress=Progress())
    return audit(Audited(run=store.runs()[0], model=model, num_classes=10, batch_size=64), context)


def test_without_a_question_the_budget_is_the_most_telling(tmp_path: Path) -> None:
    """As ``bench audit`` has it: nothing was asked for."""
    norms: list[Norm] = ["linf"]
    evaluated(tmp_path, ["0.001", "0.1"], audit="none")
    record = audited(Store(tmp_path), briefly_trained())
    assert [(b.norm, b.eps, b.eps_text) for b in record.budgets] == [(norms[0], 0.1, "")]

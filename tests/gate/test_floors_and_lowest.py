"""A floor is missed where another attack or the audit is known to have broken more of the same images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from records import audit_record, cell_record, run_record, samples_of, store_with

from bench.core.records import AuditRecord
from bench.gate.baseline import make_baseline
from bench.gate.checks import Check
from bench.gate.rules import Rules
from bench.gate.run_checks import check
from bench.gate.snapshot import take_snapshot
from bench.gate.verdict import Verdict
from bench.results.store import Store

CLEAN, FGSM, PGD = [True] * 40, [True] * 30 + [False] * 10, [True] * 20 + [False] * 20


def floors(store: Store, **points: float) -> dict[str, Check]:
    snapshot = take_snapshot(store)
    lines = check(make_baseline(snapshot.runs, {}), snapshot, Rules(floors=points, allow_inconclusive=True))
    return {line.metric.partition("@")[0]: line for line in lines if line.floor is not None}


def audit_of(*broken: int, eps: float = 0.1, **flags: float) -> AuditRecord:
    record = audit_record(run_record(), **flags)
    images = tuple(str(i) for i in range(40))
    budget = dataclasses.replace(record.budgets[0], eps=eps, images=images, broken={"apgd-t": broken})
    return dataclasses.replace(record, budgets=(budget,))


@pytest.mark.parametrize(
    ("floor", "verdict", "why"),
    [
        (50, Verdict.PASS, "at or above the floor"),
        (51, Verdict.FAIL, "lowest known 50.0 % (pgd@linf-0.1) is below the floor 51"),
        (76, Verdict.FAIL, "below the floor"),
    ],
)
def test_another_attack_of_the_run(tmp_path: Path, floor: float, verdict: Verdict, why: str) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": CLEAN, "fgsm": FGSM, "pgd": PGD}})
    line = floors(store, fgsm=floor)["fgsm"]
    assert (line.verdict, line.after) == (verdict, 0.75)
    assert line.why.startswith(why)


@pytest.mark.parametrize("flags", [{}, {"scale_masking": 20.0}])
def test_the_audit_of_flagged_and_unflagged_rows(tmp_path: Path, flags: dict[str, float]) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": CLEAN, "fgsm": FGSM}})
    store.write_audit(audit_of(*range(10), **flags))
    line = floors(store, fgsm=60)["fgsm"]
    assert line.verdict is Verdict.FAIL
    assert line.why == "lowest known 50.0 % (apgd-t, audit) is below the floor 60"
    assert floors(store, fgsm=50)["fgsm"].verdict is (Verdict.UNDECIDED if flags else Verdict.PASS)


def test_a_larger_budget_and_clean_images_do_not_count(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": CLEAN, "fgsm": FGSM}})
    store.write_audit(audit_of(*range(30), eps=0.2))
    assert floors(store, fgsm=70, clean=99)["fgsm"].verdict is Verdict.PASS
    store.write_audit(audit_of(*range(30)))
    assert floors(store, clean=99)["clean"].verdict is Verdict.PASS
    assert floors(store, fgsm=70)["fgsm"].verdict is Verdict.FAIL


def test_images_that_the_other_attack_did_not_see_stay_as_they_are(tmp_path: Path) -> None:
    store = store_with(tmp_path, {("baseline", 0): {"clean": CLEAN, "fgsm": FGSM}})
    few = [False] * 4
    store.write_cell(cell_record(run_record(), "pgd", few), samples_of(few))
    line = floors(store, fgsm=70)["fgsm"]
    assert line.why == "lowest known 65.0 % (pgd@linf-0.1) is below the floor 70"
    assert floors(store, fgsm=65)["fgsm"].verdict is Verdict.PASS

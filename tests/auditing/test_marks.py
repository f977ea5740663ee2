"""What an audit says in tables and in its sentence, from records that are written down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from records import audit_record, cell_record, run_record, samples_of

from bench.auditing.marks import audit_values, findings_for, verdict_of
from bench.auditing.sentence import sentence
from bench.core.columns import AUDIT_COLUMNS
from bench.core.specs import AttackSpec, Finding
from bench.leaderboard import rebuild, write_tables
from bench.pending import is_audited
from bench.report import board_markdown
from bench.store import Store

RUN = run_record()
LINF, L2 = (AttackSpec(name="fgsm", norm=norm, eps=0.1) for norm in ("linf", "l2"))  # type: ignore[arg-type]
RANDOMISED = Finding(flag="randomised", points=None, note="two answers")


def test_a_finding_of_attacks_is_held_against_attacks_of_its_norm() -> None:
    record = audit_record(RUN, black_box=12.25)
    assert [finding.text for finding in findings_for(record, LINF)] == ["black_box=12.2pt"]
    assert findings_for(record, L2) == []
    assert findings_for(record, None) == []


def test_a_finding_of_the_model_is_held_against_every_number() -> None:
    record = dataclasses.replace(audit_record(RUN), findings=(RANDOMISED,))
    for attack in (LINF, L2, None):
        assert [finding.text for finding in findings_for(record, attack)] == ["randomised"]


def test_the_columns_of_a_row() -> None:
    record = audit_record(RUN, black_box=12.25, order=3.0)
    values = audit_values(record, LINF)
    assert set(values) == set(AUDIT_COLUMNS)
    assert values["audit"] == "flagged"
    assert values["audit_flags"] == "black_box=12.2pt;order=3.0pt"
    assert (values["audit_eps"], values["audit_n"], values["audit_acc_suite"]) == (0.1, 10, 40.0)
    assert values["audit_softmax_one"] == 0.5
    assert values["audit_passes"] == 100, "700 forwards and 300 backwards for 10 images"
    assert audit_values(record, L2)["audit"] == "passed"
    assert audit_values(record, L2)["audit_eps"] is None
    assert audit_values(None, LINF) == dict.fromkeys(AUDIT_COLUMNS)
    failed = dataclasses.replace(record, status="failed", reason="audit_error")
    assert (audit_values(failed, LINF)["audit"], audit_values(failed, LINF)["audit_flags"]) == ("failed", None)


def test_the_verdict_on_several_seeds_is_the_worst() -> None:
    mild, grave = audit_record(RUN, transfer=2.0), audit_record(RUN, transfer=9.0, order=2.5)
    assert verdict_of({0: mild, 1: grave}, {0, 1}) == "order=2.5pt;transfer=9.0pt"
    assert verdict_of({0: audit_record(RUN)}, {0}) == "passed"
    assert verdict_of({0: audit_record(RUN)}, {0, 1}) is None, "a seed was not audited"
    (budget,) = audit_record(RUN).budgets
    few = dataclasses.replace(audit_record(RUN), budgets=(dataclasses.replace(budget, figures={}),))
    assert verdict_of({0: few, 1: audit_record(RUN)}, {0, 1}) == "undecided", "two images cannot acquit"
    assert audit_values(few, LINF)["audit"] == "undecided"
    failed = dataclasses.replace(mild, status="failed")
    assert verdict_of({0: failed, 1: mild}, {0, 1}) == "failed"


def test_the_sentence_can_be_quoted() -> None:
    good = sentence(RUN, audit_record(RUN))
    assert good.startswith("tiny:baseline:0 on digits: nothing speaks against its robust accuracy of 40.0 %")
    assert "transfer from the baseline" not in good, "there was none"
    assert good.endswith("the model itself passed every check (100 passes an image).")
    bad = sentence(RUN, audit_record(RUN, order=3.0))
    assert "its robust accuracy of 40.0 % at linf 0.1 (10 images) is an upper bound: order is here" in bad
    failed = dataclasses.replace(audit_record(RUN), status="failed", reason="audit_error", message="ValueError: no")
    assert sentence(RUN, failed) == "tiny:baseline:0 on digits could not be audited: audit_error: ValueError: no"


def store_with(tmp_path: Path, *flagged: str) -> Store:
    """A baseline that keeps 60 %, and two variants that keep more; those ``flagged`` by what gradients do not see."""
    store = Store(tmp_path)
    for variant, right in (("baseline", 6), ("lpc", 9), ("lin_pen", 8)):
        run = run_record(variant)
        store.write_run(run, None)
        for attack, correct in (("clean", [True] * 10), ("fgsm", [True] * right + [False] * (10 - right))):
            store.write_cell(cell_record(run, attack, correct), samples_of(correct))
        store.write_audit(audit_record(run, **({"black_box": 30.0} if variant in flagged else {})))
    return store


def test_a_flagged_row_has_no_place_and_an_upper_bound(tmp_path: Path) -> None:
    store = store_with(tmp_path, "lpc")
    board = rebuild(store).set_index("variant")
    assert board["rank"].fillna(0).to_dict() == {"lin_pen": 1, "baseline": 2, "lpc": 0}
    assert board.loc["lpc", "fgsm@linf-0.1_flags"] == "black_box"
    assert pd.isna(board.loc["lpc", "clean_flags"])
    assert board["audit"].to_dict() == {"lin_pen": "passed", "baseline": "passed", "lpc": "black_box=30.0pt"}
    shown = board_markdown(rebuild(store))
    assert shown.count("≤ ") == 1
    assert "≤ 90.0 [59.6, 98.2] +30.0 ⚑black_box" in shown
    ranked = write_tables(store, rank_flagged=True).board.set_index("variant")
    assert ranked["rank"].to_dict() == {"lpc": 1, "lin_pen": 2, "baseline": 3}


def test_results_say_it_in_every_row_of_an_attack(tmp_path: Path) -> None:
    rebuild(store_with(tmp_path, "lpc"))
    table = pd.read_csv(tmp_path / "results.csv").set_index(["variant", "attack"])
    assert table.loc[("lpc", "fgsm"), "audit_flags"] == "black_box=30.0pt"
    assert table["audit"].to_dict() == {
        ("baseline", "clean"): "passed", ("baseline", "fgsm"): "passed", ("lin_pen", "clean"): "passed",
        ("lin_pen", "fgsm"): "passed", ("lpc", "clean"): "passed", ("lpc", "fgsm"): "flagged",
    }  # fmt: skip


@pytest.mark.parametrize("change", ["another cell", "other weights", "failed", "of old", "full wanted", "forced"])
def test_when_a_run_is_audited_again(change: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_run(RUN, None)
    cell = cell_record(RUN, "fgsm", [True])
    assert is_audited(RUN.run_id, store), "without an attack there is nothing to audit"
    store.write_cell(cell, samples_of([True]))
    assert not is_audited(RUN.run_id, store)
    record = audit_record(RUN, cells=(cell.cell_id,))
    store.write_audit(record)
    assert is_audited(RUN.run_id, store)
    if change == "another cell":
        store.write_cell(cell_record(RUN, "square", [True]), samples_of([True]))
    elif change in ("other weights", "failed", "of old"):
        fields = {"other weights": {"weights_sha": "x"}, "failed": {"status": "failed"}, "of old": {"version": 0}}
        store.write_audit(dataclasses.replace(record, **fields[change]))
    level = "full" if change == "full wanted" else "default"
    assert not is_audited(RUN.run_id, store, level, force=change == "forced")


def test_a_full_audit_is_a_default_one_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_run(RUN, None)
    cell = cell_record(RUN, "fgsm", [True])
    store.write_cell(cell, samples_of([True]))
    store.write_audit(dataclasses.replace(audit_record(RUN, cells=(cell.cell_id,)), level="full"))
    assert is_audited(RUN.run_id, store)
    assert is_audited(RUN.run_id, store, "full")

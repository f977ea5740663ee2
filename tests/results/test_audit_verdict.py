"""Audit columns of one number, and the audit's sentence, from hand-made records."""

from __future__ import annotations

import dataclasses

import pytest
from records import audit_record, cell_record, run_record

from bench.core.columns import AUDIT_COLUMNS
from bench.core.records import AuditRecord, BudgetAudit, EvalRecord, Finding
from bench.core.specs import AttackSpec, Norm
from bench.results.audit_summary import audit_sentence
from bench.results.audit_verdict import audit_values, findings_for, verdict_of, verdict_word

RUN = run_record()
CLEAN = cell_record(RUN, "clean", [True] * 10)


def attacked(norm: Norm = "linf", eps: float = 0.1, *, n: int = 10) -> EvalRecord:
    record = cell_record(RUN, "fgsm", [True] * n)
    spec = dataclasses.replace(record.spec, attack=AttackSpec(name="fgsm", norm=norm, eps=eps))
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


LINF, L2 = attacked(), attacked("l2")
RANDOMISED = Finding(flag="randomised", points=None, note="two answers")


def test_a_finding_of_attacks_is_held_against_attacks_of_its_norm() -> None:
    record = audit_record(RUN, black_box_stronger=12.25)
    assert [finding.text for finding in findings_for(record, LINF)] == ["black_box_stronger=12.2pt"]
    assert findings_for(record, L2) == []
    assert findings_for(record, CLEAN) == []


def test_a_finding_of_the_model_is_held_against_every_number() -> None:
    record = dataclasses.replace(audit_record(RUN), findings=(RANDOMISED,))
    for cell in (LINF, L2, CLEAN):
        assert [finding.text for finding in findings_for(record, cell)] == ["randomised"]


def test_the_columns_of_a_row() -> None:
    record = audit_record(RUN, black_box_stronger=12.25, order=3.0)
    values = audit_values(record, LINF)
    assert set(values) == set(AUDIT_COLUMNS)
    assert values["audit"] == "flagged"
    assert values["audit_flags"] == "black_box_stronger=12.2pt;order=3.0pt"
    assert (values["audit_eps"], values["audit_n"], values["audit_acc_suite"]) == (0.1, 10, 40.0)
    assert values["audit_softmax_one"] == 0.5
    assert values["audit_passes"] == 100, "700 forwards and 300 backwards for 10 images"
    assert audit_values(None, LINF) == dict.fromkeys(AUDIT_COLUMNS)


def at(eps: float, **points: float) -> BudgetAudit:
    """Return the audit at budget ``eps`` with the flags ``points``."""
    return dataclasses.replace(audit_record(RUN, **points).budgets[0], eps=eps)


def test_a_row_has_the_flags_of_its_own_budget() -> None:
    """Another budget's stand beside figures that they contradict; without one of its own they say whose they are."""
    found = (at(0.1), at(0.3, black_box_stronger=12.0), at(0.4, black_box_stronger=15.0, order=2.0))
    record = dataclasses.replace(audit_record(RUN), level="full", budgets=found)
    texts = [";".join(f.text for f in findings_for(record, attacked(eps=eps))) for eps in (0.1, 0.3, 0.4, 0.2)]
    assert texts == [
        "",
        "black_box_stronger=12.0pt",
        "black_box_stronger=15.0pt;order=2.0pt",
        "black_box_stronger=15.0pt@0.4;order=2.0pt@0.4",
    ]
    assert (audit_values(record, LINF)["audit"], audit_values(record, LINF)["audit_eps"]) == ("passed", 0.1)
    assert verdict_of({0: record}, {0: [LINF]}) == "black_box_stronger=15.0pt;order=2.0pt"


def test_points_of_the_large_budget_say_so() -> None:
    large = Finding(flag="large_eps_survivors", note="grey", points=61.5, eps=0.5)
    record = dataclasses.replace(audit_record(RUN), budgets=(dataclasses.replace(at(0.1), findings=(large,)),))
    for cell in (LINF, attacked(eps=0.2)):
        assert audit_values(record, cell)["audit_flags"] == "large_eps_survivors=61.5pt@0.5"


def test_what_was_not_audited_has_not_passed() -> None:
    """Another norm, a cell that came later, one that lacks images of the audit."""
    record = dataclasses.replace(audit_record(RUN), cells=(LINF.cell_id, L2.cell_id))
    assert audit_values(record, LINF)["audit"] == "passed"
    assert (audit_values(record, L2)["audit"], audit_values(record, L2)["audit_eps"]) == ("undecided", None)
    assert audit_values(record, attacked(eps=0.3))["audit"] == "undecided"
    assert audit_values(record, attacked(n=9))["audit"] == "undecided"
    assert verdict_of({0: record}, {0: [CLEAN, LINF]}) == "passed"
    for other in (L2, attacked(eps=0.3), attacked(n=9)):
        assert verdict_of({0: record}, {0: [LINF, other]}) == "undecided"
    broken = dataclasses.replace(L2, status="failed", n_correct=None)
    assert verdict_of({0: record}, {0: [LINF, broken]}) == "passed", "it has no number to doubt"
    assert verdict_of({0: record}, {0: [CLEAN]}) == "undecided", "nothing was attacked"


def test_a_finding_counts_against_a_cell_that_came_later() -> None:
    record = audit_record(RUN, black_box_stronger=30.0)
    assert audit_values(record, attacked(eps=0.3))["audit"] == "flagged"


@pytest.mark.parametrize(
    ("mde", "word"), [(None, "undecided"), (100.0, "undecided"), (12.5, "undecided"), (12.0, "passed")]
)
def test_who_could_not_have_been_flagged_has_not_passed(mde: float | None, word: str) -> None:
    """With five images, all of them would have to fall for a flag."""
    budget = dataclasses.replace(at(0.1), figures={"mde": mde})
    few = dataclasses.replace(audit_record(RUN), budgets=(budget,))
    assert audit_values(few, LINF)["audit"] == word
    assert verdict_of({0: few}, {0: [LINF]}) == word
    assert audit_values(few, CLEAN)["audit"] == "passed", "the checks of the model need no number of images"


def test_the_verdict_on_several_seeds_is_the_worst() -> None:
    mild, grave, good = audit_record(RUN, transfer=2.0), audit_record(RUN, transfer=9.0, order=2.5), audit_record(RUN)
    both = {0: [LINF], 1: [LINF]}
    assert verdict_of({0: mild, 1: grave}, both) == "order=2.5pt;transfer=9.0pt"
    assert verdict_of({0: good, 1: mild}, both) == "transfer=2.0pt"
    assert verdict_of({0: good, 1: good}, both) == "passed"
    assert verdict_of({0: good}, both) is None, "a seed was not audited"
    few = dataclasses.replace(good, budgets=(dataclasses.replace(at(0.1), figures={}),))
    assert verdict_of({0: few, 1: good}, both) == "undecided", "two images cannot acquit"
    assert verdict_word(mild, [LINF]) == "flagged"


def test_an_audit_that_failed_keeps_what_was_found_before() -> None:
    failed = dataclasses.replace(audit_record(RUN, transfer=2.0), status="failed", reason="audit_error")
    values = audit_values(failed, LINF)
    assert (values["audit"], values["audit_flags"]) == ("failed", "transfer=2.0pt")
    assert verdict_of({0: failed, 1: audit_record(RUN)}, {0: [LINF], 1: [LINF]}) == "failed;transfer=2.0pt"
    assert verdict_word(failed, [LINF]) == "failed"


def said_of(record: AuditRecord) -> str:
    return audit_sentence(RUN, record, at_chance=False)


def test_the_sentence_can_be_quoted() -> None:
    good = said_of(audit_record(RUN))
    assert good.startswith("tiny:baseline:0 on digits: the audit found nothing against its robust accuracy of 40.0 %")
    assert "transfer from the baseline" not in good, "there was none"
    assert good.endswith("the model itself passed every check (100 passes per image).")
    assert "(a drop of 10.0 points would have been flagged); the model" in good
    changing = said_of(dataclasses.replace(audit_record(RUN), findings=(RANDOMISED,)))
    assert changing.startswith("tiny:baseline:0 on digits: the model itself failed checks: two answers; otherwise the")
    bad = said_of(audit_record(RUN, order=3.0))
    cases = (
        (None, "too few correctly classified images for any flag"),
        (50.0, "only a drop of 50.0 points or more could have been flagged"),
    )
    for mde, words in cases:
        few = dataclasses.replace(at(0.1), figures={"acc_suite": 40.0, "mde": mde})
        said = said_of(dataclasses.replace(audit_record(RUN), budgets=(few,)))
        assert f"undecided: {words}" in said
    assert "its robust accuracy of 40.0 % at linf 0.1 (10 images) is an upper bound: order is here" in bad
    failed = dataclasses.replace(audit_record(RUN), status="failed", reason="audit_error", message="ValueError: no")
    said = "tiny:baseline:0 on digits could not be audited: audit_error: ValueError: no"
    assert said_of(failed) == said
    found = dataclasses.replace(failed, findings=(RANDOMISED,))
    assert said_of(found) == f"{said} (findings before the failure: two answers)"

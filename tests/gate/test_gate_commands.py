"""``bench check`` and ``bench baseline`` on hand-made results: exit codes, files and sentences."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml
from records import store_with
from scipy import stats

RIGHT = [True] * 300 + [False] * 100
WORSE = [False] * 60 + RIGHT[60:]
SLIGHTLY = [False] * 3 + RIGHT[3:]


@pytest.fixture
def file(tmp_path: Path, bench: Callable[..., Any]) -> Path:
    """The baseline of a run with two cells."""
    path = tmp_path / "baselines" / "digits.json"
    store_with(tmp_path / "before", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    made = bench("baseline", "write", "--baseline", path, "--results", tmp_path / "before")
    assert made.code == 0
    return path


@pytest.mark.parametrize(("fgsm", "code"), [(RIGHT, 0), (SLIGHTLY, 1), (WORSE, 1)])
def test_exit_codes(tmp_path: Path, bench: Callable[..., Any], file: Path, fgsm: list[bool], code: int) -> None:
    store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": fgsm}})
    shown = bench("check", "--baseline", file, "--results", tmp_path / "after")
    assert shown.code == code
    wanted = {id(RIGHT): "2 PASS", id(SLIGHTLY): "1 PASS and 1 NOT ENOUGH EVIDENCE", id(WORSE): "1 PASS and 1 FAIL"}
    assert f"2 checks: {wanted[id(fgsm)]}." in shown.out


def test_undecided_is_let_through_only_on_request(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    arguments = ["check", "--baseline", file, "--results", tmp_path / "after"]
    store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": SLIGHTLY}})
    assert bench(*arguments).code == 1
    assert bench(*arguments, "--allow-inconclusive").code == 0
    store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": WORSE}})
    assert bench(*arguments, "--allow-inconclusive").code == 1


def test_a_wider_tolerance_and_level_decide(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": SLIGHTLY}})
    arguments = ["check", "--baseline", file, "--results", tmp_path / "after"]
    assert bench(*arguments, "--tolerance", "clean=0.5,fgsm=3").code == 0
    assert bench(*arguments, "--tolerance", "fgsm=2.6").code == 1
    assert bench(*arguments, "--tolerance", "fgsm=2.6", "--alpha", "0.1").code == 0


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (["--tolerance", "pdg=1"], "unknown tolerance 'pdg'"),
        (["--tolerance", "clean"], "'clean' is not of the form NAME=POINTS"),
        (["--tolerance", "clean=-1"], "is not of the form"),
        (["--tolerance", "clean=nan"], "is not of the form"),
        (["--tolerance", "clean=1", "--tolerance", "clean=2"], "given twice"),
        (["--alpha", "0.7"], "0.7 is not in the range"),
        (["--run", "tiny:none"], "no run 'tiny:none'"),
    ],
)
def test_options_that_mean_nothing(
    tmp_path: Path, bench: Callable[..., Any], file: Path, option: list[str], why: str
) -> None:
    shown = bench("check", "--baseline", file, "--results", tmp_path / "before", *option)
    assert shown.code == 2
    assert why in shown.err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_an_unreadable_baseline_is_a_mistake_of_the_user(
    tmp_path: Path, bench: Callable[..., Any], file: Path, content: bytes
) -> None:
    file.write_bytes(content)
    shown = bench("check", "--baseline", file, "--results", tmp_path / "before")
    assert shown.code == 2
    assert shown.err.count("\n") == 1
    assert str(file) in shown.err


def test_a_missing_run_fails(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    store_with(tmp_path / "after", {("lpc", 0): {"clean": RIGHT}})
    shown = bench("check", "--baseline", file, "--results", tmp_path / "after")
    assert shown.code == 1
    assert shown.out.count("the results have no such run") == 3


def test_junit_names_what_failed(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    store_with(tmp_path / "after", {("baseline", 0): {"clean": SLIGHTLY, "fgsm": WORSE}})
    report = tmp_path / "reports" / "gate.xml"
    arguments = ["check", "--baseline", file, "--results", tmp_path / "after", "--junit", report]
    bench(*arguments)
    suite = next(iter(JUnitXml.fromfile(str(report))))
    assert (suite.tests, suite.failures, suite.skipped) == (2, 2, 0)
    assert {case.name: bool(case.result) for case in suite} == {"clean": True, "fgsm@linf-0.1": True}
    bench(*arguments, "--allow-inconclusive")
    suite = next(iter(JUnitXml.fromfile(str(report))))
    assert (suite.tests, suite.failures, suite.skipped) == (2, 1, 1)


def test_the_summary_is_added_to_what_is_there(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before", encoding="utf-8")
    bench("check", "--baseline", file, "--results", tmp_path / "before", "--summary", page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n### Robustness")
    assert "| digits tiny:baseline:0 | clean" in text


def test_json(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    shown = bench("check", "--baseline", file, "--results", tmp_path / "before", "--json")
    assert [found["verdict"] for found in shown.json["checks"]] == ["PASS"] * 2


def test_an_update_of_the_same_run_changes_no_byte(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    before = file.read_bytes()
    assert bench("baseline", "write", "--baseline", file, "--results", tmp_path / "before").code == 0
    assert file.read_bytes() == before


def test_an_update_keeps_the_tolerances(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    arguments = ["baseline", "write", "--baseline", file, "--results", tmp_path / "before"]
    bench(*arguments, "--tolerance", "fgsm=3")
    bench(*arguments, "--tolerance", "clean=2")
    assert json.loads(file.read_text(encoding="utf-8"))["tolerances"] == {"clean": 2.0, "fgsm": 3.0}


def test_only_the_cells_that_are_named_are_kept(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    bench("baseline", "write", "--baseline", file, "--results", tmp_path / "before", "--cells", "fgsm*")
    assert list(json.loads(file.read_text(encoding="utf-8"))["runs"][0]["cells"]) == ["fgsm@linf-0.1"]


def test_a_tolerance_that_the_images_cannot_resolve_is_warned_of(
    tmp_path: Path, bench: Callable[..., Any], file: Path
) -> None:
    shown = bench("baseline", "show", "--baseline", file)
    assert "400 images of clean cannot resolve a tolerance of 0.5 points: with one newly" in shown.err
    assert f"the drop may be {100 * stats.beta.ppf(0.995, 2, 399):.1f}; 1483" in shown.err
    assert 100 * stats.beta.ppf(0.995, 2, 1482) <= 0.5 < 100 * stats.beta.ppf(0.995, 2, 1481)
    arguments = ["baseline", "write", "--baseline", file, "--results", tmp_path / "before"]
    assert "warning" not in bench(*arguments, "--tolerance", "clean=3,fgsm=3").err


def test_showing_takes_no_options_of_updating(bench: Callable[..., Any], file: Path) -> None:
    shown = bench("baseline", "show", "--baseline", file, "--tolerance", "clean=3")
    assert shown.code == 2
    assert "bench baseline write" in shown.err


def test_a_baseline_of_nothing_is_refused(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    shown = bench("baseline", "write", "--baseline", file, "--results", tmp_path / "empty")
    assert shown.code == 2
    assert "no cells under" in shown.err


def test_a_report_is_readable_whatever_an_error_says(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    """Messages of foreign code hold escapes, NUL and markup."""
    store = store_with(tmp_path / "after", {("baseline", 0): {"clean": RIGHT, "fgsm": RIGHT}})
    run = store.runs()[0]
    cell = next(cell for cell in store.cells(run.run_id) if cell.spec.attack)
    message = "\x1b[31mCUDA \x00 error | <b>x</b>\nsecond line"
    broken = dataclasses.replace(cell, status="failed", reason="attack_error", message=message, n_correct=None)
    store.write_cell(broken, None)
    junit, page = tmp_path / "gate.xml", tmp_path / "page.md"
    arguments = ["--results", tmp_path / "after", "--junit", junit, "--summary", page]
    shown = bench("check", "--baseline", file, *arguments)
    assert shown.code == 1
    failed = [case for suite in JUnitXml.fromfile(str(junit)) for case in suite if case.result]
    assert "CUDA   error | <b>x</b> second line" in failed[0].result[0].message
    for text in (shown.out, page.read_text(encoding="utf-8")):
        assert "\x1b" not in text
        assert "error \\| \\<b>x\\</b> second line" in text


def test_what_is_not_in_the_baseline_is_told(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    cells = {"clean": RIGHT, "fgsm": RIGHT, "pgd": WORSE}
    store_with(tmp_path / "after", {("baseline", 0): cells})
    shown = bench("check", "--baseline", file, "--results", tmp_path / "after")
    assert shown.code == 0
    assert "not compared with the baseline: digits tiny:baseline:0 pgd@linf-0.1" in shown.err


def test_tolerances_that_mean_nothing_any_more_are_dropped_and_told(
    tmp_path: Path, bench: Callable[..., Any], file: Path
) -> None:
    arguments = ["baseline", "write", "--baseline", file, "--results"]
    bench(*arguments, tmp_path / "before", "--tolerance", "fgsm=3,clean=2")
    store_with(tmp_path / "other", {("baseline", 0): {"clean": RIGHT}})
    shown = bench(*arguments, tmp_path / "other")
    assert "tolerances kept: clean" in shown.err
    assert "dropped, because no metric has this name: fgsm" in shown.err
    assert json.loads(file.read_text(encoding="utf-8"))["tolerances"] == {"clean": 2.0}


def test_a_check_that_can_never_fail_is_warned_of(tmp_path: Path, bench: Callable[..., Any], file: Path) -> None:
    store_with(tmp_path / "zero", {("baseline", 0): {"clean": RIGHT, "fgsm": [False] * 400}})
    shown = bench("baseline", "write", "--baseline", file, "--results", tmp_path / "zero")
    assert "fgsm@linf-0.1 of tiny:baseline can never fail: its accuracy of 0.0 %" in shown.err
    assert "clean of tiny:baseline can never fail" not in shown.err
    shown = bench("baseline", "write", "--baseline", file, "--results", tmp_path / "zero", "--tolerance", "clean=80")
    assert "clean of tiny:baseline can never fail: its accuracy of 75.0 % is within the tolerance of 80" in shown.err


@pytest.mark.parametrize("option", ["--junit", "--summary"])
def test_a_report_never_takes_the_place_of_the_baseline(
    tmp_path: Path, bench: Callable[..., Any], file: Path, option: str
) -> None:
    before = file.read_bytes()
    shown = bench("check", "--baseline", file, "--results", tmp_path / "before", option, file)
    assert shown.code == 2
    assert file.read_bytes() == before

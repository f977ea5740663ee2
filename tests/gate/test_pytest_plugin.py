"""The fixture ``robustness`` in a project of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.gate.baseline import read_baseline

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model"
OPTIONS = {
    "dataset": "digits", "attacks": "fgsm", "eps": "0.1", "corruptions": "none", "audit": "none", "limit": 200,
}  # fmt: skip
FAST = """
import pytest
from model import load

@pytest.mark.robustness({settings})
def test_robustness(robustness):
    robustness({model}, dataset="digits", attacks="fgsm", eps="0.1", corruptions="none", audit="none", limit=200)
"""


def write_test(project: pytest.Pytester, settings: str = 'baseline="own.json"', model: str = "load()") -> None:
    (project.path / "test_robustness.py").write_text(FAST.format(settings=settings, model=model), encoding="utf-8")


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def break_normalisation(project: pytest.Pytester) -> None:
    replace(project.path / "model.py", "(grey - MEAN) / STD", "grey")


@pytest.mark.slow
def test_the_example_passes_as_it_stands_and_fails_when_the_normalisation_breaks(project: pytest.Pytester) -> None:
    """In processes of their own, with the audit."""
    project.runpytest_subprocess("--robustness-required", "-p", "no:cacheprovider").assert_outcomes(passed=1)
    break_normalisation(project)
    found = project.runpytest_subprocess("-p", "no:cacheprovider")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*digits model:external:0*fgsm@linf-0.1*FAIL*"])
    assert "Traceback" not in found.stdout.str()


def test_the_example_without_its_audit(project: pytest.Pytester) -> None:
    """The committed accuracies are those of the committed weights; a missing audit or a broken normalisation fails."""
    replace(project.path / "test_robustness.py", 'corruptions="none"', 'corruptions="none", audit="none"')
    found = project.runpytest()
    found.assert_outcomes(failed=1)
    for metric in ("clean", "fgsm@linf-0.1", "pgd-20@linf-0.1"):
        found.stdout.fnmatch_lines([f"*digits model:external:0*{metric}*PASS*no image changed*"])
    found.stdout.fnmatch_lines(["*audit*FAIL*the run has no audit, but the baseline has one*"])
    break_normalisation(project)
    found = project.runpytest()
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*digits model:external:0*fgsm@linf-0.1*FAIL*"])
    assert "Traceback" not in found.stdout.str()


def test_the_baseline_is_written_on_request_and_then_checked(project: pytest.Pytester) -> None:
    write_test(project, 'baseline="kept/own.json", tolerance={"clean": 4}')
    missing = project.runpytest()
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*own.json does not exist; 'pytest --robustness-update' writes it.*"])
    project.runpytest("--robustness-update").assert_outcomes(skipped=1)
    held = read_baseline(project.path / "kept" / "own.json")
    assert held.tolerances == {"clean": 4.0}
    assert set(held.runs[0].cells) == {"clean", "fgsm@linf-0.1"}
    project.runpytest().assert_outcomes(passed=1)


def test_several_models_are_seeds(project: pytest.Pytester) -> None:
    write_test(project, model="[load(), load()]")
    project.runpytest("--robustness-update").assert_outcomes(skipped=1)
    assert [run.seed for run in read_baseline(project.path / "own.json").runs] == [0, 1]


MARKS = {
    "none": ("", "the fixture needs a mark"),
    "misspelt": ('(baseline="own.json", tolerence={})', "unexpected keyword argument 'tolerence'"),
    "without": ("(alpha=0.05)", "missing 1 required positional argument: 'baseline'"),
    "metric": ('(baseline="robustness.json", tolerance={"claen": 1})', "unknown tolerance 'claen'"),
    "points": ('(baseline="call two.json", tolerance={"clean": "3"})', "tolerance '3' of clean"),
    "number": ('(baseline="one.json", tolerance=3)', "tolerance=3 is not of the form"),
    "level": ('(baseline="two.json", alpha=3)', "alpha 3 is not between"),
    "python": ('(baseline="model.py")', "model.py is not a valid baseline"),
    "shared": ('(baseline="model.py")', "model.py is the baseline of test_it.py::test_python; give every test its own"),
}
CALLS = {
    "no call": ("pass", "has not called its fixture"),
    "option": ("robustness(load(), attack='pgd')", "unknown option 'attack'; did you mean 'attacks'"),
    "seed": ("robustness(load(), seed=3)", "unknown option 'seed'"),
    "time budget": (
        "robustness(load(), time_budget='1h')",
        "time_budget= may end the attacks",
    ),
    "empty": ("robustness([])", "sequence of models called 'model' is empty"),
    "twice": ("robustness(load(), **OPTIONS); robustness(load(), **OPTIONS)", "two models are called 'model'"),
}


def test_what_cannot_be_meant_is_one_sentence_each(project: pytest.Pytester) -> None:
    """Test invalid marks and calls, all in one session, as each session costs seconds of imports."""
    lines = ["import pytest", "from model import load", f"OPTIONS = {OPTIONS}"]
    for name, (mark, _) in MARKS.items():
        lines += [f"@pytest.mark.robustness{mark}"] if mark else []
        lines += [f"def test_{name}(robustness):", "    robustness(load(), **OPTIONS)"]
    for name, (call, _) in CALLS.items():
        lines += [f'@pytest.mark.robustness("call {name}.json")', f"def test_{name.replace(' ', '_')}(robustness):"]
        lines += [f"    {call}"]
        shutil.copy(EXAMPLE / "robustness.json", project.path / f"call {name}.json")
    shutil.copy(EXAMPLE / "robustness.json", project.path / "call two.json")
    (project.path / "test_robustness.py").unlink()
    (project.path / "test_it.py").write_text("\n".join(lines), encoding="utf-8")
    found = project.runpytest()
    text = found.stdout.str()
    found.assert_outcomes(failed=len(CALLS) + 3, errors=len(MARKS) - 3)
    for name, (_, why) in {**MARKS, **CALLS}.items():
        assert why in text, name
    assert "Traceback" not in text
    assert "During handling" not in text


def test_everything_that_a_test_asks_for_is_kept_and_checked(project: pytest.Pytester) -> None:
    """Two models and two norms in one test, and then one of them is exchanged for another."""
    body = """
import pytest
from model import Digits, load

@pytest.mark.robustness("own.json", tolerance={"clean": 3, "fgsm": 3})
def test_both(robustness):
    first = load()
    robustness(first, name="first", eps="0.1", **OPTIONS)
    robustness(first, name="first", eps="0.3", norm="l2", **OPTIONS)
    robustness(SECOND, name="second", eps="0.1", **OPTIONS)
"""
    (project.path / "test_robustness.py").unlink()
    file = project.path / "test_both.py"
    options = {key: value for key, value in OPTIONS.items() if key != "eps"}
    file.write_text(body.replace("SECOND", "load()").replace("**OPTIONS", f"**{options}"), encoding="utf-8")
    project.runpytest("--robustness-update").assert_outcomes(skipped=1)
    held = read_baseline(project.path / "own.json").runs
    assert [(run.model, sorted(run.cells)) for run in held] == [
        ("first", ["clean", "fgsm@l2-0.3", "fgsm@linf-0.1"]),
        ("second", ["clean", "fgsm@linf-0.1"]),
    ]
    project.runpytest().assert_outcomes(passed=1)
    text = file.read_text(encoding="utf-8").replace("(load(), name", "(Digits(), name")
    file.write_text(text, encoding="utf-8")
    found = project.runpytest()
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*digits second:external*clean*"])


def test_what_the_baseline_does_not_hold_fails(project: pytest.Pytester) -> None:
    """An attack that is added is not one that passes."""
    write_test(project)
    project.runpytest("--robustness-update").assert_outcomes(skipped=1)
    file = project.path / "test_robustness.py"
    text = file.read_text(encoding="utf-8").replace('attacks="fgsm"', 'attacks=["fgsm", "pgd-2"]')
    file.write_text(text, encoding="utf-8")
    found = project.runpytest()
    found.assert_outcomes(failed=1)
    assert "own.json: digits model:external:0 pgd-2@linf-0.1; 'pytest --robustness-update' adds it" in (
        found.stdout.str()
    )


def test_an_update_warns_of_what_cannot_be_told(project: pytest.Pytester) -> None:
    write_test(project, 'baseline="own.json", tolerance={"fgsm": 100}')
    text = project.runpytest("--robustness-update").stdout.str()
    assert "200 images of clean cannot resolve a tolerance of 0.5 points" in text
    assert "fgsm@linf-0.1 of model:external can never fail" in text


def test_a_session_without_robustness_tests_does_not_import_torch(pytester: pytest.Pytester) -> None:
    """Nor does a conftest in a subfolder disturb it: pytest then hashes the plug-in."""
    for folder in ("a", "b"):
        path = pytester.mkdir(folder)
        (path / f"test_{folder}.py").write_text("import sys\ndef test_it():\n    assert 'torch' not in sys.modules\n")
    (pytester.path / "a" / "conftest.py").write_text("def pytest_runtest_logreport(report): pass")
    pytester.runpytest_subprocess().assert_outcomes(passed=2)

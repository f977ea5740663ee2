"""The fixture ``robustness`` in projects of their own, each in a pytest process of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.gate.baseline import read_baseline

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model"
FAST = """
import pytest
from model import load

@pytest.mark.robustness({settings})
def test_robustness(robustness):
    robustness({model}, dataset="digits", attacks="fgsm", eps="0.1", corruptions="none", audit=False, limit=200)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """The example as somebody would copy it, with no configuration of pytest around it."""
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, pytester.path / file.name)
    return pytester


def write_test(project: pytest.Pytester, settings: str = 'baseline="own.json"', model: str = "load()") -> None:
    (project.path / "test_robustness.py").write_text(FAST.format(settings=settings, model=model))


def test_the_example_passes_as_it_stands(project: pytest.Pytester) -> None:
    project.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_example_fails_with_its_table_when_the_normalisation_breaks(project: pytest.Pytester) -> None:
    model = project.path / "model.py"
    broken = model.read_text().replace("(grey - MEAN) / STD", "grey")
    assert broken != model.read_text()
    model.write_text(broken)
    found = project.runpytest_subprocess("-p", "no:cacheprovider")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*digits model:external:0*fgsm@linf-0.1*FAIL*"])
    assert "Traceback" not in found.stdout.str()


def test_the_baseline_is_written_on_request_and_then_checked(project: pytest.Pytester) -> None:
    write_test(project, 'baseline="kept/own.json", tolerance={"clean": 4}')
    missing = project.runpytest_subprocess()
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(["*own.json; 'pytest --robustness-update' writes it.*"])
    project.runpytest_subprocess("--robustness-update").assert_outcomes(skipped=1)
    held = read_baseline(project.path / "kept" / "own.json")
    assert held.tolerances == {"clean": 4.0}
    assert set(held.runs[0].cells) == {"clean", "fgsm@linf-0.1"}
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_several_models_are_seeds(project: pytest.Pytester) -> None:
    write_test(project, model="[load(), load()]")
    project.runpytest_subprocess("--robustness-update").assert_outcomes(skipped=1)
    assert [run.seed for run in read_baseline(project.path / "own.json").runs] == [0, 1]


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("", "needs a mark such as"),
        ('baseline="own.json", tolerances={}', "needs a mark such as"),
        ('baseline="robustness.json", tolerance={"claen": 1}', "unknown tolerance 'claen'"),
        ('baseline="robustness.json", alpha=3', "alpha 3 is not between"),
        ('baseline="model.py"', "model.py is no baseline"),
    ],
)
def test_a_mark_that_cannot_be_meant_is_one_sentence(project: pytest.Pytester, settings: str, why: str) -> None:
    write_test(project, settings)
    found = project.runpytest_subprocess()
    assert why in found.stdout.str()
    assert "Traceback" not in found.stdout.str()


def test_a_session_without_robustness_tests_does_not_import_torch(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_it():\n    assert 'torch' not in sys.modules\n")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)

"""A test marked ``robustness`` passes only after a comparison, in every style that pytest has."""

from __future__ import annotations

import pytest
from plugin_sources import EARLY_END, HELPER, IMPORTS, NOTHING, PARTS, STYLES

from bench.gate.baseline import read_baseline

COUNT = 10


@pytest.fixture(autouse=True)
def helper(project: pytest.Pytester) -> None:
    (project.path / "helper.py").write_text(HELPER, encoding="utf-8")
    (project.path / "test_robustness.py").unlink()


def write(project: pytest.Pytester, text: str) -> None:
    (project.path / "test_it.py").write_text(text, encoding="utf-8")


def test_every_style_compares(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """No baseline fails, an update writes even where warnings are errors, the same model passes, a worse one fails."""
    write(project, STYLES)
    project.runpytest().assert_outcomes(failed=COUNT + 2)  # subtests have outcomes of their own
    project.runpytest("--robustness-update", "-W", "error").assert_outcomes(skipped=COUNT)
    assert len(list(project.path.glob("*.json"))) == COUNT + 1
    assert {run.model for run in read_baseline(project.path / "subtest.json").runs} == {"a", "b"}
    found = project.runpytest("-W", "error", "-p", "no:cacheprovider")
    found.assert_outcomes(passed=COUNT)
    found.stdout.fnmatch_lines(["*test_function: compared with *", "*fgsm@linf-0.1: baseline 77.5, now 77.5*PASS*"])
    monkeypatch.setenv("KIND", "bad")
    found = project.runpytest("-n", "1")  # the reports of another process; each costs its imports
    found.assert_outcomes(failed=COUNT)
    found.stdout.fnmatch_lines(["*test_function: compared with *", "*clean: baseline 9?.*, now *FAIL*"])
    assert "pytest --robustness-update" in found.stdout.str()


def test_nothing_compared_fails_in_every_style(project: pytest.Pytester) -> None:
    write(project, NOTHING)
    for options in ((), ("--robustness-update",)):
        found = project.runpytest("-W", "ignore", *options)
        outcomes = found.parseoutcomes()
        written = 1 if options else 0  # of the parametrised tests that share a baseline the first may write it
        assert outcomes.get("passed", 0) == 0
        assert outcomes.get("skipped", 0) == written
        assert not {"xfailed", "xpassed"} & set(outcomes)
        assert "nothing was compared" in found.stdout.str()
    assert not {path.name for path in project.path.glob("?.json")} - {"l.json"}


def test_expected_failures_excuse_a_comparison_and_skips_are_listed(project: pytest.Pytester) -> None:
    write(project, STYLES.partition('@mark("dynamic')[0])
    project.runpytest("--robustness-update").assert_outcomes(skipped=1)
    text = (project.path / "test_it.py").read_text(encoding="utf-8")
    write(project, text.replace("@mark(", "@pytest.mark.xfail\n@mark(").replace("load()", "load().train()"))
    bad = (project.path / "helper.py").read_text(encoding="utf-8").replace('== "bad"', '!= "bad"')
    (project.path / "helper.py").write_text(bad, encoding="utf-8")
    project.runpytest().assert_outcomes(xfailed=1)
    write(project, text.replace("    robustness(", "    pytest.skip('no weights')\n    robustness("))
    found = project.runpytest()
    found.assert_outcomes(skipped=1)
    assert found.ret == 0
    found.stdout.fnmatch_lines(["*test_function: NOT COMPARED (skipped)"])
    write(project, text + "    pytest.skip('afterwards')\n")
    project.runpytest().assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def test_it(): pass", "no test of this session is marked 'robustness'"),
        (f"{IMPORTS}@pytest.mark.robustness('a.json')\n@pytest.mark.skip\ndef test_it(): pass", "by test_it.py::"),
    ],
)
def test_a_comparison_can_be_required(project: pytest.Pytester, text: str, why: str) -> None:
    write(project, text)
    assert project.runpytest().ret == 0
    found = project.runpytest("--robustness-required")
    assert found.ret == 1
    assert why in found.stdout.str()


def test_required_and_update_exclude_each_other(project: pytest.Pytester) -> None:
    write(project, "def test_it(): pass")
    assert project.runpytest("--robustness-required", "--robustness-update").ret == pytest.ExitCode.USAGE_ERROR


def test_every_attempt_is_judged_by_itself(project: pytest.Pytester) -> None:
    """As pytest-rerunfailures runs tests again: the comparison of one attempt is none of the next."""
    (project.path / "conftest.py").write_text(
        "from _pytest.runner import runtestprotocol\n"
        "def pytest_runtest_protocol(item, nextitem):\n"
        "    runtestprotocol(item, nextitem=nextitem, log=False)\n"
        "    runtestprotocol(item, nextitem=nextitem, log=True)\n"
        "    return True\n",
        encoding="utf-8",
    )
    write(
        project,
        "import pytest\nfrom helper import OPTIONS, load\nATTEMPTS = []\n"
        "@pytest.mark.robustness('robustness.json')\n"
        "def test_once(robustness):\n"
        "    if not ATTEMPTS:\n"
        "        robustness(load(), **{**OPTIONS, 'attacks': ['fgsm', 'pgd'], 'limit': None})\n"
        "    ATTEMPTS.append(1)\n",  # the first attempt compares, with two metrics and all images
    )
    found = project.runpytest()
    found.assert_outcomes(failed=1)
    assert "nothing was compared" in found.stdout.str()


def test_a_fixture_of_this_name_that_is_somebody_elses(project: pytest.Pytester) -> None:
    write(project, "import pytest\n@pytest.fixture\ndef robustness(): return 1\ndef test_it(robustness): pass")
    found = project.runpytest()
    found.assert_outcomes(passed=1)
    assert "NOT COMPARED" not in found.stdout.str()


def test_weights_and_floors(project: pytest.Pytester) -> None:
    """Two files of weights are compared image by image; a floor fails whatever the baseline had."""
    settings = '"a.json", scope="weights", tolerance={"clean": 20, "fgsm": 20}'
    text = STYLES.partition('@mark("dynamic')[0].replace('"function.json"', settings)
    text = text.replace("load()", "LOADED").replace("mark =", "LOADED = load()\nmark =")
    write(project, text)
    project.runpytest("--robustness-update").assert_outcomes(skipped=1)
    write(project, text.replace("mark =", "LOADED.layers[4].bias.data += 0.001\nmark ="))
    found = project.runpytest()
    found.assert_outcomes(passed=1)
    found.stdout.fnmatch_lines(["*for these files, not for the recipe*"])
    write(project, text.replace("mark =", "LOADED.layers[4].weight.data *= -1\nmark ="))
    found = project.runpytest()
    found.assert_outcomes(failed=1)
    assert "They do not show that the training recipe is better or worse" in found.stdout.str()
    write(project, text.replace("scope=", 'floor={"fgsm": 78}, scope='))
    found = project.runpytest()
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*fgsm@linf-0.1: baseline 77.5, now 77.5, floor 78: FAIL (below the floor*"])
    assert "An accuracy below its floor remains a failure" in found.stdout.str()
    write(project, text.replace("scope=", 'floor={"fgsm": 77}, scope='))
    project.runpytest().assert_outcomes(passed=1)


def test_what_is_asked_for_and_not_compared_fails(project: pytest.Pytester) -> None:
    """Failed attacks, an accuracy that gets lost, and two attacks of one name, beside a clean accuracy that passes."""
    before, after = (PARTS.replace("ATTACKS", attacks) for attacks in ("'none'", "['fgsm', 'pgd-2']"))
    write(project, before.replace("XFAIL", ""))
    project.runpytest("--robustness-update").assert_outcomes(skipped=4)
    project.runpytest("-k", "failed or dropped").assert_outcomes(passed=2, deselected=2)
    write(project, after.replace("XFAIL", "@pytest.mark.xfail"))
    found = project.runpytest("--robustness-required")
    found.assert_outcomes(failed=4)
    text = found.stdout.str()
    for metric in ("fgsm@linf-0.1", "pgd-2@linf-0.1"):
        assert text.count(f"{metric}: FAIL (failed: no_gradient") == 2
    assert "xfail allows a failed comparison, but some of the requested cells were not compared" in text
    assert "requested but not compared: digits model:external:0 fgsm@linf-0.1, digits model:external:0 pgd-2@" in text
    assert "requested but not compared: digits model:external:0 fgsm@linf-0.1 (ok, with version" in text
    update = project.runpytest("--robustness-update")
    update.assert_outcomes(failed=4)
    # pytest repeats the message in its summary where the environment variable CI is set
    errors = [line for line in update.outlines if not line.startswith("FAILED")]
    assert sum("every call with different settings its own name=" in line for line in errors) == 2


def test_a_module_that_skips_itself_is_listed_and_fails_where_required(project: pytest.Pytester) -> None:
    """Skipped as a whole, beside a test that compares: in one process and in two."""
    write(project, STYLES.partition('@mark("dynamic')[0])
    project.runpytest("--robustness-update").assert_outcomes(skipped=1)
    skip = "import pytest\npytest.importorskip('no_such_module')  # robustness of others\n"
    marked = '@pytest.mark.robustness("a.json")\ndef test_a(robustness): pass\n'
    (project.path / "test_skips.py").write_text(skip + marked, encoding="utf-8")
    (project.path / "test_other.py").write_text(skip, encoding="utf-8")
    found = project.runpytest()
    assert found.ret == 0
    found.stdout.fnmatch_lines(["test_skips.py: NOT COMPARED (the whole module was skipped)"])
    for options in ((), ("-n", "1", "test_skips.py")):  # the other process need not import torch
        found = project.runpytest("--robustness-required", *options)
        assert found.ret == 1
        found.stdout.fnmatch_lines(["--robustness-required: nothing was compared by test_skips.py"])


def test_a_class_that_pytest_does_not_collect_fails(project: pytest.Pytester) -> None:
    constructor = "    def __init__(self): pass\n"
    method = '    @pytest.mark.robustness("a.json")\n    def test_a(self, robustness): pass\n'
    write(project, f"import pytest\n\nclass TestIt:\n{constructor}{method}\n\nclass TestOther:\n{constructor}")
    found = project.runpytest("-W", "ignore")
    found.assert_outcomes(errors=1)
    assert "pytest collects no test of the class test_it.py::TestIt" in found.stdout.str()


def test_a_session_that_ends_early_names_what_did_not_run(project: pytest.Pytester) -> None:
    write(project, EARLY_END)
    found = project.runpytest()
    found.stdout.fnmatch_lines(["*test_ends_the_session: NOT COMPARED (not run)"])
    found = project.runpytest("--robustness-required")
    assert found.ret == 1
    found.stdout.fnmatch_lines(["--robustness-required: nothing was compared by *test_ends_the_session"])

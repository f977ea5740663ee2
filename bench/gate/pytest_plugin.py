"""Pytest plug-in for robustness regression tests of a project's own model.

>>> @pytest.mark.robustness(baseline="robustness.json")                                        # doctest: +SKIP
... def test_robustness(robustness):
...     robustness(load_my_model(), dataset="digits", attacks=["fgsm", "pgd"], eps="0.1")

A marked test passes only after a comparison. The check runs in pytest's *call* phase. This is the same for functions,
methods of ``unittest.TestCase``, and parametrised, asynchronous and repeated tests.

Every pytest session in the environment loads this file. Therefore slow imports are done in the fixture.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import SkipTest

import pytest

from bench.core.inert import terminal
from bench.core.vocabulary import DEFAULT_ALPHA, SCOPES
from bench.gate.pytest_summary import ATTRIBUTE, Summary
from bench.runtime.captured_warnings import warnings_do_not_raise

if TYPE_CHECKING:
    from bench.gate.regression import Robustness, Settings
    from bench.gate.rules import Scope

MARK = "robustness"
UPDATE = "--robustness-update"
REQUIRED = "--robustness-required"
MARKED = f'baseline, tolerance={{}}, floor={{}}, scope="{SCOPES[0]}", alpha={DEFAULT_ALPHA}, allow_inconclusive=False'
OWNERS = pytest.StashKey[dict[Path, str]]()  # id of the test that writes a baseline file, by path
NOT_CALLED = (
    f"nothing was compared: the test is marked {MARK!r} and never called the fixture {MARK!r} with a model. Call it, "
    "or remove the mark."
)
NOT_EXCUSED = "xfail allows a failed comparison, but some of the requested cells were not compared."


@dataclass
class Attempt:
    """One execution of a test. A rerun of the test is a new attempt."""

    robustness: Robustness | None = None
    problem: str = ""  # error in the mark, or problem found by the check
    over: bool = False  # true if the test's own code has finished


ATTEMPT = pytest.StashKey[Attempt]()
#: Matches uses of the mark, of the fixture as a parameter, and of the fixture's name as an argument of getfixturevalue.
USED = re.compile(rf"mark\.{MARK}\b|[(,]\s*{MARK}\s*[,):]|[\"']{MARK}[\"']")
SKIPS = (pytest.skip.Exception, SkipTest)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options ``--robustness-update`` and ``--robustness-required``."""
    group = parser.getgroup("collapse-bench")
    group.addoption(UPDATE, action="store_true", help="write the baselines of robustness tests instead of checking")
    group.addoption(
        REQUIRED,
        action="store_true",
        help="for CI: fail unless a robustness test compared something and none was skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark and the summary. Raise UsageError if both options of the plug-in are given."""
    config.addinivalue_line(
        "markers",
        f"{MARK}({MARKED}): settings of the fixture '{MARK}'; the path of the baseline is relative to the test's "
        "file, tolerances are points and floors are percent by metric",
    )
    required = config.getoption(REQUIRED)
    if required and config.getoption(UPDATE):
        raise pytest.UsageError(f"{UPDATE} compares nothing, but {REQUIRED} needs a comparison; use one of them only.")
    if not hasattr(config, "workerinput"):  # xdist's controller receives the reports of all workers
        config.pluginmanager.register(Summary(MARK, required=required), "collapse-bench-summary")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Detect robustness tests that pytest does not run: in skipped modules and in classes it cannot collect."""
    report = yield
    if report.skipped and USED.search(_source_of(collector)):
        setattr(report, ATTRIBUTE, {})
    if report.passed and not report.result and isinstance(collector, pytest.Class) and _holds_marks(collector.obj):
        report.outcome = "failed"
        report.longrepr = (
            f"nothing was compared: pytest collects no test of the class {collector.nodeid}, which has tests marked "
            f"{MARK!r}. Pytest skips classes with a constructor; remove its __init__ or __new__."
        )
    return report


def _source_of(collector: pytest.Collector) -> str:
    """Return the text of a collected file; an empty string for a folder."""
    path = collector.path
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _holds_marks(holder: type) -> bool:
    candidates = [holder, *(getattr(holder, name, None) for name in dir(holder) if name.startswith("test"))]
    marks = [mark for candidate in candidates for mark in getattr(candidate, "pytestmark", ())]
    return any(mark.name == MARK for mark in marks)


@pytest.hookimpl(tryfirst=True)  # before other plug-ins deselect tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Assign each baseline to the first test that names it. All processes of a distributed session agree on it."""
    owners = config.stash.setdefault(OWNERS, {})
    for item in items:
        mark = item.get_closest_marker(MARK)
        baseline = None if mark is None else next(iter(mark.args), mark.kwargs.get("baseline"))
        if isinstance(baseline, str | Path):
            owners.setdefault(_place(item.path.parent / baseline), item.nodeid)


def _place(path: Path) -> Path:
    """Return the path without links; unchanged if it cannot be resolved, which is reported when it is read."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # RuntimeError: a loop of links, up to Python 3.12
        return path


@pytest.fixture
def robustness(request: pytest.FixtureRequest, tmp_path: Path) -> Robustness:
    """Return the function that attacks a model. Its settings come from ``@pytest.mark.robustness(baseline=…)``."""
    with warnings_do_not_raise():
        from bench.gate.regression import Robustness

    attempt: Attempt = request.node.stash.setdefault(ATTEMPT, Attempt())
    settings = _settings_of(request)
    if isinstance(settings, str):
        attempt.problem = settings
        pytest.fail(settings, pytrace=False)
    fixture = attempt.robustness = Robustness(settings, tmp_path, request.config.getoption(UPDATE))
    return fixture


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    """Start a new attempt of the test."""
    item.stash[ATTEMPT] = Attempt()
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)  # innermost: output of the check is captured like output of the test
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Check all models of the test after its own code has finished.

    A failed test is not checked. A skipped test is checked if it has attacked a model.
    """
    attempt = item.stash.setdefault(ATTEMPT, Attempt())
    try:
        yield
        exceptions = [info.value for info in getattr(item, "_excinfo", None) or ()]  # exceptions of a unittest.TestCase
        if all(isinstance(error, SKIPS) for error in exceptions):
            _finalize(item, attempt, skipped=bool(exceptions))
    except SKIPS as skipped:
        if "async def" in str(skipped) and _is_ours(item, attempt):  # pytest before 8.4 skips async tests
            pytest.fail(f"nothing was compared: {skipped}", pytrace=False)
        if not (attempt.robustness and attempt.robustness.finished):
            _finalize(item, attempt, skipped=True)
        raise
    finally:
        attempt.over = True


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: after expected failures have been recognised
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test without a comparison. xfail allows a failed comparison, but not a missing comparison."""
    report = yield
    attempt = item.stash.get(ATTEMPT, None)
    if attempt is None or not _is_ours(item, attempt):
        return report
    fixture = attempt.robustness
    if report.when == "call" and attempt.over:
        expected = hasattr(report, "wasxfail")
        missing = (report.passed or expected) and not (fixture and fixture.finished and not fixture.uncompared)
        if missing or (attempt.problem and not report.failed and not expected):
            report.outcome = "failed"
            message = NOT_EXCUSED if expected and fixture and fixture.finished else attempt.problem or NOT_CALLED
            report.longrepr = "\n".join(filter(None, [message, str(report.longrepr or "")]))
            vars(report).pop("wasxfail", None)
        setattr(report, ATTRIBUTE, fixture.summary() if fixture else {})
    elif report.when == "setup" and not report.passed:
        if hasattr(report, "wasxfail") and not report.wasxfail.startswith("[NOTRUN]"):  # xfail(run=False) is a skip
            report.outcome = "failed"
            report.longrepr = "\n".join(filter(None, [attempt.problem or NOT_EXCUSED, str(report.longrepr or "")]))
            vars(report).pop("wasxfail", None)
        setattr(report, ATTRIBUTE, {})
    return report


def _is_ours(item: pytest.Item, attempt: Attempt) -> bool:
    """Return whether the test uses the fixture of this plug-in and not another fixture of the same name."""
    return item.get_closest_marker(MARK) is not None or attempt.robustness is not None or bool(attempt.problem)


def _finalize(item: pytest.Item, attempt: Attempt, *, skipped: bool) -> None:
    """Compare all attacked models with the baseline. A skipped test is compared only if it attacked a model."""
    fixture = attempt.robustness
    if not _is_ours(item, attempt) or (skipped and not (fixture and fixture.attacked and not fixture.update)):
        return
    attempt.problem = attempt.problem or (fixture.finalize() if fixture else NOT_CALLED)
    if attempt.problem or fixture is None:
        pytest.fail(terminal(attempt.problem), pytrace=False)
    if fixture.update:
        pytest.skip(f"{fixture.settings.baseline} is written; nothing was checked.")


def _settings_of(request: pytest.FixtureRequest) -> Settings | str:
    """Return the settings of the mark, or an error message."""
    from bench.core.errors import BenchError

    mark = request.node.get_closest_marker(MARK)
    if mark is None:
        return f'the fixture needs a mark: @pytest.mark.{MARK}(baseline="{MARK}.json")'
    try:
        settings = _settings(request.path.parent, *mark.args, **mark.kwargs)
    except (TypeError, BenchError) as error:
        return str(error).replace(f"{_settings.__name__}()", f"the mark {MARK}({MARKED})")
    owner = request.config.stash.setdefault(OWNERS, {}).setdefault(_place(settings.baseline), request.node.nodeid)
    if owner != request.node.nodeid:
        return (
            f"{settings.baseline} is the baseline of {owner}; give every test its own. For parametrised tests use "
            f"pytest.param(…, marks=pytest.mark.{MARK}(baseline=…))."
        )
    return settings


def _settings(
    folder: Path,
    baseline: str | Path,
    *,
    tolerance: Mapping[str, float] | None = None,
    floor: Mapping[str, float] | None = None,
    scope: Scope = "recipe",
    alpha: float = DEFAULT_ALPHA,
    allow_inconclusive: bool = False,
) -> Settings:
    from bench.gate.regression import Settings
    from bench.gate.rules import Rules

    points, least = {} if tolerance is None else tolerance, {} if floor is None else floor
    return Settings(folder / baseline, Rules(alpha, points, least, scope, allow_inconclusive))

"""The pytest plug-in: a project that installs this one regression-tests the robustness of its own model.

>>> @pytest.mark.robustness(baseline="robustness.json")                                        # doctest: +SKIP
... def test_robustness(robustness):
...     robustness(load_my_model(), dataset="digits", attacks=["fgsm", "pgd"], eps="0.1")

Every pytest session of an environment loads this file: what is slow to import waits for the fixture.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bench.regression import Robustness, Settings

MARK = "robustness"
UPDATE = "--robustness-update"
MARKED = "baseline, tolerance={}, alpha=0.01, allow_inconclusive=False"
OWNERS = pytest.StashKey[dict[Path, str]]()  # which test a baseline file belongs to


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("collapse-bench")
    group.addoption(UPDATE, action="store_true", help="write the baselines of robustness tests in place of checking")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARK}({MARKED}): what the fixture '{MARK}' checks by; "
        "the path of the baseline is relative to the test's file, tolerances are points by metric",
    )


@pytest.fixture
def robustness(request: pytest.FixtureRequest, tmp_path: Path) -> Robustness:
    """Call it with your model; its settings come from ``@pytest.mark.robustness(baseline=…)``."""
    from bench.core.errors import BenchError
    from bench.regression import Robustness

    mark = request.node.get_closest_marker(MARK)
    if mark is None:
        pytest.fail(f'the fixture needs a mark: @pytest.mark.{MARK}(baseline="{MARK}.json")', pytrace=False)
    settings: Settings | str
    try:
        settings = _settings(request.path.parent, *mark.args, **mark.kwargs)
    except (TypeError, BenchError) as error:
        settings = str(error).replace(f"{_settings.__name__}()", f"the mark {MARK}({MARKED})")
    if isinstance(settings, str):  # outside of the handler, or pytest shows both errors
        pytest.fail(settings, pytrace=False)
    owner = request.config.stash.setdefault(OWNERS, {}).setdefault(settings.baseline.resolve(), request.node.nodeid)
    if owner != request.node.nodeid:
        pytest.fail(f"{settings.baseline} is the baseline of {owner}; give every test its own.", pytrace=False)
    return Robustness(settings, tmp_path, request.config.getoption(UPDATE))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """When the test's own code is through, all that it asked for is checked at once."""
    result = yield
    asked: Any = pyfuncitem.funcargs.get(MARK)
    if not hasattr(asked, "settle"):  # there is none, or it is somebody else's fixture of this name
        return result
    problem = asked.settle()
    if problem:
        pytest.fail(problem, pytrace=False)
    if asked.update:
        pytest.skip(f"{asked.settings.baseline} is written; nothing was checked.")
    return result


def _settings(
    folder: Path,
    baseline: str | Path,
    *,
    tolerance: Mapping[str, float] | None = None,
    alpha: float = 0.01,
    allow_inconclusive: bool = False,
) -> Settings:
    from bench.regression import Settings

    values: dict[str, Any] = {"tolerance": {} if tolerance is None else tolerance, "alpha": alpha}
    return Settings(baseline=folder / baseline, allow_inconclusive=allow_inconclusive, **values)

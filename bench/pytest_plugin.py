"""The pytest plug-in: a project that installs this one regression-tests the robustness of its own model.

>>> @pytest.mark.robustness(baseline="robustness.json")                                        # doctest: +SKIP
... def test_robustness(robustness):
...     robustness(load_my_model(), dataset="digits", attacks=["fgsm", "pgd"], eps="0.1")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # every pytest session of an environment loads this file
    from torch import nn

MARK = "robustness"
UPDATE = "--robustness-update"
MARKED = "baseline, tolerance={}, alpha=0.01, allow_inconclusive=False"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("collapse-bench")
    group.addoption(UPDATE, action="store_true", help="write the baselines of robustness tests in place of checking")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARK}({MARKED}): what the fixture '{MARK}' checks by; "
        "the path of the baseline is relative to the test's file, tolerances are points by metric",
    )


@dataclass(frozen=True)
class Settings:
    """What a test's mark says."""

    baseline: Path
    tolerance: Mapping[str, float]
    alpha: float
    allow_inconclusive: bool


@dataclass(frozen=True)
class Robustness:
    """Attacks a model and compares what became of its images with the baseline file."""

    settings: Settings
    results: Path
    update: bool

    def __call__(self, model: nn.Module | Sequence[nn.Module], *, name: str = "model", **options: Any) -> None:
        """The test fails with the table of the check unless all of it passes.

        ``model`` is a module from images (N, 3, S, S) in [0, 1] to logits, or a sequence of such modules, trained on
        different seeds: new weights are compared with other weights over five seeds or more. ``options`` are those of
        :func:`bench.api.evaluate`; ``name`` is how the baseline calls the model.
        """
        from bench.core.errors import BenchError

        try:
            problem = self._attack([*model] if isinstance(model, Sequence) else [model], name, options)
        except BenchError as error:
            problem = str(error)
        if problem:
            pytest.fail(problem, pytrace=False)
        if self.update:
            pytest.skip(f"{self.settings.baseline} is written; nothing was checked.")

    def _attack(self, models: Sequence[nn.Module], name: str, options: Mapping[str, Any]) -> str:
        """Evaluate, then write the baseline or check against it; what is wrong, empty if nothing is."""
        from bench.api import evaluate

        if not self.update and not self.settings.baseline.exists():  # known before the work
            return f"there is no {self.settings.baseline}; 'pytest {UPDATE}' writes it."
        for seed, model in enumerate(models):
            evaluate(model, name=name, seed=seed, results=self.results, **options)
        return self._write() if self.update else self._check()

    def _write(self) -> str:
        from bench.gate.baseline import make_baseline, write_baseline
        from bench.gate.snapshot import choose, take_snapshot
        from bench.gate.tolerances import check_tolerances
        from bench.store import Store

        runs = choose(take_snapshot(Store(self.results)), ())
        check_tolerances(self.settings.tolerance, [metric for run in runs for metric in run.cells])
        write_baseline(self.settings.baseline, make_baseline(runs, self.settings.tolerance))
        return ""

    def _check(self) -> str:
        from bench.gate.baseline import read_baseline
        from bench.gate.check import check
        from bench.gate.report import gate_markdown
        from bench.gate.snapshot import take_snapshot
        from bench.gate.verdict import passed
        from bench.store import Store

        alpha, held = self.settings.alpha, read_baseline(self.settings.baseline)
        lines = check(held, take_snapshot(Store(self.results)), alpha=alpha, tolerances=self.settings.tolerance)
        fine = all(passed(line.verdict, self.settings.allow_inconclusive) for line in lines)
        return "" if fine else gate_markdown(lines, alpha)


@pytest.fixture
def robustness(request: pytest.FixtureRequest, tmp_path: Path) -> Robustness:
    """Call it with your model; its settings come from ``@pytest.mark.robustness(baseline=…)``."""
    mark = request.node.get_closest_marker(MARK)
    try:
        settings = _settings(request.path.parent, *mark.args, **mark.kwargs) if mark else None
    except TypeError:
        settings = None
    if settings is None:
        pytest.fail(f'the fixture needs a mark such as @pytest.mark.{MARK}(baseline="{MARK}.json"): {MARKED}', False)
    return Robustness(settings, tmp_path, request.config.getoption(UPDATE))


def _settings(
    folder: Path,
    *,
    baseline: str | Path,
    tolerance: Mapping[str, float] | None = None,
    alpha: float = 0.01,
    allow_inconclusive: bool = False,
) -> Settings:
    return Settings(folder / baseline, dict(tolerance or {}), alpha, allow_inconclusive)

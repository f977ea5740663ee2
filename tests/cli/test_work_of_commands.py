"""``bench audit`` and ``bench diagnose`` claim their work, and use what another process measures meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.cli import audit, diagnose
from bench.results.shared_work import SharedWork

Bench = Callable[..., Any]


@pytest.mark.parametrize(("module", "measure"), [(audit, "_audit"), (diagnose, "_measure")], ids=["audit", "diagnose"])
def test_the_work_of_two_commands_is_done_once(
    bench: Bench, run: Bench, plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, measure: str
) -> None:
    assert run("--attacks", "fgsm", "--variants", "baseline", "--no-diagnose", "--limit", "20").code == 0
    command = (module.__name__.rpartition(".")[2], "tiny:baseline", "--results", tmp_path / "out", "--plugin", plugin)
    alone, measured, work, codes = SharedWork.alone, [0], getattr(module, measure), []

    def counted(*arguments: Any, **options: Any) -> Any:
        measured[0] += 1
        assert list((tmp_path / "out").rglob("*.claim")), "another process may do the same work, or remove the run"
        return work(*arguments, **options)

    @contextmanager
    def after_another_process(shared: SharedWork, record: Path) -> Iterator[None]:
        if not codes:
            codes.append(-1)
            codes[0] = bench(*command).code
        with alone(shared, record):
            yield

    monkeypatch.setattr(module, measure, counted)
    monkeypatch.setattr(SharedWork, "alone", after_another_process)
    assert [bench(*command).code] == codes
    assert measured == [1]
    bench(*command, "--force")
    assert measured == [2]
    assert not list((tmp_path / "out").rglob("*.claim"))

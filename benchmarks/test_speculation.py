"""Measure the effect of each part of the search engine that saves passes or batches, by switching it off.

The runs with and without the part use the same images. The ratio is the time without the part divided by the time with
the part. The verdicts must be equal.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
from measure import Bench
from subjects import EvaluatedModel

from bench.attacks.engine import run_search as engine_module
from bench.attacks.engine.batching import batch_budget

REPEATS = 3

#: Name of a part to the function of the engine that is replaced and its replacement.
PARTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "attempts ahead": ("batch_budget", lambda inputs: batch_budget(inputs)._replace(attempts=0)),
    "queries ahead": ("batch_budget", lambda inputs: batch_budget(inputs)._replace(queries=0)),
    "one kind of query per batch": ("select_kind", lambda needs_gradient, waiting: None),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["fab-t", "apgd-t", "square", "pgd-20-r5"])
def test_without(
    name: str, part: str, engine: Bench, undefended: EvaluatedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare the times of one attack with and without one part."""
    target, eps, ratios = undefended.target, undefended.budgets["half"], []
    for _ in range(REPEATS):
        with_part = engine.attack(target, name, eps)
        with monkeypatch.context() as patch:
            patch.setattr(engine_module, *PARTS[part])
            without_part = engine.attack(target, name, eps)
        assert without_part.misclassified.equal(with_part.misclassified)
        ratios.append(without_part.seconds / with_part.seconds)
    measured = (
        f"{statistics.median(ratios):.2f}× [{min(ratios):.2f}, {max(ratios):.2f}], {with_part.survivors} survivors"
    )
    engine.note(f"{name} without {part}", measured, "≥ 1.15× for one attack", None)

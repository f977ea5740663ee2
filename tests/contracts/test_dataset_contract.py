"""Every registered data set declares what a run needs, before any file is read."""

from __future__ import annotations

import pytest

from bench.core.epsilon import parse_eps
from bench.core.vocabulary import NORMS
from bench.data import DATASETS

NAMES = [name for name in DATASETS if DATASETS.origin(name) == "bench.data"]


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    entry = DATASETS.get(name)
    assert entry.summary
    assert entry.source
    for norm in NORMS:
        budgets = [parse_eps(text, norm) for text in entry.eps[norm]]
        assert budgets == sorted(set(budgets))
        assert budgets
    assert entry.recipe.epochs > 0
    assert entry.recipe.lr > 0
    assert entry.costly_limit > 0
    assert (entry.num_classes is None) == (entry.image_size is None)

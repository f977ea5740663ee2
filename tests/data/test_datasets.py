"""Every registered data set declares something that can be used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.core.epsilon import format_eps, parse_eps
from bench.core.errors import BenchError
from bench.core.vocabulary import NORMS
from bench.data import DATASETS, DataRequest, load_dataset

BUILT_IN = ["cifar10", "cifar100", "digits", "fashion_mnist", "imagefolder", "mnist", "svhn"]


def test_the_built_in_names() -> None:
    assert [name for name in DATASETS if DATASETS.origin(name) == "bench.data"] == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_budgets_are_ascending_and_written_the_one_way(name: str) -> None:
    grid = DATASETS.get(name).eps
    assert set(grid) == set(NORMS)
    for norm, texts in grid.items():
        values = [parse_eps(text, norm) for text in texts]
        assert values == sorted(set(values))
        assert [format_eps(value) for value in values] == list(texts)


@pytest.mark.parametrize("name", BUILT_IN)
def test_limits_and_recipe(name: str) -> None:
    entry = DATASETS.get(name)
    assert entry.limit is None or entry.costly_limit <= entry.limit
    assert entry.recipe.horizontal_flip == (name not in ("digits", "mnist", "svhn"))
    assert entry.summary
    assert entry.source


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(BenchError, match="unknown dataset 'fashionmnist'; did you mean 'fashion_mnist'"):
        load_dataset("fashionmnist", DataRequest())


def test_listing_and_hashing_import_nothing_heavy() -> None:
    program = (
        "import sys; from bench.data import DATASETS, DataRequest, load_dataset; list(DATASETS); "
        "heavy = {'PIL', 'torch', 'torchvision', 'sklearn', 'scipy'}; assert not heavy & set(sys.modules); "
        "load_dataset('digits', DataRequest()); assert not heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

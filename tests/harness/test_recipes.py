"""The published recipes, number by number, and what a recipe does to a variant."""

from __future__ import annotations

import pytest

from bench.commands.request import RunOptions, make_request
from bench.core.errors import BenchError
from bench.core.specs import VariantSpec
from bench.recipes import RECIPES, find_recipe, resolve_variants
from models.variants import VARIANTS


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_published_for_cifar(dataset: str) -> None:
    entry = find_recipe("paper", dataset)
    recipe = entry.recipe
    assert recipe is not None
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (1000, 128, 5e-4)
    assert recipe.lr in {1e-4, 2e-4, 4e-4, 8e-4}
    assert (recipe.horizontal_flip, recipe.crop_padding, recipe.crop_fill) == (True, 4, "mean")
    assert (recipe.activation, recipe.lr_schedule, entry.schedule) == ("silu", "cosine", "paper_cifar")


def test_published_for_imagenet() -> None:
    entry = RECIPES.get("paper-imagenet")
    recipe = entry.recipe
    assert recipe is not None
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (200, 2 * 64, 1e-7)
    assert recipe.lr in {1e-4, 1e-3, 5e-5}
    assert (recipe.resized_crop, recipe.horizontal_flip, recipe.crop_padding) == (True, False, 0)
    assert (recipe.activation, recipe.lr_schedule, entry.schedule) == ("silu", "imagenet", "paper_imagenet")
    assert resolve_variants({"lpc": VARIANTS.get("lpc").spec}, entry, None)["lpc"].latent_dim == 128


def test_published_for_svhn() -> None:
    entry = find_recipe("paper", "svhn")
    assert entry.recipe is not None
    assert (entry.recipe.epochs, entry.recipe.noise, entry.schedule) == (800, 0.01, "paper_svhn")
    assert not entry.recipe.horizontal_flip  # a mirrored 2 is no digit


def test_nothing_was_published_for_digits() -> None:
    with pytest.raises(BenchError, match=r"no recipe was published for 'digits'.*--recipe paper-cifar10"):
        make_request(RunOptions(models=["resnet10t"], recipe="paper"))
    with pytest.raises(BenchError, match="unknown recipe 'papr'"):
        find_recipe("papr", "cifar10")


@pytest.mark.parametrize("recipe", ["short", "auto", "paper-cifar10"])
def test_a_recipe_gives_its_schedule_to_those_that_leave_it_open(recipe: str) -> None:
    entry = RECIPES.get(recipe)
    resolved = resolve_variants({name: VARIANTS.get(name).spec for name in VARIANTS}, entry, None)
    assert resolved["lpc"].schedule == resolved["lpc_no_pen"].schedule == entry.schedule
    assert resolved["feature_norm"].schedule == "constant"
    assert resolved["baseline"] == VARIANTS.get("baseline").spec


def test_widths_share_one_gamma_unless_the_user_names_one() -> None:
    specs = {name: VARIANTS.get(name).spec for name in ("lpc", "lpc_wide", "lpc_narrow", "baseline")}
    plain = resolve_variants(specs, RECIPES.get("short"), None)
    assert [plain[n].latent_dim for n in specs] == [64, 128, 32, None]
    assert [plain[n].balance_dim for n in specs] == [64, 64, 64, None]
    named = resolve_variants(specs, RECIPES.get("short"), 8)
    assert [named[n].latent_dim for n in specs] == [8, 8, 8, None]
    assert named["lpc"].balance_dim is None
    assert named["baseline"] == VariantSpec()


def test_the_command_line_wins_over_the_recipe() -> None:
    request, _ = make_request(RunOptions(models=["resnet10t"], recipe="paper-cifar10", epochs=3, lr=0.5))
    assert (request.recipe.epochs, request.recipe.lr, request.recipe.batch_size) == (3, 0.5, 128)

"""The published recipes, number by number, and what a recipe does to a variant."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from bench.commands.request import RunOptions, make_request
from bench.core.errors import BenchError
from bench.core.specs import VariantSpec
from bench.plan import make_plan
from bench.progress import Progress
from bench.recipes import RECIPES, find_recipe, resolve_variants
from bench.runs import build_run
from bench.store import Store
from bench.workshop import Workshop
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
    assert entry.recipe.lr_schedule == "halving"
    specs = {name: VARIANTS.get(name).spec for name in ("lpc", "lpc_narrow", "lpc_wide")}
    assert [spec.latent_dim for spec in resolve_variants(specs, entry, None).values()] == [8, 6, 512]
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
    assert [named[n].latent_dim for n in specs] == [8, 16, 4, None]
    assert [named[n].balance_dim for n in specs] == [8, 8, 8, None]
    assert named["baseline"] == VariantSpec()


def test_the_command_line_wins_over_the_recipe() -> None:
    request, _ = make_request(RunOptions(models=["resnet10t"], recipe="paper-cifar10", epochs=3, lr=0.5))
    assert (request.recipe.epochs, request.recipe.lr, request.recipe.batch_size) == (3, 0.5, 128)


def test_the_activation_and_the_recipe_reach_the_network(tmp_path: Path) -> None:
    """From the command line's words to the built network."""
    request, dataset = make_request(
        RunOptions(models=["resnet10t"], variants=["lpc"], recipe="paper-cifar10", epochs=0)
    )
    (plan,) = make_plan(request)
    shop = Workshop(dataset=dataset, store=Store(tmp_path), device=torch.device("cpu"), progress=Progress())
    kinds = {type(module) for module in build_run(plan.train, shop).classifier.modules()}
    assert nn.SiLU in kinds
    assert nn.ReLU not in kinds
    assert plan.train.variant_spec.schedule == "paper_cifar"

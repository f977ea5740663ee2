"""The published recipes, number by number, and what a recipe does to a variant."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.config import RunConfig
from bench.context import RunContext
from bench.core.errors import BenchError
from bench.core.specs import AdversarySpec, Recipe, VariantSpec
from bench.data.registry import DATASETS
from bench.job import Job
from bench.models.variants import VARIANTS
from bench.planning.plan import make_plan
from bench.planning.recipes import RECIPES, find_recipe, resolve_budgets, resolve_variants
from bench.planning.request import make_request, train_budgets
from bench.results.store import Store
from bench.runtime.progress import Progress
from bench.training.checkpoints import build_run


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
    assert entry.schedule == "paper_2024_svhn"
    check_2024(entry.recipe)
    specs = {name: VARIANTS.get(name).spec for name in ("lpc", "lpc_narrow", "lpc_wide")}
    assert [spec.latent_dim for spec in resolve_variants(specs, entry, None).values()] == [8, 6, 512]


@pytest.mark.parametrize(("dataset", "widths"), [("cifar10", [8, 4, 512]), ("cifar100", [64, 8, 2048])])
def test_published_in_2024_for_cifar(dataset: str, widths: list[int]) -> None:
    entry = RECIPES.get(f"paper-{dataset}-2024")
    assert entry.recipe is not None
    assert entry.schedule == "paper_2024_cifar"
    check_2024(entry.recipe)
    specs = {name: VARIANTS.get(name).spec for name in ("lpc", "lpc_narrow", "lpc_wide", "lin_pen")}
    assert [s.latent_dim for s in resolve_variants(specs, entry, None).values()] == [*widths, widths[0]]


def check_2024(recipe: Recipe) -> None:
    """Their script: normalise, flip, crop with zeros, add noise; the lr is the one of two that is tried second."""
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay, recipe.lr) == (800, 128, 5e-4, 2e-4)
    assert (recipe.horizontal_flip, recipe.crop_padding, recipe.crop_fill) == (True, 4, "mean")
    assert (recipe.noise, recipe.noise_space) == (0.01, "normalized")
    assert (recipe.activation, recipe.lr_schedule, recipe.init) == ("silu", "halving_2024", "authors")


@pytest.mark.parametrize("name", [n for n in RECIPES if n.startswith("paper")])
def test_published_recipes_have_the_authors_initial_weights(name: str) -> None:
    recipe = RECIPES.get(name).recipe
    assert recipe is not None
    assert recipe.init == "authors"


def test_nothing_was_published_for_digits() -> None:
    with pytest.raises(BenchError, match=r"no recipe was published for 'digits'.*--recipe paper-cifar10"):
        make_request(RunConfig(models=["resnet10t"], recipe="paper"))
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
    request, _ = make_request(RunConfig(models=["resnet10t"], recipe="paper-cifar10", epochs=3, lr=0.5))
    assert (request.recipe.epochs, request.recipe.lr, request.recipe.batch_size) == (3, 0.5, 128)


def test_the_activation_and_the_recipe_reach_the_network(tmp_path: Path) -> None:
    """From the command line's words to the built network."""
    request, dataset = make_request(RunConfig(models=["resnet18"], variants=["lpc"], recipe="paper-cifar10", epochs=0))
    (plan,) = make_plan(request)
    shop = RunContext(dataset=dataset, store=Store(tmp_path), device=torch.device("cpu"), progress=Progress())
    network = build_run(plan.train, shop).classifier
    kinds = {type(module) for module in network.modules()}
    assert nn.SiLU in kinds
    assert nn.ReLU not in kinds
    assert all(bool((m.weight == 1).all()) for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    assert plan.train.variant_spec.schedule == "paper_cifar"


def budget(spec: VariantSpec) -> float | None:
    assert spec.adversary is not None
    return spec.adversary.eps


@pytest.mark.parametrize(
    ("dataset", "eps"), [("digits", 0.15), ("mnist", 0.3), ("fashion_mnist", 8 / 255), ("cifar10", 8 / 255)]
)
def test_an_adversary_gets_the_largest_budget_of_the_data_set(dataset: str, eps: float) -> None:
    """For MNIST and CIFAR-10 it is the published one."""
    specs = {name: VARIANTS.get(name).spec for name in ("baseline", "pgd_at")}
    resolved = train_budgets(specs, None, DATASETS.get(dataset))
    assert budget(resolved["pgd_at"]) == eps
    assert resolved["baseline"] == VariantSpec()


def test_a_budget_is_the_one_asked_for_else_the_variants_own_else_the_data_sets() -> None:
    specs = {"open": VariantSpec(adversary=AdversarySpec()), "own": VariantSpec(adversary=AdversarySpec(eps=0.2))}
    assert [budget(s) for s in resolve_budgets(specs, requested=None, defaults={"linf": 0.3}).values()] == [0.3, 0.2]
    assert [budget(s) for s in resolve_budgets(specs, requested=0.1, defaults={"linf": 0.3}).values()] == [0.1, 0.1]
    with pytest.raises(BenchError, match=r"'open'.*declares no linf budget.*--train-eps"):
        resolve_budgets(specs, requested=None, defaults={})


def test_the_training_budget_makes_the_run_and_what_is_evaluated_does_not() -> None:
    def run_ids(**options: object) -> set[str]:
        requested = RunConfig(models=["resnet10t"], variants=["pgd_at"], **options)  # type: ignore[arg-type]
        return {plan.train.run_id for plan in make_plan(make_request(requested)[0])}

    declared = run_ids()
    assert run_ids(eps=["0.3"]) == run_ids(norm="l2") == run_ids(train_eps="0.15") == declared
    assert run_ids(train_eps="8/255").isdisjoint(declared)


def test_a_training_budget_that_nothing_uses_or_that_is_none_is_refused() -> None:
    with pytest.raises(BenchError, match=r"--train-eps applies to variants .*pgd_at.*: baseline, lpc\."):
        make_request(RunConfig(models=["resnet10t"], train_eps="0.1"))
    with pytest.raises(BenchError, match="did you mean 8/255"):
        make_request(RunConfig(models=["resnet10t"], variants=["pgd_at"], train_eps="8"))


def test_the_short_schedule_has_a_constant_rate_of_the_output_layer() -> None:
    """Equation (2) takes it as constant. The recipe of digits has one cycle."""
    schedules = {
        recipe: Job.of(RunConfig(models=("resnet10t",), recipe=recipe, attacks=("none",), corruptions=("none",)))
        .plan[0].train.recipe.lr_schedule
        for recipe in ("auto", "short")
    }  # fmt: skip
    assert schedules == {"auto": "one_cycle", "short": "cosine"}


def test_a_weight_decay_for_adamw_is_refused_with_sgd() -> None:
    options = {"models": ("resnet10t",), "variants": ("baseline", "baseline_wd"), "attacks": ("none",)}
    with pytest.raises(BenchError, match=r"'baseline_wd' has a weight decay for AdamW"):
        Job.of(RunConfig(**options, recipe="fast"))
    Job.of(RunConfig(**options, corruptions=("none",)))


def test_the_fast_recipe_mirrors_images_only_if_the_data_set_does() -> None:
    """Mirrored digits are no digits."""
    options = {"models": ("resnet10t",), "variants": ("baseline",), "attacks": ("none",), "corruptions": ("none",)}
    digits = Job.of(RunConfig(**options, recipe="fast")).plan[0].train.recipe
    assert (digits.optimizer, digits.horizontal_flip) == ("sgd", False)
    entry = DATASETS.get("digits")
    mirrored = dataclasses.replace(entry, recipe=dataclasses.replace(entry.recipe, horizontal_flip=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._entries, "digits", mirrored)
        assert Job.of(RunConfig(**options, recipe="fast")).plan[0].train.recipe.horizontal_flip

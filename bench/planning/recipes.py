"""Training recipes by name: the short recipe of the data set, and published recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.core.errors import BenchError, unknown_name
from bench.core.registry import Registry
from bench.core.specs import AdversarySpec, Norm, Recipe, VariantSpec
from bench.models.variants import NARROW, RECIPE, WIDE, WIDTH

DEFAULT = "auto"
PAPER = "paper"
PUBLISHED_FOR = {"cifar10": "paper-cifar10", "cifar100": "paper-cifar100", "svhn": "paper-svhn"}


@dataclass(frozen=True, kw_only=True)
class RecipeEntry:
    """Entry of the recipe registry."""

    summary: str
    source: str
    schedule: str  # schedule of γ for variants without a schedule of their own
    recipe: Recipe | None = None  # None: the recipe of the data set
    flips_of_data_set: bool = False  # whether horizontal_flip is that of the data set
    lr_schedule: str | None = None  # replaces that of the data set; None: the data set's
    widths: Mapping[int, int] = field(default_factory=dict)  # width of penultimate layers, by width in the variant


RECIPES: Registry[RecipeEntry] = Registry("recipe")

_ORIGIN = "bench.planning.recipes"
_HEAD = (
    "configurations of the authors, November 2025, for arXiv 2310.08224; lr is a value of their sweep 1, 2, 4, 8 e-4"
)

_REST = "; unlike in the authors' code, an incomplete last batch is dropped"

RECIPES.register(
    "short",
    RecipeEntry(
        summary="recipe of the data set; γ is set to the value that the output weights can balance",
        source="equation (2) of bench.models.schedules",
        schedule="short",
        lr_schedule="cosine",  # equation (2) requires a constant rate of the output layer
    ),
    origin=_ORIGIN,
)
RECIPES.register(
    "auto",
    RecipeEntry(
        summary="recipe of the data set; γ is adapted during training to the value that the network can balance",
        source="bench.models.adaptive_gamma",
        schedule="auto",
    ),
    origin=_ORIGIN,
)
RECIPES.register(
    "fast",
    RecipeEntry(
        summary="for images of 28 to 64 px: 12 epochs of SGD with Nesterov momentum and one cycle of the learning "
        "rate; flips as for the data set",
        source="one cycle as in Jordan 2024, arXiv 2404.00498; γ as in recipe auto",
        schedule="auto",
        recipe=Recipe(
            epochs=12,
            lr=0.1,
            optimizer="sgd",
            lr_schedule="one_cycle",
            crop_padding=4,
            crop_fill="mean",
        ),
        flips_of_data_set=True,
    ),
    origin=_ORIGIN,
)
_CIFAR = Recipe(
    epochs=1000,
    batch_size=128,
    lr=4e-4,
    lr_schedule="cosine",
    weight_decay=5e-4,
    activation="silu",
    horizontal_flip=True,
    crop_padding=4,
    crop_fill="mean",
    init="authors",
)
for _name, _network in (("cifar10", "resnet18"), ("cifar100", "resnet50")):
    RECIPES.register(
        f"paper-{_name}",
        RecipeEntry(
            summary=f"published for {_name} with {_network}: 1000 epochs, γ to 1e6 in two phases{_REST}",
            source=_HEAD,
            schedule="paper_cifar",
            recipe=_CIFAR,
        ),
        origin=_ORIGIN,
    )
RECIPES.register(
    "paper-imagenet",
    RecipeEntry(
        summary=(
            "published for ImageNet: 200 epochs, γ to 1e6 in two phases, layers twice as wide; the authors' WRN-50-2 "
            f"has 268 M parameters, four times those of timm's wide_resnet50_2, and no network of timm equals it{_REST}"
        ),
        source="configurations of the authors, November 2025; lr is a value of their sweep 5e-5, 1e-4, 1e-3",
        schedule="paper_imagenet",
        recipe=Recipe(
            epochs=200,
            batch_size=128,  # 64 on each of two GPUs
            lr=1e-4,
            lr_schedule="imagenet",
            weight_decay=1e-7,
            activation="silu",
            resized_crop=True,
            init="authors",
        ),
        widths={64: 128, 128: 256, 32: 64},  # 128 is published; the other widths keep the ratios of the variants
    ),
    origin=_ORIGIN,
)
_2024 = dataclasses.replace(
    _CIFAR, epochs=800, lr=2e-4, lr_schedule="halving_2024", noise=0.01, noise_space="normalized"
)
_SOURCE_2024 = (
    "Sbailo and Ghiringhelli, OpenReview FwlM1k4ODx (2024), as run by their code, github "
    "luigisbailo/latent_point_collapse at 4ae9823; lr is a value of its sweep 1e-4, 2e-4"
)
for _name, _dataset, _network, _growth, _widths in (
    ("paper-cifar10-2024", "cifar10", "resnet18", "×1.05 per epoch to 1.02e6", (8, 4, 512)),
    ("paper-cifar100-2024", "cifar100", "resnet50", "×1.05 per epoch to 1.02e6", (64, 8, 2048)),
    ("paper-svhn", "svhn", "resnet18", "×1.03 per epoch to 1.02e5", (8, 6, 512)),
):
    RECIPES.register(
        _name,
        RecipeEntry(
            summary=(
                f"published in 2024 for {_dataset} with {_network}: 800 epochs, rate halved after epoch 300 and every "
                f"50 epochs from then on, γ {_growth}, layers of {_widths[0]} (narrow {_widths[1]}, wide "
                f"{_widths[2]}), flips, crops and noise{_REST}"
            ),
            source=_SOURCE_2024,
            schedule="paper_2024_svhn" if _name == "paper-svhn" else "paper_2024_cifar",
            widths=dict(zip((WIDTH, NARROW, WIDE), _widths, strict=True)),
            recipe=_2024,
        ),
        origin=_ORIGIN,
    )


def find_recipe(name: str, dataset: str) -> RecipeEntry:
    """Return the recipe called ``name``. The name "paper" selects the recipe published for ``dataset``.

    Raises BenchError for an unknown name, and for "paper" with a data set without a published recipe.
    """
    if name == PAPER:
        if dataset not in PUBLISHED_FOR:
            raise BenchError(
                f"no recipe was published for {dataset!r}, only for {', '.join(PUBLISHED_FOR)} and ImageNet; name one "
                "of these recipes, for example --recipe paper-cifar10."
            )
        name = PUBLISHED_FOR[dataset]
    if name not in RECIPES:
        raise unknown_name("recipe", name, [*RECIPES, PAPER])
    return RECIPES.get(name)


def resolve_variants(
    variants: Mapping[str, VariantSpec], recipe: RecipeEntry, latent_dim: int | None
) -> dict[str, VariantSpec]:
    """Return the variants with the schedule and widths of the recipe. ``latent_dim`` replaces the standard width 64.

    Raises BenchError if ``latent_dim`` is given and no variant has a penultimate layer.
    """
    if latent_dim is not None and all(spec.latent_dim is None for spec in variants.values()):
        raise BenchError(
            "--latent-dim applies to variants with a penultimate layer, such as lpc; the requested variants have none: "
            f"{', '.join(variants)}."
        )
    return {name: _resolve(spec, recipe, latent_dim) for name, spec in variants.items()}


def _resolve(spec: VariantSpec, recipe: RecipeEntry, latent_dim: int | None) -> VariantSpec:
    schedule = recipe.schedule if spec.schedule == RECIPE else spec.schedule
    if spec.latent_dim is None:
        return dataclasses.replace(spec, schedule=schedule)
    width = recipe.widths.get(spec.latent_dim, spec.latent_dim)
    balance = spec.balance_dim
    if latent_dim is not None:
        # The user's width replaces the standard width. Wide and narrow variants keep their ratios to it.
        width = max(1, spec.latent_dim * latent_dim // WIDTH)
        balance = None if balance is None else latent_dim  # width for which γ is computed
    return dataclasses.replace(spec, schedule=schedule, latent_dim=width, balance_dim=balance)


def resolve_budgets(
    variants: Mapping[str, VariantSpec], *, requested: float | None, defaults: Mapping[Norm, float | None]
) -> dict[str, VariantSpec]:
    """Set the budget of the training attack of each variant: ``requested``, its own, or the default of its norm.

    Raises BenchError if a training attack has no budget, and if ``requested`` is given but no variant has an attack.
    """
    if requested is not None and not any(spec.adversary for spec in variants.values()):
        raise BenchError(
            f"--train-eps applies to variants with adversarial training, such as pgd_at; the requested variants have "
            f"none: {', '.join(variants)}."
        )
    return {
        name: spec
        if spec.adversary is None
        else dataclasses.replace(spec, adversary=_with_budget(name, spec.adversary, requested, defaults))
        for name, spec in variants.items()
    }


def _with_budget(
    name: str, adversary: AdversarySpec, requested: float | None, defaults: Mapping[Norm, float | None]
) -> AdversarySpec:
    budgets = (requested, adversary.eps, defaults.get(adversary.norm))
    eps = next((eps for eps in budgets if eps is not None), None)
    if eps is None:
        raise BenchError(
            f"variant {name!r} uses adversarial training, and the data set declares no {adversary.norm} budget; "
            f"set one with --train-eps, for example --train-eps {'8/255' if adversary.norm == 'linf' else '0.5'}."
        )
    return dataclasses.replace(adversary, eps=eps)

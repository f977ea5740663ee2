"""Training of a compared network. Published numbers are shown only beside networks with the same training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from bench.core.records import RunRecord
from bench.core.specs import Recipe, TrainSpec
from bench.planning.recipes import RECIPES, RecipeEntry

#: Schedules of variants whose penalty, if any, does not follow the schedule of the recipe.
OWN_SCHEDULES = (None, "constant")


@dataclass(frozen=True)
class Training:
    """Training of a network, as far as published tables give it."""

    dataset: str
    network: str
    recipes: frozenset[str]  # names of the recipes that this training followed
    latent_dim: int | None  # width of the penultimate layer; None without one

    def is_same(self, other: Training) -> bool:
        """Return whether data set, network and width are equal, and a recipe is common to both."""
        equal = (self.dataset, self.network, self.latent_dim) == (other.dataset, other.network, other.latent_dim)
        return equal and not self.recipes.isdisjoint(other.recipes)


def training_of(run: RunRecord) -> Training | None:
    """Return the training of a stored run; None for a network that was trained elsewhere, or from loaded weights.

    A run followed a recipe if all its settings are equal to those of the recipe, except the learning rate, which the
    authors chose from a sweep, and the precision. A run on a part of the training images followed no recipe.
    """
    spec = run.spec
    if spec is None or spec.model.pretrained or spec.model.checkpoint_sha is not None:
        return None
    names = frozenset(name for name in RECIPES if _followed(spec, RECIPES.get(name)))
    return Training(run.dataset, run.model, names, spec.variant_spec.latent_dim)


def _followed(spec: TrainSpec, entry: RecipeEntry) -> bool:
    if entry.recipe is None or spec.data.train_limit is not None:
        return False
    same_gamma = spec.variant_spec.schedule in (*OWN_SCHEDULES, entry.schedule)
    return same_gamma and _compared(spec.recipe) == _compared(entry.recipe)


def _compared(recipe: Recipe) -> Recipe:
    """Return ``recipe`` without the settings that may differ."""
    return dataclasses.replace(recipe, lr=0.0, precision="fp32")

"""A part that a plug-in brings to a built-in variant is part of the identity of the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.config import RunConfig
from bench.core.specs import VariantSpec
from bench.models.training_steps import TRAINING_STEPS
from bench.models.variants import ORIGIN, VARIANTS, VariantEntry
from bench.planning.plan import make_plan
from bench.planning.recipes import RECIPES
from bench.planning.request import make_request
from bench.runtime import plugin
from bench.runtime.plugin import load_plugins, plugin_sha
from bench.training.lr_schedules import LR_SCHEDULES

PLUGIN = """
from bench.core.specs import Recipe
from bench.models.training_steps import TRAINING_STEPS
from bench.planning.recipes import RECIPES, RecipeEntry
from bench.training.lr_schedules import LR_SCHEDULES, Rates

LR_SCHEDULES.register("flat_here", lambda epoch, recipe: Rates(recipe.lr, recipe.lr), origin=__file__)
for name, schedule in (("flat_recipe", "flat_here"), ("plain_recipe", "cosine")):
    entry = RecipeEntry(summary="s", source="s", schedule="short", recipe=Recipe(epochs=1, lr_schedule=schedule))
    RECIPES.register(name, entry, origin=__file__)
TRAINING_STEPS.register("step_here", TRAINING_STEPS.get("standard"), origin=__file__)
"""


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("_LOADED", "_REGISTERED"):
        monkeypatch.setattr(plugin, name, {})
    (tmp_path / "plug.py").write_text(PLUGIN)
    load_plugins([tmp_path / "plug.py"])
    yield
    LR_SCHEDULES.remove("flat_here")
    RECIPES.remove("flat_recipe")
    RECIPES.remove("plain_recipe")
    TRAINING_STEPS.remove("step_here")


def run_ids(recipe: str) -> dict[str, str]:
    config = RunConfig(models=("resnet10t",), variants=("baseline", "lpc"), recipe=recipe, corruptions=("none",))
    request, _ = make_request(config, known_models=("resnet10t",))
    codes = {spec.code_sha for spec in request.variants.values()}
    assert codes == ({plugin_sha()} if recipe == "flat_recipe" else {""})
    return {run.train.variant: run.train.run_id for run in make_plan(request)}


@pytest.mark.usefixtures("loaded")
def test_a_learning_rate_schedule_of_a_plugin_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that only gives numbers needs no hash: the numbers are in the spec."""
    before, plain = run_ids("flat_recipe"), run_ids("plain_recipe")
    monkeypatch.setattr(plugin, "_LOADED", dict.fromkeys(plugin._LOADED, "the hash after an edit"))
    after = run_ids("flat_recipe")
    assert before["baseline"] != after["baseline"]
    assert before["lpc"] != after["lpc"]
    assert plain == run_ids("plain_recipe")


@pytest.fixture
def stepping() -> Iterator[None]:
    """A variant that no plug-in registered, with a training step that one did."""
    entry = VariantEntry(summary="s", source="s", spec=VariantSpec(training_step="step_here"))
    VARIANTS.register("stepping", entry, origin=ORIGIN)
    yield
    VARIANTS.remove("stepping")


@pytest.mark.usefixtures("loaded", "stepping")
def test_a_training_step_of_a_plugin_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a combination, too."""

    def ids() -> dict[str, str]:
        config = RunConfig(models=("resnet10t",), variants=("stepping", "lpc+stepping", "lpc"), corruptions=("none",))
        request, _ = make_request(config, known_models=("resnet10t",))
        return {run.train.variant: run.train.run_id for run in make_plan(request)}

    before = ids()
    monkeypatch.setattr(plugin, "_LOADED", dict.fromkeys(plugin._LOADED, "the hash after an edit"))
    after = ids()
    assert {name for name in before if before[name] != after[name]} == {"stepping", "lpc+stepping"}

"""Published numbers of one recipe stand only beside runs with this recipe, network, data set and width."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_runs import attack, cell, run_on, stored

from bench.compare.training import training_of
from bench.core.records import DIAGNOSIS_VERSION, DiagnosisRecord, RunRecord
from bench.core.specs import Recipe, TrainSpec
from bench.models.variants import VARIANTS
from bench.planning.recipes import RECIPES, resolve_variants


def paper_run(
    recipe: str = "paper-cifar10-2024", variant: str = "lpc", *, dataset: str = "cifar10", model: str = "resnet18",
    settings: dict[str, Any] | None = None, **changes: Any,
) -> RunRecord:  # fmt: skip
    """A stored run of ``variant`` under ``recipe``, with ``changes`` of its spec and ``settings`` of the recipe."""
    run, entry = run_on(dataset, variant), RECIPES.get(recipe)
    assert run.spec is not None
    assert entry.recipe is not None
    spec: TrainSpec = dataclasses.replace(
        run.spec,
        model=dataclasses.replace(run.spec.model, name=model),
        variant_spec=resolve_variants({variant: VARIANTS.get(variant).spec}, entry, None)[variant],
        recipe=dataclasses.replace(entry.recipe, **(settings or {})),
    )
    spec = dataclasses.replace(spec, **changes)
    epochs = spec.recipe.epochs
    return dataclasses.replace(
        run, model=model, spec=spec, run_id=spec.run_id, config_sha=spec.config_sha, epochs=epochs
    )


def followed(run: RunRecord) -> set[str]:
    training = training_of(run)
    assert training is not None
    return set(training.recipes)


def test_a_run_follows_the_recipe_that_it_was_planned_with() -> None:
    assert followed(paper_run("paper-cifar10")) == {"paper-cifar10", "paper-cifar100"}  # equal settings
    assert followed(paper_run("paper-svhn")) == {"paper-svhn"}
    assert followed(paper_run(variant="baseline")) == {"paper-cifar10-2024", "paper-cifar100-2024", "paper-svhn"}
    assert "paper-cifar10-2024" in followed(paper_run(settings={"lr": 8e-4})), "the rate was chosen from a sweep"
    assert "paper-cifar10-2024" in followed(paper_run(settings={"precision": "bf16"}))


@pytest.mark.parametrize(
    "settings", [{"epochs": 10}, {"batch_size": 64}, {"noise": 0.0}, {"noise_space": "pixels"}, {"init": "timm"}]
)
def test_another_setting_is_another_training(settings: dict[str, Any]) -> None:
    assert followed(paper_run(settings=settings)) == set()


def test_part_of_the_images_another_schedule_and_loaded_weights_are_another_training() -> None:
    run = paper_run()
    assert run.spec is not None
    assert followed(paper_run(data=dataclasses.replace(run.spec.data, train_limit=1000))) == set()
    assert followed(paper_run(variant_spec=dataclasses.replace(run.spec.variant_spec, schedule="auto"))) == set()
    loaded = dataclasses.replace(run.spec, model=dataclasses.replace(run.spec.model, pretrained=True))
    assert training_of(dataclasses.replace(run, spec=loaded)) is None
    assert training_of(dataclasses.replace(run, spec=None)) is None


def compared(folder: Path, bench: Callable[..., Any], *runs: RunRecord) -> tuple[set[str], str]:
    """Return the published models beside ``runs`` in the table of DeepFool, and the text of all tables."""
    store = stored(folder, *(cell(run, None, 9000) for run in runs), runs=runs)
    for run in runs:
        store.write_diagnosis(DiagnosisRecord(
            run_id=run.run_id, weights_sha=run.weights_sha, version=DIAGNOSIS_VERSION, status="ok", reason="",
            message="", images={"deepfool_n": 100}, values={"deepfool_rho_authors": 0.1}, undefined={}, time_s=1.0,
            created="", environment=run.environment,
        ))  # fmt: skip
    rows = bench("compare", "--results", folder, "--json").json["rows"]
    return {row["model"].split(",")[0] for row in rows if row["published"]}, bench("compare", "--results", folder).out


@pytest.mark.parametrize(
    ("run", "beside"),
    [
        (paper_run(), {"IB", "LinPen", "NonlinPen", "NonlinPenL1", "LinPenDropout"}),  # all with a layer of 8
        (paper_run(variant="baseline"), {"NoPen", "NoPenDropout"}),
        (paper_run(variant="lpc_wide"), {"WideIB"}),
        (paper_run("paper-cifar100-2024", dataset="cifar100", model="resnet50"),
         {"IB", "LinPen", "NonlinPen", "NonlinPenL1", "LinPenDropout"}),
        (paper_run("paper-cifar10"), set()),
        (paper_run(model="resnet34"), set()),
        (paper_run(dataset="cifar100"), set()),
        (paper_run(settings={"epochs": 80}), set()),
    ],
)  # fmt: skip
def test_published_rows_stand_beside_runs_of_their_training(
    run: RunRecord, beside: set[str], tmp_path: Path, bench: Callable[..., Any]
) -> None:
    shown, text = compared(tmp_path, bench, run)
    assert shown == beside
    assert f"{9 - len(beside)} published rows left out" in text
    assert "with --recipe paper-cifar10" in text


def test_rows_of_robustbench_belong_to_no_recipe(tmp_path: Path, bench: Callable[..., Any]) -> None:
    run = paper_run(settings={"epochs": 80})
    stored(tmp_path, cell(run, None, 9000), cell(run, attack(), 10), runs=(run,))
    rows = bench("compare", "--results", tmp_path, "--json").json["rows"]
    assert "Standard" in {row["model"] for row in rows}


def test_stored_recipes_without_the_new_fields_are_those_of_their_defaults() -> None:
    assert Recipe(epochs=1) == Recipe(epochs=1, init="timm", noise_space="pixels")

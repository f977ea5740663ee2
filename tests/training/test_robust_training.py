"""Robust variants and their combinations, from the command line to the stored network, and noise on the images."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from trainings import CPU, some_images, some_model, some_objective, some_spec

from bench.core.errors import CellFailure
from bench.core.specs import VariantSpec
from bench.data.augment import add_noise
from bench.data.sample_random import SampleRandom
from bench.models.auxiliary_losses import Batch
from bench.models.training_steps import TRAINING_STEPS, StepContext, StepEntry, TrainingBatch
from bench.results.store import Store
from bench.runtime.progress import Progress
from bench.training.train import train

EXAMPLE = Path(__file__).parents[2] / "examples/plugin.py"
VARIANTS = ("pgd_at+lpc", "lpc+trades", "awp+spectral_norm", "gaussian_aug+lpc")


def test_combinations_are_trained_stored_attacked_and_compared(run: Callable[..., Any], tmp_path: Path) -> None:
    """Rows have the canonical name. A second command, with the parts in another order, finds every run."""
    options = (
        "--attacks",
        "fgsm",
        "--no-diagnose",
        "--json",
        "--epochs",
        "1",
        "--limit",
        "20",
        "--against",
        "lpc+pgd_at",
    )
    first = run("--variants", ",".join(VARIANTS), *options)
    assert first.code == 0, first.err
    names = {row["variant"] for row in first.json["leaderboard"]}
    assert names == {"lpc+pgd_at", "lpc+trades", "awp+spectral_norm", "gaussian_aug+lpc"}
    assert {row["reference"] for row in first.json["leaderboard"]} == {"lpc+pgd_at", None}
    records = {record.variant: record for record in Store(tmp_path / "out").runs()}
    assert {name for name, record in records.items() if record.collapse_penalty} == {
        "lpc+pgd_at", "lpc+trades", "gaussian_aug+lpc",
    }  # fmt: skip
    created = {record.run_id: record.created for record in records.values()}
    options = (*options[:-1], "pgd_at+lpc")
    again = run("--variants", "lpc+pgd_at,trades+lpc,spectral_norm+awp", *options, "--attacks", "fgsm,pgd")
    assert again.code == 0, again.err  # the stored weights load, and are attacked
    assert {row["variant"] for row in again.json["leaderboard"] if row["pgd-20@linf-0.1"] is not None} == {
        "lpc+pgd_at", "lpc+trades", "awp+spectral_norm",
    }  # fmt: skip
    assert created == {record.run_id: record.created for record in Store(tmp_path / "out").runs()}


def test_budgets_in_two_norms_are_refused(run: Callable[..., Any]) -> None:
    refused = run("--variants", "pgd_at,pgd_at_l2", "--train-eps", "0.1")
    assert refused.code == 2
    assert "trained in linf (pgd_at) and l2 (pgd_at_l2)" in refused.err


def test_a_step_of_its_own_decides_the_loss() -> None:
    """A step that returns the mean square of the outputs makes them small, and nothing else."""

    def shrink(batch: TrainingBatch, context: StepContext) -> Tensor:
        return context.weight * context.forward(batch.images).outputs.square().mean()

    TRAINING_STEPS.register("shrink", StepEntry(summary="s", source="s", function=shrink), origin="test")
    try:
        variant = VariantSpec(training_step="shrink", step_weight=2.0)
        spec = dataclasses.replace(some_spec(epochs=30), variant_spec=variant)
        model = some_model()
        history = train(model, some_images(), spec, some_objective(spec), CPU, Progress())
    finally:
        TRAINING_STEPS.remove("shrink")
    assert history[-1].loss < history[0].loss / 10
    assert model.eval()(some_images().pixels).square().mean().item() < history[0].loss / 10


def test_a_loss_without_weights_fails() -> None:
    """A loss that has a gradient, but for no weight, would train nothing, and the run would be ok."""

    def constant(batch: TrainingBatch, context: StepContext) -> Tensor:
        context.forward(batch.images)
        return torch.zeros((), requires_grad=True)

    TRAINING_STEPS.register("constant", StepEntry(summary="s", source="s", function=constant), origin="test")
    try:
        spec = dataclasses.replace(some_spec(epochs=1), variant_spec=VariantSpec(training_step="constant"))
        with pytest.raises(CellFailure, match="the loss depends on no weight of the model") as raised:
            train(some_model(), some_images(), spec, some_objective(spec), CPU, Progress())
    finally:
        TRAINING_STEPS.remove("constant")
    assert raised.value.reason == "loss_error"


def mixup_of_the_example() -> Callable[[TrainingBatch, Any], Tensor]:
    """Return the function of the example, without loading its other entries into this process."""
    parsed = ast.parse(EXAMPLE.read_text(encoding="utf-8"))
    (function,) = (node for node in parsed.body if isinstance(node, ast.FunctionDef) and node.name == "mixup")
    names: dict[str, Any] = {"cross_entropy": F.cross_entropy} | dict.fromkeys(("TrainingBatch", "StepContext"), object)
    exec(compile(ast.Module([function], []), str(EXAMPLE), "exec"), names | {"Tensor": Tensor}, names)
    mixup: Callable[[TrainingBatch, Any], Tensor] = names["mixup"]
    return mixup


def test_the_step_of_the_example_is_mixup() -> None:
    """CE is linear in the label: the loss is the cross-entropy with the mixed labels, as torch computes it."""
    spec = some_spec(epochs=1)
    model, objective = some_model().eval(), some_objective(spec)
    images, labels = some_images(5).pixels, torch.tensor([0, 1, 2, 0, 1])

    def compute(pixels: Tensor, y: Tensor) -> Batch:
        latents = model.features(pixels)
        return Batch(latents, latents, model.output(latents), y)

    batch, random = TrainingBatch(images, labels), SampleRandom(0, 1, torch.arange(5))
    context = StepContext(model, objective, batch, 1, 1, 0.0, 1.0, compute, random)
    loss = mixup_of_the_example()(batch, context)
    share = random.uniform("mixup", 1, 1, 1)
    targets = F.one_hot(labels, 3).float()
    mixed = share * images + (1 - share) * images[[4, 0, 1, 2, 3]]
    soft = share[:, 0, 0] * targets + (1 - share[:, 0, 0]) * targets[[4, 0, 1, 2, 3]]
    assert loss.item() == pytest.approx(F.cross_entropy(model(mixed), soft).item(), rel=1e-5)


def test_noise_is_added_to_a_share_of_the_images_and_clipped() -> None:
    images, random = torch.full((2000, 1, 4, 4), 0.5), SampleRandom(0, 1, torch.arange(2000))
    noisy = add_noise(images, 0.1, share=0.5, random=random)
    changed = (noisy != images).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.5, abs=0.04)
    assert float((noisy - images)[changed].std()) == pytest.approx(0.1, rel=0.02)
    everywhere = add_noise(torch.ones(100, 1, 4, 4), 0.1, share=1.0, random=SampleRandom(0, 1, torch.arange(100)))
    assert float(everywhere.max()) == 1
    assert float((everywhere < 1).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_the_noise_of_a_variant_reaches_its_training() -> None:
    """The network sees images of the clean training plus noise; without the field, the same images."""
    seen = []
    for noise in (0.0, 0.1):
        model, batches = some_model(), []
        model.normalize.register_forward_pre_hook(lambda module, given, kept=batches: kept.append(given[0].detach()))
        spec = dataclasses.replace(some_spec(epochs=1), variant_spec=VariantSpec(noise=noise))
        train(model, some_images(), spec, some_objective(spec), CPU, Progress())
        seen.append(torch.cat(batches))
    moved = (seen[1] - seen[0]).flatten(1).std(1)
    assert bool((moved > 0.05).all())
    assert bool((moved < 0.15).all())

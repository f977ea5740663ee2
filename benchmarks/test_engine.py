"""Compare our attacks with the libraries' attacks on the same models and images. conftest.py has the options."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import foolbox
import pytest
import torch
from measure import REFERENCE_BACKWARDS, REFERENCE_FORWARDS, Bench, Run, Target, peak_memory
from pytest_benchmark.fixture import BenchmarkFixture
from subjects import Choice, EvaluatedModel
from torch import Tensor

from bench.attacks.deepfool_attack import walk_to_boundary
from bench.core.specs import Precision

EXTRA = 1e-4  # added to the steps of DeepFool, as in foolbox and in bench.diagnostics.deepfool_score


@cache
def reference(engine: Bench, target: Target, eps: float, seed: int) -> Run:
    """Run pyautoattack once, and use the result for all precisions of our attack."""
    return engine.attack(target, "autoattack", eps, backend="reference", seed=seed)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("case", ["all break", "half break", "pgd_at"])
def test_autoattack(
    case: str,
    precision: Precision,
    engine: Bench,
    choice: Choice,
    request: pytest.FixtureRequest,
    benchmark: BenchmarkFixture,
) -> None:
    """Compare AutoAttack with pyautoattack and with the lower bound on its time."""
    subject: EvaluatedModel = request.getfixturevalue("defended" if case == "pgd_at" else "undefended")
    eps = subject.train_eps or subject.budgets[case.split()[0]]
    target = subject.target
    ours = benchmark.pedantic(engine.attack, (target, "autoattack", eps), {"precision": precision}, rounds=1)
    theirs = [reference(engine, target, eps, seed) for seed in range(choice.reference_runs)]
    floor = engine.floor(target, ours.survivors)
    measured = f"ε {eps:.4g}, {len(target.ids)} images: {describe(ours, theirs)}"
    if floor:
        measured += f"; {above_floor(ours, floor)}"
    faster = theirs[0].seconds / ours.seconds if theirs else None
    if precision == "bf16":
        goal, met = "≥ 2.5×", faster and faster >= 2.5
    elif case == "all break":
        goal, met = "≥ 15×, same robust accuracy", faster and faster >= 15 and ours.survivors == theirs[0].survivors
    else:
        goal, met = "≤ 1.10 × floor", floor and ours.seconds <= 1.10 * floor
    engine.note(f"AutoAttack, {case}, {precision}", measured, goal, None if met is None else bool(met))


def describe(ours: Run, theirs: list[Run]) -> str:
    """Describe our run and the first of ``theirs``. A second run is pyautoattack with another seed."""
    n_images = len(ours.misclassified)
    passes = (ours.forwards + ours.backwards) / n_images
    text = f"{ours.seconds:.1f} s, {passes:.0f} passes per image, robust {ours.robust:.1%}"
    if theirs:
        first = theirs[0]
        text += (
            f"; pyautoattack {first.seconds:.1f} s ({first.seconds / ours.seconds:.2f}×), "
            f"{(first.forwards + first.backwards) / n_images:.0f} passes, robust {first.robust:.1%}, "
            f"same verdict on {ours.agreement(first):.1%}"
        )
    if theirs[1:]:
        text += f", with itself on {theirs[0].agreement(theirs[1]):.1%}"
    return text


def above_floor(ours: Run, floor: float) -> str:
    """Describe the time of our run relative to the lower bound, and its passes per robust image."""
    return (
        f"fp32 floor {floor:.1f} s ({ours.seconds / floor:.2f}×), all passes by survivors "
        f"{ours.forwards / ours.survivors:.0f}+{ours.backwards / ours.survivors:.0f}, "
        f"published {REFERENCE_FORWARDS}+{REFERENCE_BACKWARDS}"
    )


def test_pgd(engine: Bench, undefended: EvaluatedModel, benchmark: BenchmarkFixture) -> None:
    """Compare PGD-20 with foolbox."""
    target, eps = undefended.target, undefended.budgets["all"]
    ours = benchmark.pedantic(engine.attack, (target, "pgd-20", eps), rounds=1, warmup_rounds=1)
    runs = [engine.attack(target, "pgd-20", eps, backend="reference") for _ in range(2)]
    theirs = runs[1]  # the first run is a warm-up, as for our attack
    faster = theirs.seconds / ours.seconds
    measured = (
        f"ε {eps:.4g}: {ours.seconds:.2f} s, foolbox {theirs.seconds:.2f} s ({faster:.2f}×); "
        f"robust {ours.robust:.1%}, theirs {theirs.robust:.1%}"
    )
    engine.note("PGD-20", measured, "≥ 3×", faster >= 3)


def test_deepfool(engine: Bench, undefended: EvaluatedModel, choice: Choice, benchmark: BenchmarkFixture) -> None:
    """Compare the time of DeepFool in batches with the time of one image at a time, and its norms with foolbox.

    The published programs run one image at a time. This time is measured on a few images and extrapolated. Foolbox runs
    all steps for every image of a batch until all are misclassified, so that it gets the first images only.
    """
    model, images = undefended.target.model, undefended.deepfool_images

    def ours() -> Tensor:
        parts = [walk_to_boundary(model, part, extra=EXTRA).adversarial for part in images.split(engine.batch_size)]
        return torch.cat(parts)

    begin = engine.now()
    found = benchmark.pedantic(ours, rounds=1)
    seconds = engine.now() - begin
    single_images = images[: choice.n_single]
    single = engine.seconds(
        lambda: [walk_to_boundary(model, image[None], extra=EXTRA) for image in single_images]
    ) / len(single_images)
    first = images[: 2 * engine.batch_size]
    labels = torch.cat([model(part).argmax(1) for part in first.split(engine.batch_size)])
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device=engine.device)
    attack = foolbox.attacks.L2DeepFoolAttack(steps=50, candidates=10, overshoot=0.02)
    parts = zip(first.split(engine.batch_size), labels.split(engine.batch_size), strict=True)
    theirs = torch.cat([attack.run(bounded, *part) for part in parts])
    faster, medians = (
        single * len(images) / seconds,
        [_median(model, first, adversarial[: len(first)], labels) for adversarial in (found, theirs)],
    )
    difference = abs(medians[0] / medians[1] - 1)
    measured = (
        f"{len(images)} images {seconds:.1f} s, one at a time {single * len(images):.1f} s ({faster:.1f}×); "
        f"median norm of {len(first)} {medians[0]:.4f}, foolbox {medians[1]:.4f} ({difference:.1%})"
    )
    engine.note("DeepFool", measured, "≥ 20×, norm within 2 %", faster >= 20 and difference <= 0.02)


def _median(model: torch.nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor) -> float:
    """Return the median of the L2 norms, with infinity for each image that was not fooled."""
    with torch.no_grad():
        fooled = torch.cat([model(part).argmax(1) for part in adversarial.split(256)]) != labels
    norms = (adversarial - images).flatten(1).norm(dim=1)
    return float(torch.where(fooled, norms, torch.inf).median())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads memory statistics of Linux")
def test_memory(engine: Bench, undefended: EvaluatedModel) -> None:
    """Measure the memory of a full batch in APGD, the stage with the largest state in addition to the graph."""
    target, eps = undefended.target.repeated(engine.batch_size), undefended.budgets["half"]
    ours, theirs = (
        peak_memory(engine, target, name="apgd-ce", eps=eps, backend=backend) for backend in ("native", "reference")
    )
    measured = f"APGD on a batch of {engine.batch_size}: {ours:.0f} MiB, pyautoattack {theirs:.0f} MiB"
    engine.note("Peak memory", measured, "not above", ours <= theirs)

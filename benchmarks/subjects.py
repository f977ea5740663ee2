"""The attacked models, which are trained by this project, and the budgets of the attacks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from measure import Bench, Target
from torch import Tensor

from bench.config import RunConfig
from bench.context import RunContext
from bench.core.specs import Precision
from bench.models.classifier import freeze
from bench.models.variants import VARIANTS
from bench.planning.plan import make_plan
from bench.planning.request import make_request
from bench.results.store import Store
from bench.runtime.progress import Progress
from bench.training.checkpoints import load_run, train_run


@dataclass(frozen=True)
class Size:
    """Default settings of the benchmarks, for a trial run or for a full run."""

    model: str
    images: int  # images to attack
    batch_size: int
    epochs: int | None
    train_limit: int | None  # training images
    train_precision: Precision
    deepfool_images: int  # images for DeepFool
    n_single: int  # number of images for DeepFool that are also attacked one at a time
    reference_runs: int  # runs of pyautoattack with different seeds


SIZES = {
    "small": Size(
        "test_resnet",
        images=4,
        batch_size=4,
        epochs=3,
        train_limit=None,
        train_precision="fp32",
        deepfool_images=64,
        n_single=4,
        reference_runs=1,
    ),
    "full": Size(
        "resnet10t",
        images=128,
        batch_size=64,
        epochs=6,
        train_limit=4000,
        train_precision="bf16",
        deepfool_images=1000,
        n_single=20,
        reference_runs=2,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The settings of a size with the options of the command line."""

    dataset: str
    data_dir: Path | None
    image_size: int | None
    model: str
    images: int
    batch_size: int
    epochs: int | None
    train_limit: int | None
    train_precision: Precision
    deepfool_images: int
    n_single: int
    reference_runs: int
    train_eps: str | None
    cache: Path


@dataclass(frozen=True)
class EvaluatedModel:
    """A trained model, correctly classified test images, and Linf budgets."""

    target: Target
    deepfool_images: Tensor  # images for DeepFool, correctly classified or not
    train_eps: float | None
    budgets: dict[str, float] = field(default_factory=dict)


def build_subject(variant: str, choice: Choice, engine: Bench) -> EvaluatedModel:
    """Train or load ``variant``. For an undefended model, find budgets that fool half of the images and all images."""
    options = RunConfig(
        models=(choice.model,),
        variants=(variant,),
        dataset=choice.dataset,
        data_dir=choice.data_dir,
        image_size=choice.image_size,
        epochs=choice.epochs,
        train_limit=choice.train_limit,
        train_precision=choice.train_precision,
        train_eps=choice.train_eps if VARIANTS.get(variant).spec.adversary else None,
        attacks=("none",),
    )
    request, dataset = make_request(options)
    spec = make_plan(request)[0].train
    context = RunContext(dataset=dataset, store=Store(choice.cache), device=engine.device, progress=Progress())
    built = load_run(spec, context) if context.store.finished_run(spec.run_id) else train_run(spec, context)[1]
    assert built is not None, "the training failed"
    model = freeze(built.classifier)
    images = context.images("test", None)
    inputs = images.inputs(
        torch.arange(min(len(images), max(4 * choice.images, choice.deepfool_images))), engine.device
    )
    labels = images.labels[: len(inputs)].to(engine.device)
    with torch.no_grad():
        correct = torch.cat([model(part).argmax(1) for part in inputs.split(256)]) == labels
    kept = correct.nonzero().squeeze(1)[: choice.images]
    target = Target(model, inputs[kept], labels[kept], [images.ids[i] for i in kept.tolist()])
    adversary = spec.variant_spec.adversary
    subject = EvaluatedModel(target, inputs[: choice.deepfool_images], adversary.eps if adversary else None)
    if adversary is None:
        subject.budgets.update(_budgets(target, engine))
    return subject


def _budgets(target: Target, engine: Bench) -> dict[str, float]:
    """Return the budgets at which PGD fools half of the images, by bisection of log ε, and all images."""
    low, high = 1 / 2550, 0.5
    for _ in range(7):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if engine.attack(target, "pgd-20", middle).robust > 0.5 else (low, middle)
    all_fooled = 4 * high
    while engine.attack(target, "pgd-20", all_fooled).robust and all_fooled < 1:
        all_fooled *= 1.5
    return {"half": high, "all": all_fooled}

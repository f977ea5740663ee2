"""Training loops that the benchmarks compare: ours, a plain one, and bare steps and passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from measure import Bench
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.core.specs import DataSpec, ModelSpec, Precision, Recipe, TrainSpec, VariantSpec
from bench.data.tensors import ResidentImages
from bench.models.build import build_classifier
from bench.models.classifier import Classifier
from bench.models.objective import Objective
from bench.runtime.progress import Progress
from bench.runtime.torch_state import harness_torch_state
from bench.training.precision_trial import CHOICES, Case, measure
from bench.training.train import forward, train, training_facts

ROUNDS = 3


@dataclass(frozen=True)
class Subject:
    """Architecture, side of the images, images per batch, and batches per round."""

    model: str
    side: int
    batch_size: int
    steps: int

    @property
    def title(self) -> str:
        """Name of the case in the table."""
        return f"{self.model} at {self.side} px, batches of {self.batch_size}"


SIZES = {
    "small": [Subject("resnet10t", 32, 16, 2)],
    "full": [
        Subject("resnet18", 32, 128, 2),
        Subject("vit_tiny_patch16_224", 32, 128, 4),
        Subject("resnet50", 224, 16, 2),
    ],
}
RECIPE = Recipe(epochs=1, horizontal_flip=True, crop_padding=4)


class _Files(Dataset[tuple[Tensor, int]]):
    """Images as most training scripts read them: PIL images, transformed one at a time."""

    def __init__(self, pixels: NDArray[np.uint8], labels: Tensor) -> None:
        self._images, self._labels = [Image.fromarray(image) for image in pixels], labels
        side = pixels.shape[1]
        self._transform = transforms.Compose(
            [transforms.RandomCrop(side, 4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), int(self._labels[index])


def _data(subject: Subject) -> tuple[NDArray[np.uint8], Tensor]:
    count = subject.batch_size * subject.steps
    pixels = np.random.default_rng(0).integers(0, 256, (count, subject.side, subject.side, 3), dtype=np.uint8)
    return pixels, torch.arange(count) % 10


def _spec(subject: Subject, precision: Precision, variant: VariantSpec | None = None) -> TrainSpec:
    return TrainSpec(
        data=DataSpec(name="random", train_sha="", num_classes=10, image_size=subject.side),
        model=ModelSpec(name=subject.model),
        variant="baseline",
        variant_spec=variant or VariantSpec(),
        recipe=replace(RECIPE, batch_size=subject.batch_size, precision=precision),
        seed=0,
    )


def _model(subject: Subject, device: torch.device) -> Classifier:
    built = build_classifier(
        ModelSpec(name=subject.model), VariantSpec(), image_size=subject.side, num_classes=10, mean=(0.5,) * 3,
        std=(0.25,) * 3, seed=0,
    )  # fmt: skip
    model: Classifier = built.classifier.to(device)
    return model


def ours(
    subject: Subject, precision: Precision, device: torch.device, variant: VariantSpec | None = None
) -> Callable[[], None]:
    """Return a function that trains for one round with our loop."""
    pixels, labels = _data(subject)
    images = ResidentImages(
        [str(i) for i in range(len(labels))], torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), labels
    )
    spec, model = _spec(subject, precision, variant), _model(subject, device)
    facts = training_facts(spec, count=len(images), latent_dim=8)

    def run() -> None:
        train(model, images, spec, Objective(spec.variant_spec, facts, latent_dim=8), device, Progress())

    return run


def plain(subject: Subject, device: torch.device) -> Callable[[], None]:
    """Return a function that trains for one round as a plain script: float32, DataLoader, AdamW, ``.item()``."""
    model = _model(subject, device).train()
    loader = DataLoader(
        _Files(*_data(subject)), batch_size=subject.batch_size, shuffle=True, num_workers=2, persistent_workers=True
    )
    optimizer = torch.optim.AdamW(model.parameters())

    def run() -> None:
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()

    return run


def bare(
    subject: Subject, precision: Precision, device: torch.device, compile_mode: str | None = None
) -> Callable[[], None]:
    """Return a function that repeats the step on one batch on the device: forward, backward, fused optimiser."""
    model = _model(subject, device).train()
    if compile_mode is not None:
        setattr(model, "embed", torch.compile(model.embed, mode=compile_mode))  # noqa: B010 - mypy forbids methods
    if precision == "bf16":
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images = torch.rand(subject.batch_size, 3, subject.side, subject.side, device=device)
    labels = torch.arange(subject.batch_size, device=device) % 10

    def run() -> None:
        for _ in range(subject.steps):
            loss = F.cross_entropy(forward(model, images, labels, low_precision=precision == "bf16").outputs, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


def bare_passes(subject: Subject, precision: Precision, device: torch.device, steps: int) -> Callable[[], None]:
    """Return a function that makes the passes of adversarial training: ``steps`` gradients of images, then a step."""
    model, one_step = _model(subject, device), bare(replace(subject, steps=1), precision, device)
    if precision == "bf16":
        model.to(memory_format=torch.channels_last)
    model.eval()
    images = torch.rand(subject.batch_size, 3, subject.side, subject.side, device=device)
    labels = torch.arange(subject.batch_size, device=device) % 10

    def run() -> None:
        for _ in range(subject.steps):
            for _ in range(steps):
                leaf = images.detach().requires_grad_()
                outputs = forward(model, leaf, labels, low_precision=precision == "bf16").outputs
                torch.autograd.grad(F.cross_entropy(outputs, labels), leaf)
            one_step()

    return run


def rates(subject: Subject, engine: Bench, *functions: Callable[[], None]) -> list[float]:
    """Return the images per second of each function: the best of ROUNDS alternating rounds after one to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    with harness_torch_state():
        for _ in range(ROUNDS + 1):
            for function, seconds in zip(functions, times, strict=True):
                seconds.append(engine.seconds(function))
    return [subject.batch_size * subject.steps / min(seconds[1:]) for seconds in times]


def chosen_subject(number: int, request: pytest.FixtureRequest) -> Subject:
    """Return one case of the chosen size. Skip a case that the size does not have."""
    subjects = SIZES[request.config.getoption("--training-size")]
    if number >= len(subjects):
        pytest.skip("the small size has one case")
    return subjects[number]


def faster_precision(subject: Subject, engine: Bench) -> Precision:
    """Return the precision that a trial shows to be faster."""
    found = measure(Case(subject.model, subject.side, subject.batch_size, engine.device.type), 10, engine.device)
    return max(CHOICES, key=lambda name: found[name])

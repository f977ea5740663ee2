"""One training loop for every variant; what differs comes from the variant's objective."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.core.errors import CellFailure
from bench.core.seeds import derive_seed
from bench.core.specs import Recipe, TrainSpec
from bench.data.augment import augment
from bench.data.tensors import Images, as_inputs
from bench.progress import Progress
from models.classifier import Classifier
from models.objective import Objective
from models.schedules import TrainingFacts

CONSTANT_SHARE = 0.2  # of the epochs, before the cosine begins: 200 of 1000 in the published recipe
FINAL_LR = 1e-8


@dataclass(frozen=True)
class TrainResult:
    """What the last epoch looked like; None without an epoch."""

    loss: float | None
    accuracy: float | None
    gamma: float | None  # weight of the penalty


def learning_rate(epoch: int, recipe: Recipe) -> float:
    """lr in ``epoch`` (from 1): constant for the first fifth, then a cosine to 1e-8 in the last epoch."""
    constant = math.floor(CONSTANT_SHARE * recipe.epochs)
    if epoch <= constant:
        return recipe.lr
    progress = (epoch - constant) / max(recipe.epochs - constant, 1)
    return FINAL_LR + (recipe.lr - FINAL_LR) * (1 + math.cos(math.pi * progress)) / 2


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in ``count`` images; the rest is left out, for batch norm cannot take a batch of one."""
    return max(count // batch_size, 1)


def training_facts(spec: TrainSpec, *, count: int, latent_dim: int) -> TrainingFacts:
    return TrainingFacts(
        epochs=spec.recipe.epochs,
        steps_per_epoch=steps_per_epoch(count, spec.recipe.batch_size),
        lr=spec.recipe.lr,
        num_classes=spec.data.num_classes,
        latent_dim=latent_dim,
    )


def train(
    model: Classifier, images: Images, spec: TrainSpec, objective: Objective, device: torch.device, progress: Progress
) -> TrainResult:
    """Train ``model`` in place by AdamW. The output layer keeps its learning rate; the others follow the cosine.

    Every draw is a function of (seed, epoch), so an epoch can be repeated alone. Raises CellFailure("nan_loss").
    """
    recipe = spec.recipe
    body = [*model.backbone.parameters(), *model.head.parameters()]
    groups = [{"params": body}, {"params": list(model.output.parameters())}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
    result = TrainResult(None, None, None)
    with progress.stage("train", total=recipe.epochs * len(images), unit="images") as stage, _own_generator(device):
        for epoch in range(1, recipe.epochs + 1):
            optimizer.param_groups[0]["lr"] = learning_rate(epoch, recipe)
            result = _train_epoch(model, images, spec, objective, optimizer, epoch, device)
            stage.advance(len(images), accuracy=result.accuracy)
    return result


def _train_epoch(
    model: Classifier,
    images: Images,
    spec: TrainSpec,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    device: torch.device,
) -> TrainResult:
    """One pass over ``images`` in an order drawn for this epoch."""
    model.train()
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "epoch", epoch))
    torch.manual_seed(derive_seed(spec.seed, "layers", epoch))  # dropout and the like draw from the global generator
    gamma = objective.gamma(epoch)
    loss_sum, correct, seen = 0.0, 0, 0
    for batch in _batches(len(images), spec.recipe.batch_size, generator):
        inputs, labels = _prepare(images, batch, spec.recipe, generator, device)
        latents = model.features(inputs)
        logits = model.output(latents)
        loss = objective.loss(logits, latents, labels, gamma=gamma)
        if not torch.isfinite(loss):
            raise CellFailure("nan_loss", f"the loss became {loss.item()} in epoch {epoch} (gamma {gamma:.4g}).")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum())
        seen += len(labels)
    return TrainResult(loss_sum / seen, correct / seen, gamma)


def _batches(count: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    order = torch.randperm(count, generator=generator)
    kept = order[: steps_per_epoch(count, batch_size) * batch_size]
    batches: tuple[Tensor, ...] = kept.split(batch_size)
    return batches


def _prepare(
    images: Images, batch: Tensor, recipe: Recipe, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    inputs = as_inputs(images.pixels[batch].to(device))
    inputs = augment(
        inputs, crop_padding=recipe.crop_padding, horizontal_flip=recipe.horizontal_flip, generator=generator
    )
    return inputs, images.labels[batch].to(device)


def _own_generator(device: torch.device) -> AbstractContextManager[None]:
    """Leave torch's global generators as they were."""
    guard: AbstractContextManager[None] = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    return guard


def freeze(model: nn.Module) -> nn.Module:
    """Evaluation mode without parameter gradients: attacks differentiate the images only."""
    return model.eval().requires_grad_(False)

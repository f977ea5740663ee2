"""Training loop for all variants. The objective defines the variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bench.core.errors import CellFailure
from bench.core.records import EpochRecord
from bench.core.seeds import derive_seed
from bench.core.specs import TrainSpec
from bench.data.augment import augment
from bench.data.tensors import Images, as_inputs
from bench.models.auxiliary_losses import Batch
from bench.models.classifier import Classifier
from bench.models.margins import logit_margins
from bench.models.objective import Objective
from bench.models.schedules import StepStats, TrainingFacts
from bench.runtime.progress import Progress
from bench.runtime.torch_state import own_generators
from bench.training.lr_schedules import LR_SCHEDULES
from bench.training.training_state import EpochProgress, TrainingState, match_layouts

BODY, OUTPUT = 0, 1  # indices of the optimiser's parameter groups


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the number of full batches in ``count`` images, at least 1.

    An incomplete last batch is dropped, because batch norm cannot process a batch of one image.
    """
    return max(count // batch_size, 1)


def training_facts(spec: TrainSpec, *, count: int, latent_dim: int) -> TrainingFacts:
    """Collect the properties of a training that schedules and criteria use. ``count`` is the number of images."""
    return TrainingFacts(
        epochs=spec.recipe.epochs,
        steps_per_epoch=steps_per_epoch(count, spec.recipe.batch_size),
        lr=spec.recipe.lr,
        num_classes=spec.data.num_classes,
        latent_dim=spec.variant_spec.balance_dim or latent_dim,
        gamma=spec.variant_spec.gamma,
    )


def begin(model: Classifier, spec: TrainSpec, objective: Objective) -> TrainingState:
    """Return the initial state of a training, with AdamW and two parameter groups: body and output layer."""
    recipe = spec.recipe
    decay = recipe.weight_decay if spec.variant_spec.weight_decay is None else spec.variant_spec.weight_decay
    body = [*model.backbone.parameters(), *model.head.parameters()]
    groups = [{"params": body}, {"params": list(model.output.parameters())}]
    # The fused version needs one pass over the weights. It is eight times faster on a CPU.
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=decay, fused=True)
    return TrainingState(model, optimizer, objective.term, objective.start())


def train(
    model: Classifier,
    images: Images,
    spec: TrainSpec,
    objective: Objective,
    device: torch.device,
    progress: Progress,
    *,
    state: TrainingState | None = None,
    after_batch: Callable[[TrainingState], None] = lambda state: None,
) -> tuple[EpochRecord, ...]:
    """Train ``model`` in place, starting from ``state``, and return one record per epoch.

    Learning rates follow the schedule of the recipe. All random draws are functions of (seed, epoch), so that a
    training resumed from ``state`` gives the same result as an uninterrupted one. ``after_batch`` is called with the
    state after each batch, for example to save it. Raises CellFailure("nan_loss") if the loss is not finite.
    """
    state = state or begin(model, spec, objective)
    if spec.recipe.precision == "bf16":
        # bfloat16 convolutions are several times faster in this layout. The weights do not change.
        model.to(memory_format=torch.channels_last)
    match_layouts(state.optimizer)
    if objective.term is not None:
        objective.term.to(device)
    rates = LR_SCHEDULES.get(spec.recipe.lr_schedule)
    total = spec.recipe.epochs * len(images)
    with progress.stage("train", total=total, unit="images") as stage, own_generators(device):
        done = len(state.history) * len(images) + state.epoch.n_images
        stage.resume(done)
        for epoch in range(len(state.history) + 1, spec.recipe.epochs + 1):
            lr = rates(epoch, spec.recipe)
            state.optimizer.param_groups[BODY]["lr"], state.optimizer.param_groups[OUTPUT]["lr"] = lr
            _train_epoch(model, images, spec, objective, state, epoch, device, after_batch)
            stage.advance(epoch * len(images) - done, accuracy=state.history[-1].accuracy)
            done = epoch * len(images)
    model.to(memory_format=torch.contiguous_format)  # evaluate in the same layout as after loading the stored weights
    return state.history


def _train_epoch(
    model: Classifier,
    images: Images,
    spec: TrainSpec,
    objective: Objective,
    state: TrainingState,
    epoch: int,
    device: torch.device,
    after_batch: Callable[[TrainingState], None],
) -> None:
    """Train for one epoch, over ``images`` in an order drawn for this epoch, and add its record to ``state``."""
    model.train()
    draws = _Draws(spec.seed, epoch, device)
    batches = _batches(len(images), spec.recipe.batch_size, draws.batches)
    done = state.epoch
    draws.restore(done.generators)
    for number, indices in enumerate(batches[done.batches :], start=done.batches + 1):
        inputs, labels = _prepare(model, images, indices, spec, draws.batches, device)
        inputs = _attacked(model, inputs, labels, spec, objective, epoch, draws.adversary)
        batch = forward(model, inputs, labels, low_precision=spec.recipe.precision == "bf16")
        gamma = state.gamma.gamma
        loss = objective.loss(batch, gamma=gamma, epoch=epoch)
        if not torch.isfinite(loss):
            raise CellFailure("nan_loss", f"the loss became {loss.item()} in epoch {epoch} (gamma {gamma:.4g}).")
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        stats = _step_stats(batch, next_epoch=epoch + (number == len(batches)))
        state.gamma = objective.advance(state.gamma, stats)
        done.batches, done.n_images = number, done.n_images + len(indices)
        done.loss += loss.item() * len(indices)
        done.n_correct += int((batch.outputs.argmax(1) == batch.labels).sum())
        done.margin += stats.margin
        if number == len(batches):
            loss_mean, accuracy = done.loss / done.n_images, done.n_correct / done.n_images
            record = EpochRecord(loss=loss_mean, accuracy=accuracy, gamma=gamma, margin=done.margin / done.batches)
            state.history, state.epoch = (*state.history, record), EpochProgress()
        else:
            done.generators = draws.states()
        after_batch(state)


class _Draws:
    """Random generators of one epoch, seeded by functions of (seed, epoch)."""

    def __init__(self, seed: int, epoch: int, device: torch.device) -> None:
        self.batches = torch.Generator().manual_seed(derive_seed(seed, "epoch", epoch))  # order and augmentation
        # The adversary has its own generator: order and augmentation are the same as without an adversary.
        self.adversary = torch.Generator().manual_seed(derive_seed(seed, "adversary", epoch))
        torch.manual_seed(derive_seed(seed, "layers", epoch))  # layers such as dropout use the global generators
        self._device = device

    def states(self) -> dict[str, Tensor]:
        """Return the states of all generators."""
        states = {"batches": self.batches.get_state(), "adversary": self.adversary.get_state()}
        states["layers"] = torch.get_rng_state()
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states

    def restore(self, states: Mapping[str, Tensor]) -> None:
        """Set the generators to ``states``; empty at the start of an epoch."""
        if not states:
            return
        self.batches.set_state(states["batches"])
        self.adversary.set_state(states["adversary"])
        torch.set_rng_state(states["layers"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self._device)


def _attacked(
    model: Classifier,
    inputs: Tensor,
    labels: Tensor,
    spec: TrainSpec,
    objective: Objective,
    epoch: int,
    starts: torch.Generator,
) -> Tensor:
    """Return the images perturbed by the variant's adversary. The adversary uses the precision of the training."""

    def loss(images: Tensor) -> Tensor:
        batch = forward(model, images, labels, low_precision=spec.recipe.precision == "bf16")
        return objective.criterion(batch.outputs, labels, epoch=epoch)

    return objective.adversary.perturb(model, loss, inputs, generator=starts)


def _step_stats(batch: Batch, *, next_epoch: int) -> StepStats:
    margins = logit_margins(batch.outputs.detach(), batch.labels)
    return StepStats(float(margins.median()), next_epoch, float(batch.latents.detach().square().mean()))


def forward(model: Classifier, inputs: Tensor, labels: Tensor, *, low_precision: bool) -> Batch:
    """Run the model on ``inputs`` (B, C, H, W) and return all tensors of the step, including ``labels`` (B,).

    With ``low_precision``, the backbone runs in bfloat16. Head, output layer and loss always run in float32.
    """
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=low_precision):
        features = model.embed(inputs)
    features = features.float()
    latents = model.head(features)
    return Batch(features, latents, model.output(latents), labels)


def _batches(count: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    order = torch.randperm(count, generator=generator)
    full = order[: steps_per_epoch(count, batch_size) * batch_size]
    batches: tuple[Tensor, ...] = full.split(batch_size)
    return batches


def _prepare(
    model: Classifier,
    images: Images,
    indices: Tensor,
    spec: TrainSpec,
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    inputs = as_inputs(images.pixels[indices].to(device))
    mean = getattr(model.normalize, "mean", None)
    return augment(inputs, spec.recipe, mean=mean, generator=generator), images.labels[indices].to(device)

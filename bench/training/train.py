"""Training loop for all variants. The objective defines the variant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial

import torch
from torch import Tensor

from bench.core.errors import CellFailure
from bench.core.records import EpochRecord
from bench.core.seeds import derive_seed
from bench.core.specs import TrainSpec
from bench.data.augment import add_noise, augment
from bench.data.sample_random import SampleRandom
from bench.data.tensors import Images
from bench.models.auxiliary_losses import Batch
from bench.models.classifier import Classifier
from bench.models.cropped_kernels import cropped_kernels
from bench.models.margins import logit_margins
from bench.models.memory_format import to_channels_last
from bench.models.objective import Objective
from bench.models.schedules import StepStats, TrainingFacts
from bench.models.spectral_norm import settle_spectral_norms
from bench.models.step_loss import step_loss
from bench.models.training_steps import StepContext, TrainingBatch, check_step
from bench.runtime.progress import Progress
from bench.runtime.torch_state import own_generators
from bench.training.averaging import WeightAverage
from bench.training.lr_schedules import LR_SCHEDULES
from bench.training.training_state import EpochProgress, TrainingState, match_layouts, seed_layers

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
    """Return the initial state of a training. The optimiser has two parameter groups: body and output layer."""
    check_step(spec.variant, spec.variant_spec)
    recipe = spec.recipe
    decay = recipe.weight_decay if spec.variant_spec.weight_decay is None else spec.variant_spec.weight_decay
    body = [*model.backbone.parameters(), *model.head.parameters()]
    groups = [{"params": body}, {"params": list(model.output.parameters())}]
    # The fused versions need one pass over the weights. They are several times faster.
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=True, weight_decay=decay, fused=True
        )
    else:
        optimizer = torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=decay, fused=True)
    average = None if spec.ema is None else WeightAverage(model, spec.ema)
    return TrainingState(model, optimizer, objective.term, objective.start(), average=average)


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

    Learning rates follow the schedule of the recipe. The order of the images is a function of (seed, epoch), and the
    random draws of each image are functions of (seed, epoch, image), so that a training resumed from ``state`` gives
    the same result as an uninterrupted one. If the spec has an ``ema``, the model ends with the averaged weights.
    ``after_batch`` is called with the state after each batch, for example to save it. No step waits for the device.
    Raises CellFailure("nan_loss") after an epoch whose loss was not finite.
    """
    state = state or begin(model, spec, objective)
    if spec.recipe.precision == "bf16":
        # bfloat16 convolutions are several times faster in this layout. The weights do not change.
        to_channels_last(model)
    match_layouts(state.optimizer)
    if objective.term is not None:
        objective.term.to(device)
    images = images.on(device)
    total = spec.recipe.epochs * len(images)
    with progress.stage("train", total=total, unit="images") as stage, own_generators(device), cropped_kernels(model):
        done = len(state.history) * len(images) + state.epoch.n_images
        stage.resume(done)
        for epoch in range(len(state.history) + 1, spec.recipe.epochs + 1):
            _train_epoch(model, images, spec, objective, state, epoch, device, after_batch)
            stage.advance(epoch * len(images) - done, accuracy=state.history[-1].accuracy)
            done = epoch * len(images)
    if state.average is not None:
        model.load_state_dict(state.average.model.state_dict())
        settle_spectral_norms(model)
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
    done, rates = state.epoch, LR_SCHEDULES.get(spec.recipe.lr_schedule)
    done.epoch = epoch
    seed_layers(spec.seed, done, device)
    batches = _batches(len(images), spec.recipe.batch_size, spec.seed, epoch, images.device)
    first = len(done.steps)
    with closing(images.batches(batches[first:], device)) as remaining:
        for step, (inputs, labels) in enumerate(remaining, start=first):
            lr = rates(epoch + step / len(batches), spec.recipe)
            state.optimizer.param_groups[BODY]["lr"], state.optimizer.param_groups[OUTPUT]["lr"] = lr
            random = SampleRandom(spec.seed, epoch, batches[step].to(device))
            context = _context(model, TrainingBatch(inputs, labels), random, spec, objective, state, epoch)
            loss = step_loss(spec.variant_spec, context)
            state.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            _check_gradients(model)
            state.optimizer.step()
            if state.average is not None:
                state.average.update(model, (epoch - 1) * len(batches) + step)
            margins = _record_step(done, loss, context)
            is_last = step + 1 == len(batches)
            state.gamma = objective.advance(state.gamma, _step_stats(context, margins, next_epoch=epoch + is_last))
            if is_last:
                state.history, state.epoch = (*state.history, done.record(context.gamma)), EpochProgress()
            after_batch(state)


def _context(
    model: Classifier,
    batch: TrainingBatch,
    random: SampleRandom,
    spec: TrainSpec,
    objective: Objective,
    state: TrainingState,
    epoch: int,
) -> StepContext:
    """Augment the images of a batch, and collect all that a training step needs."""
    mean, std = getattr(model.normalize, "mean", None), getattr(model.normalize, "std", None)
    images = augment(batch.images, spec.recipe, mean=mean, std=std, random=random)
    variant = spec.variant_spec
    if variant.noise:
        images = add_noise(images, variant.noise, share=variant.noise_share, random=random)
    return StepContext(
        model=model,
        objective=objective,
        batch=TrainingBatch(images, batch.labels),
        epoch=epoch,
        epochs=spec.recipe.epochs,
        gamma=state.gamma.gamma,
        weight=variant.step_weight,
        compute=partial(forward, model, low_precision=spec.recipe.precision == "bf16"),
        random=random,
    )


def _check_gradients(model: Classifier) -> None:
    """Raise CellFailure("loss_error") if no weight has a gradient: the optimiser would change nothing."""
    if all(parameter.grad is None for parameter in model.parameters()):
        raise CellFailure("loss_error", "the loss depends on no weight of the model; compute it by context.forward.")


def _record_step(done: EpochProgress, loss: Tensor, context: StepContext) -> Tensor:
    """Add loss, number of correct images and median margin of a step to ``done``. Return the margin."""
    last = context.last
    if last is None:
        raise CellFailure("loss_error", "the training step did not call context.forward; call it on the images.")
    outputs = last.outputs.detach()
    n_correct = (outputs.argmax(1) == last.labels).sum()
    margin = logit_margins(outputs, last.labels).median()
    done.steps.append(torch.stack([loss.detach(), n_correct.to(loss), margin.to(loss)]))
    done.n_images += len(last.labels)
    return margin


def _step_stats(context: StepContext, margin: Tensor, *, next_epoch: int) -> StepStats:
    assert context.last is not None
    return StepStats(margin, next_epoch, context.last.latents.detach().square().mean())


def forward(model: Classifier, inputs: Tensor, labels: Tensor, *, low_precision: bool) -> Batch:
    """Run the model on ``inputs`` (B, C, H, W) and return all tensors of the step, including ``labels`` (B,).

    With ``low_precision``, the backbone runs in bfloat16. Head, output layer and loss always run in float32.
    """
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=low_precision):
        features = model.embed(inputs)
    features = features.float()
    latents = model.head(features)
    return Batch(features, latents, model.output(latents), labels)


def _batches(count: int, batch_size: int, seed: int, epoch: int, device: torch.device) -> tuple[Tensor, ...]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "order", epoch)))
    full = order[: steps_per_epoch(count, batch_size) * batch_size].to(device)
    batches: tuple[Tensor, ...] = full.split(batch_size)
    return batches

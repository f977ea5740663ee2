"""Check the arguments of an attack function once, and run its searches.

The project's own attacks are plain functions of a model and tensors. This module contains their common steps: checks of
images, labels, budget and integer arguments, the keys of the random numbers, evaluation mode, and the loop over stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from bench.attacks.engine.counter_rng import SampleRng
from bench.attacks.engine.fast_model import report_stage
from bench.attacks.engine.minimal_norm import nearest
from bench.attacks.engine.query_budget import QueryBudget
from bench.attacks.engine.run_search import run_search
from bench.attacks.engine.search import Samples, Search, take, without_inference_mode
from bench.attacks.engine.untouched import untouched
from bench.attacks.gradients import logits_at
from bench.core.epsilon import check_eps
from bench.core.errors import BenchError, CellFailure
from bench.core.specs import Norm
from bench.core.vocabulary import NORMS
from bench.core.words import join
from bench.runtime.torch_state import harness_torch_state

DEFAULT_BATCH = 128

Ids = Sequence[str] | Sequence[int]


@dataclass(frozen=True)
class AttackCall:
    """The checked arguments of one call of an attack function."""

    model: nn.Module
    samples: Samples  # ``samples.ranking`` is the label, followed by the target class in a targeted attack
    norm: Norm
    targeted: bool
    batch_size: int
    query_budget: QueryBudget | None

    @cached_property
    def ranking(self) -> Tensor:
        """Classes of every clean image in descending order of their logits, (N, K).

        The computation costs one forward pass per image. Classes with equal logits are in ascending order.
        """
        inputs = self.samples.inputs
        with torch.no_grad():
            logits = torch.cat([logits_at(self.model, part) for part in inputs.split(self.batch_size)])
        return logits.argsort(dim=1, descending=True, stable=True)

    def run(self, *searches: Search, ranked: bool = False, stages: Sequence[str] = ()) -> Tensor:
        """Run ``searches`` one after the other, each on the images that are not adversarial yet.

        Return the adversarial images, or the clean images where none was found: (N, C, H, W). If ``ranked``, the
        samples have the :attr:`ranking`, unless the attack is targeted. The query budget is charged one forward pass
        for it in both cases. ``stages`` are the names of the searches, for the report of an ensemble.
        """
        samples = self._samples(ranked=ranked)
        labels, batch_size = samples.labels, self.batch_size
        adversarials, remaining = samples.inputs.clone(), torch.arange(len(samples), device=labels.device)
        allowance, truncated = self._allowance(spent=int(ranked)), torch.zeros_like(labels, dtype=torch.bool)
        for search, stage in zip(searches, stages or [""] * len(searches), strict=True):
            if not len(remaining):
                break
            bound = None if allowance is None else allowance[remaining]
            result = run_search(search, self.model, take(samples, remaining), batch_size=batch_size, allowance=bound)
            if allowance is not None:
                allowance[remaining] -= result.n_queries
            truncated[remaining] = result.truncated
            adversarials[remaining[result.success]] = result.adversarials[result.success]
            if stage:
                report_stage(self.model, stage, len(remaining), int(result.success.sum()))
            remaining, batch_size = remaining[~result.success], result.batch_size
        if self.query_budget is not None:
            self.query_budget.truncated = truncated
        return adversarials

    def run_to_nearest(self, search: Search, *, ranked: bool = False) -> Tensor:
        """Run ``search`` to its end and return the nearest adversarial images, or the clean images: (N, C, H, W).

        Raises BenchError with a query budget, and CellFailure("nan_logits") if the model returned NaN or infinity.
        """
        if self.query_budget is not None:
            raise BenchError("a query budget needs eps, the distance within which the search may stop; give eps, too.")
        samples, points = self._samples(ranked=ranked), []
        for index in self._parts():
            part = nearest(search, self.model, take(samples, index), norm=self.norm, targeted=self.targeted)
            if part.stopped.any():
                raise CellFailure("nan_logits", "the model returned NaN or infinite logits to the attack.")
            points.append(part.points)
        return torch.cat(points) if points else samples.inputs.clone()

    def _parts(self) -> Sequence[Tensor]:
        """Return the positions of the samples in batches; empty without samples."""
        positions = torch.arange(len(self.samples), device=self.samples.labels.device)
        return positions.split(self.batch_size) if len(positions) else ()

    def _samples(self, *, ranked: bool) -> Samples:
        """Return the samples, with the ranking of their classes if ``ranked`` and the attack is untargeted."""
        needs_no_ranking = self.targeted or not len(self.samples)
        return replace(self.samples, ranking=self.ranking) if ranked and not needs_no_ranking else self.samples

    def _allowance(self, *, spent: int) -> Tensor | None:
        """Return the number of queries left for every image, (N,) int64; None without a budget."""
        if self.query_budget is None:
            return None
        return torch.full_like(self.samples.labels, max(self.query_budget.per_image - spent, 0))


@contextmanager
def attack_call(
    attack: str,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    eps: float | None,
    norms: Sequence[str] = NORMS,
    targets: Tensor | None = None,
    rng: int | SampleRng = 0,
    ids: Ids | None = None,
    batch_size: int | None = DEFAULT_BATCH,
    query_budget: QueryBudget | None = None,
    counts: Mapping[str, int] | None = None,
) -> Iterator[AttackCall]:
    """Check the arguments, and set evaluation mode and torch's state for an evaluation inside the context.

    ``counts`` are the integer arguments of the attack, such as steps, which must be at least 1. On exit, the model is
    restored, see :func:`~bench.attacks.engine.untouched.untouched`. Raises BenchError for an invalid argument.
    """
    _check_images(attack, inputs, labels, targets)
    if norm not in norms:
        raise BenchError(f"{attack} does not support the norm {norm!r}; it supports {join(list(norms), 'or')}.")
    if eps is not None:
        check_eps(eps, norm)
    for name, count in {**(counts or {}), **({} if batch_size is None else {"batch_size": batch_size})}.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise BenchError(f"{attack}: {name} is {count!r}; it must be a whole number of 1 or more.")
    inputs, labels = inputs.detach(), labels.to(inputs.device, torch.int64)
    ranking = labels[:, None] if targets is None else torch.stack((labels, targets.to(labels)), 1)
    samples = Samples(inputs, labels, _keys(attack, rng, ids, inputs), ranking)
    size = max(len(inputs), 1) if batch_size is None else batch_size
    with harness_torch_state(), untouched(model):
        yield AttackCall(model, without_inference_mode(samples), norm, targets is not None, size, query_budget)


def _check_images(attack: str, inputs: Tensor, labels: Tensor, targets: Tensor | None) -> None:
    if not isinstance(inputs, Tensor) or inputs.ndim != 4 or inputs.dtype not in (torch.float32, torch.float64):
        raise BenchError(f"{attack} needs images (N, C, H, W) of float32 or float64, not {_shape(inputs)}.")
    for name, classes in (("labels", labels), *((("targets", targets),) if targets is not None else ())):
        if not isinstance(classes, Tensor) or classes.shape != inputs.shape[:1] or _not_integer(classes):
            raise BenchError(
                f"{attack} needs {name} of whole numbers and shape ({len(inputs)},), one per image, "
                f"not {_shape(classes)}."
            )
    pixels = inputs.detach()
    if pixels.numel() and not (float(pixels.amin()) >= 0 and float(pixels.amax()) <= 1):  # NaN fails, too
        raise BenchError(
            f"{attack} needs images in [0, 1]; these range from {float(pixels.amin()):g} to {float(pixels.amax()):g}. "
            "Scale them, and make the normalisation the first layer of the model."
        )
    if labels.numel() and int(labels.amin()) < 0:
        raise BenchError(f"{attack}: label {int(labels.amin())} is negative; labels are classes 0…K−1.")
    if targets is not None and bool((targets.to(labels.device) == labels).any()):
        raise BenchError(f"{attack}: a target class equals the label of its image; choose another class.")


def _not_integer(classes: Tensor) -> bool:
    return classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool


def _shape(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"an object of type {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _keys(attack: str, rng: int | SampleRng, ids: Ids | None, inputs: Tensor) -> Tensor:
    """Return the key of every sample, (N,) int64: by default from a seed and the positions 0…N−1."""
    if isinstance(rng, SampleRng):
        if ids is not None:
            raise BenchError(f"{attack}: got both ids and a SampleRng, which has its own ids; give only one of them.")
    else:
        names = range(len(inputs)) if ids is None else ids
        rng = SampleRng(rng, attack, [str(name) for name in names], inputs.device)
    if len(rng) != len(inputs):
        raise BenchError(f"{attack}: {len(rng)} sample ids for {len(inputs)} images; give one per image.")
    return rng.keys().to(inputs.device)

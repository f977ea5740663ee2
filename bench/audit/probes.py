"""Run the audit's own attacks. Each attack starts from the clean images. The results are verified as in a cell."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bench.attacks.engine.counter_rng import SampleRng, derive
from bench.attacks.geometry.norms import sample_sphere
from bench.attacks.gradients import differentiate
from bench.attacks.registry import resolve
from bench.attacks.transfer import transfer_images
from bench.audit import checks
from bench.audit.checks import Misclassified, any_of
from bench.audit.levels import Level
from bench.audit.neighbours import neighbours, points_towards
from bench.core.errors import CellFailure
from bench.core.specs import EvalSpec, Norm
from bench.core.vocabulary import STANDARD
from bench.data.tensors import Images, as_inputs, spread
from bench.evaluation.adversarials import in_ball, quantised
from bench.evaluation.attack_runner import attack_all
from bench.evaluation.cell import CellInput, Outcomes
from bench.evaluation.cell_stats import CellStats
from bench.evaluation.fast_model import SearchModels
from bench.evaluation.pass_counter import CountingModel
from bench.evaluation.verify import predict, verified
from bench.results.audit_verdict import GAP, GREY, TRANSFER
from bench.runtime.progress import Progress


class Rescaled(nn.Module):
    """Wrapper that divides the logits by a constant. Predictions stay equal, gradients of the cross-entropy change."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W), divided by the scale."""
        logits: Tensor = self.model(inputs)
        return logits / self.scale


GRADIENT_IMAGES = 8  # number of images on which the audit tests whether the model is differentiable


@dataclass
class AuditAttacker:
    """Attacks on one model with fixed images. ``context`` has the frozen model and the images. Passes are counted."""

    context: CellInput
    seed: int
    batch_size: int
    progress: Progress
    candidates: Images  # training images, as targets for images of other classes
    forwards: int = 0
    backwards: int = 0
    _search_models: dict[float, SearchModels] = field(default_factory=dict)

    def clean(self) -> Misclassified:
        """Return which images are misclassified without an attack."""
        batches = torch.arange(len(self.context.images)).split(self.batch_size)
        parts = [self._predict(inputs) for inputs, _ in self.context.images.batches(batches, self.context.device)]
        return np.asarray(torch.cat(parts) != self.context.images.labels)

    @cached_property
    def gives_gradient(self) -> bool:
        """True if the model is differentiable with respect to its input, with finite gradients."""
        sample = spread(torch.arange(len(self.context.images)), GRADIENT_IMAGES)
        try:
            result = differentiate(self.context.model, self.inputs(sample), lambda logits: logits.sum(1))
        except CellFailure as failure:
            if failure.reason != "no_gradient":
                raise
            return False
        return bool(result.gradient.isfinite().all())

    def logit_gap(self, indices: Tensor) -> float:
        """Return the median of z_(1) − z_(2) at clean images, or GAP if the median is not positive and finite."""
        with torch.no_grad():
            batches = self.context.images.batches(indices.split(self.batch_size), self.context.device)
            parts = [self.context.model(inputs).float() for inputs, _ in batches]
        self.forwards += len(indices)
        top = torch.cat(parts).topk(2, dim=1).values
        gap = float((top[:, 0] - top[:, 1]).median())
        return gap if 0 < gap < float("inf") else GAP

    def attack(
        self,
        name: str,
        norm: Norm,
        eps: float,
        initial: Misclassified,
        *,
        scale: float = 1.0,
        queries: int | None = None,
    ) -> Misclassified:
        """Return which images are misclassified after the attack ``name``, including the ``initial`` ones.

        ``initial`` is the mask of the images that are misclassified before the attack. These images are not attacked.
        """
        return np.asarray(
            self._attacked(name, norm, eps, initial, scale, queries).adv_pred != self.context.images.labels
        )

    def attack_in_8_bits(
        self, name: str, norm: Norm, eps: float, initial: Misclassified
    ) -> tuple[Misclassified, float | None]:
        """Attack as :meth:`attack` does, and round the adversarial images to 8 bits.

        Return the misclassified images, and the share of the adversarial images that remain adversarial and inside the
        ball in 8 bits (None without adversarial images).
        """
        outcomes = self._attacked(name, norm, eps, initial, keep=True)
        n_8bit = 0
        for batch in outcomes.kept:
            inputs = self.inputs(batch.indices)
            rounded = quantised(inputs, batch.images.to(inputs.device), norm, eps)
            misclassified_8bit = self._predict(as_inputs(rounded)) != self.context.images.labels[batch.indices]
            n_8bit += int((misclassified_8bit & in_ball(inputs, rounded, norm, eps).cpu()).sum())
        n_float32 = sum(len(batch.indices) for batch in outcomes.kept)
        misclassified = np.asarray(outcomes.adv_pred != self.context.images.labels)
        return misclassified, n_8bit / n_float32 if n_float32 else None

    def _attacked(
        self,
        name: str,
        norm: Norm,
        eps: float,
        initial: Misclassified,
        scale: float = 1.0,
        queries: int | None = None,
        *,
        keep: bool = False,
    ) -> Outcomes:
        keep = keep or scale != 1.0
        context = replace(self._rescaled(scale), save_adversarials="float32" if keep else "none")
        resolved = resolve(name)
        attack = resolved.spec(norm, eps, batch_size=self.batch_size, max_queries=queries)
        spec = EvalSpec(
            run_id="",
            data_sha="",
            attack=attack,
            protocol=STANDARD,
            limit=None,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        labels = context.images.labels
        outcomes = Outcomes.unattacked(torch.where(torch.from_numpy(initial), -1, labels), labels)
        stats = CellStats(batch_size=self.batch_size)
        remaining = torch.from_numpy(~initial).nonzero().squeeze(1)
        if len(remaining):
            attack_all(spec, attack, replace(context, entry=resolved.entry), remaining, outcomes, self.progress, stats)
        if scale != 1.0:
            self._predict_again(outcomes)
        self.forwards += stats.forwards
        self.backwards += stats.backwards
        return outcomes

    def _predict_again(self, outcomes: Outcomes) -> None:
        """Predict the adversarial images by the model without rescaling, because a division may make logits equal."""
        for batch in outcomes.kept:
            predicted = self._predict(batch.images.to(self.context.device))
            outcomes.adv_pred[batch.indices] = predicted

    def show(self, images: Tensor, indices: Tensor, norm: Norm, eps: float) -> Tensor:
        """Move ``images``, one per index, inside their balls. Return which of them are misclassified, (M,) bool."""
        inputs = self.inputs(indices)
        inside = verified(inputs, images, norm, eps)
        misclassified: Tensor = self._predict(inside) != self.context.images.labels[indices]
        return misclassified

    def noise(self, norm: Norm, eps: float, initial: Misclassified, draws: int) -> Misclassified:
        """Return which images are misclassified under random perturbations of full length, including ``initial``."""
        misclassified = initial.copy()
        for draw in range(draws):
            for part in self._remaining(misclassified):
                inputs = self.inputs(part)
                ids = [self.context.images.ids[i] for i in part.tolist()]
                keys = derive(SampleRng(self.seed, "noise", ids, self.context.device).keys(), "audit", draw)
                points = (inputs + sample_sphere(keys, tuple(inputs.shape[1:]), norm, eps).to(inputs)).clamp(0, 1)
                misclassified[part.numpy()] = self.show(points, part, norm, eps).numpy()
        return misclassified

    def neighbours(self, norm: Norm, eps: float, initial: Misclassified, count: int) -> Misclassified:
        """Return which images are misclassified after a step towards other classes, including ``initial``."""
        misclassified = initial.copy()
        for part in self._remaining(initial):
            indices = neighbours(self.context.images, part, self.candidates, count)
            for points in points_towards(self.inputs(part), self.candidates, indices, norm, eps):
                remaining = torch.from_numpy(~misclassified[part.numpy()])
                if remaining.any():
                    misclassified[part[remaining].numpy()] = self.show(
                        points[remaining], part[remaining], norm, eps
                    ).numpy()
        return misclassified

    def transfer(self, paired: nn.Module, norm: Norm, eps: float, initial: Misclassified, steps: int) -> Misclassified:
        """Attack the images on the baseline ``paired``. Return which the model misclassifies, including ``initial``.

        The passes through ``paired`` are counted, too.
        """
        counting, misclassified = CountingModel(paired), initial.copy()
        for part in self._remaining(initial):
            inputs, labels = self.inputs(part), self.labels(part)
            points = transfer_images(counting, inputs, labels, norm=norm, eps=eps, steps=steps)
            misclassified[part.numpy()] = self.show(points, part, norm, eps).numpy()
        self.count(counting)
        return misclassified

    def grey(self, norm: Norm, eps: float, initial: Misclassified) -> Misclassified:
        """Return which images are misclassified when replaced by one grey image, including ``initial``."""
        misclassified = initial.copy()
        for part in self._remaining(initial):
            points = torch.full_like(self.inputs(part), GREY)
            misclassified[part.numpy()] = self.show(points, part, norm, eps).numpy()
        return misclassified

    def count(self, model: CountingModel) -> None:
        """Add the passes through ``model`` to the totals."""
        self.forwards += model.forwards
        self.backwards += model.backwards

    def _remaining(self, misclassified: Misclassified) -> list[Tensor]:
        """Return the indices of the images that are not ``misclassified``, in batches."""
        indices = torch.from_numpy(~misclassified).nonzero().squeeze(1)
        return list(indices.split(self.batch_size)) if len(indices) else []

    def _rescaled(self, scale: float) -> CellInput:
        model = self.context.model if scale == 1.0 else Rescaled(self.context.model, scale).eval()
        if scale not in self._search_models:
            self._search_models[scale] = SearchModels(model, self.context.images.shape, self.context.device)
        return replace(self.context, model=model, search_models=self._search_models[scale])

    def inputs(self, indices: Tensor) -> Tensor:
        """Return the images (M, 3, H, W) in [0, 1] at ``indices`` (M,), on the device of the model."""
        return self.context.images.inputs(indices, self.context.device)

    def labels(self, indices: Tensor) -> Tensor:
        """Return the labels (M,) at ``indices`` (M,), on the device of the model."""
        return self.context.images.labels[indices].to(self.context.device)

    def _predict(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        parts = images.split(self.batch_size)
        return torch.cat([predict(self.context.model, part, self.context.num_classes).cpu() for part in parts])


def reach(norm: Norm, image_shape: tuple[int, ...]) -> float:
    """Return the smallest budget whose ball around any image in [0, 1] contains the grey image."""
    size = math.prod(image_shape)
    return {"linf": GREY, "l2": GREY * math.sqrt(size), "l1": GREY * size}[norm]


def _without_gradients(
    attacker: AuditAttacker, level: Level, norm: Norm, eps: float, excluded: Misclassified, paired: nn.Module | None
) -> dict[str, Misclassified]:
    """Run the attacks without gradients of the model on the images outside the mask ``excluded``."""
    outcomes = {checks.NOISE: attacker.noise(norm, eps, excluded, level.draws)}
    outcomes[checks.NEIGHBOURS] = attacker.neighbours(norm, eps, excluded, level.neighbours)
    outcomes[checks.SQUARE] = attacker.attack("square", norm, eps, excluded, queries=level.queries)
    if paired is not None:
        outcomes[TRANSFER] = attacker.transfer(paired, norm, eps, excluded, level.transfer_steps)
    return outcomes


class Probes(NamedTuple):
    """Outcomes of every attack of the audit, by name.

    ``misclassified`` includes images that were misclassified before the attack, clean or under other attacks. ``own``
    has only the images that were correctly classified before the attack.
    """

    misclassified: dict[str, Misclassified]
    own: dict[str, Misclassified]
    broken_8bit: float | None  # share of PGD's adversarial images that remain adversarial in 8 bits
    reach: float  # the large budget

    def within(self, eps: float) -> dict[str, Misclassified]:
        """Return ``own`` without the attacks at the large budget, unless that budget is at most ``eps``."""
        outside = (checks.LARGE, checks.GREY) if self.reach > eps else ()
        return {name: mask for name, mask in self.own.items() if name not in outside}


def probe(
    attacker: AuditAttacker,
    level: Level,
    norm: Norm,
    eps: float,
    initial: Misclassified,
    misclassified: Misclassified,
    paired: nn.Module | None,
) -> Probes:
    """Run all attacks of the audit at one budget.

    ``initial`` is the mask of images that are misclassified clean. ``misclassified`` is the mask of images that are
    misclassified under the gradient attacks of the suite.

    Attacks without gradients run on the images on which every gradient attack failed. Only these images can show that
    the gradients mislead. A model without gradients is attacked only by attacks without gradients.
    """
    if not attacker.gives_gradient:
        excluded = any_of(initial, misclassified)
        outcomes = _without_gradients(attacker, level, norm, eps, excluded, paired)
        return Probes(outcomes, {name: mask & ~excluded for name, mask in outcomes.items()}, None, 0.0)
    correct = torch.from_numpy(~initial).nonzero().squeeze(1)
    gap = attacker.logit_gap(correct) / GAP if len(correct) else 1.0
    steps, outcomes = level.steps, {}
    outcomes[checks.PLAIN] = attacker.attack(f"pgd-plain-{steps}", norm, eps, initial)
    outcomes[checks.RESCALED] = attacker.attack(f"pgd-plain-{steps}", norm, eps, initial, scale=gap)
    outcomes[checks.LONGER] = attacker.attack(f"pgd-plain-{2 * steps}", norm, eps, initial, scale=gap)
    outcomes[checks.MARGIN], broken_8bit = attacker.attack_in_8_bits(f"pgd-margin-{steps}", norm, eps, initial)
    excluded = any_of(misclassified, *outcomes.values())
    outcomes |= _without_gradients(attacker, level, norm, eps, excluded, paired)
    large = reach(norm, attacker.context.images.shape)
    outcomes[checks.LARGE] = attacker.attack(f"pgd-margin-{steps}", norm, large, initial)
    outcomes[checks.GREY] = attacker.grey(norm, large, outcomes[checks.LARGE])
    before = dict.fromkeys((*checks.BLACK_BOX, TRANSFER), excluded) | {checks.GREY: outcomes[checks.LARGE]}
    own_outcomes = {name: misclassified & ~before.get(name, initial) for name, misclassified in outcomes.items()}
    return Probes(outcomes, own_outcomes, broken_8bit, large)

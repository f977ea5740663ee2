"""Latent point collapse against its formulas: the loss by hand, the published schedule, the short one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from bench.core.errors import BenchError
from bench.core.specs import VariantSpec
from bench.models.auxiliary_losses import Batch
from bench.models.objective import Objective
from bench.models.schedules import (
    GAMMA_END,
    SCHEDULES,
    TARGET_MARGIN,
    StepStats,
    TrainingFacts,
    balanced_gamma,
    short,
    two_phase,
)

FACTS = TrainingFacts(epochs=30, steps_per_epoch=10, lr=2e-3, num_classes=10, latent_dim=64)


def gamma_of(name: str) -> Callable[[int], float]:
    """γ by epoch, as the training loop asks for it: the first step, then one step after another."""

    def gamma(epoch: int) -> float:
        entry = SCHEDULES.get(name)
        state = entry.start(FACTS)
        for following in range(2, epoch + 1):
            state = entry.advance(state, StepStats(margin=0.0, next_epoch=following), FACTS)
        return state.gamma

    return gamma


@pytest.mark.parametrize(
    ("epoch", "gamma"),
    [(1, 2e-4), (5, 2e-4), (6, 4e-4), (116, 1e3), (117, 1250), (121, 1250), (122, 1562.5), (267, 1e6), (1000, 1e6)],
)
def test_published_gamma_on_cifar(epoch: int, gamma: float) -> None:
    assert gamma_of("paper_cifar")(epoch) == pytest.approx(gamma)


@pytest.mark.parametrize(("first", "bound"), [(66, 1.0), (81, 10.0), (116, 1e3), (167, 1e4), (267, 1e6)])
def test_published_gamma_reaches_its_marks_when_published(first: int, bound: float) -> None:
    gamma = gamma_of("paper_cifar")
    assert gamma(first - 1) < bound <= gamma(first)


@pytest.mark.parametrize(("epoch", "gamma"), [(1, 2e-4), (2, 4e-4), (24, 1e3), (25, 1250), (55, 1e6), (200, 1e6)])
def test_published_gamma_on_imagenet(epoch: int, gamma: float) -> None:
    assert gamma_of("paper_imagenet")(epoch) == pytest.approx(gamma)
    assert gamma_of("paper_imagenet")(54) < 1e6


@pytest.mark.parametrize(("end", "first"), [(6e5, 257), (8e5, 262), (1.2e6, 272)])
def test_published_gamma_with_other_ends(end: float, first: int) -> None:
    gamma = [two_phase(epoch, every=5, ends=(1e3, end)) for epoch in range(1, 300)]
    assert gamma.index(end) + 1 == first


def test_gamma_is_constant_inside_five_epochs_and_never_falls() -> None:
    gamma = [two_phase(epoch, every=5) for epoch in range(1, 400)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(gamma))
    assert len({round(g, 12) for g in gamma}) == 24 + 31


def test_short_gamma_solves_the_balance() -> None:
    """Put back into equation (1) of bench.models.schedules, the margin is the wanted one."""
    epoch = 21
    gamma = short(epoch, FACTS)
    weight = FACTS.lr * (epoch - 1) * FACTS.steps_per_epoch
    classes, width = FACTS.num_classes, FACTS.latent_dim
    margin_per_length = weight * math.sqrt(width) * classes / (classes - 1)
    right = (classes - 1) * margin_per_length**2 * width / (2 * gamma)
    assert TARGET_MARGIN * (math.exp(TARGET_MARGIN) + classes - 1) == pytest.approx(right)


def test_balance_is_the_minimum_of_the_loss() -> None:
    """Along z = r·(a vertex) with hypercube weights, CE + γ·mean(z²) is least at the margin that equation (1) gives."""
    width, weight = 8, 3.0
    hadamard = torch.tensor([[1.0]])
    while len(hadamard) < width:
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    rows = torch.cat([hadamard, -hadamard]).double()  # 16 classes on vertices that add up to zero
    logits_of = weight * rows
    facts = TrainingFacts(epochs=1, steps_per_epoch=1, lr=1.0, num_classes=16, latent_dim=width)
    gamma = balanced_gamma(weight, facts)
    radius = torch.linspace(0.01, 1.5, 3000, dtype=torch.float64)
    latents = radius[:, None] * rows[0] / math.sqrt(width)
    loss = torch.nn.functional.cross_entropy(
        latents @ logits_of.T, torch.zeros(3000, dtype=torch.long), reduction="none"
    )
    best = radius[(loss + gamma * latents.square().mean(1)).argmin()]
    margin = weight * math.sqrt(width) * best * 16 / 15
    assert margin == pytest.approx(TARGET_MARGIN, abs=0.15)  # (1) takes all wrong logits as equal


def test_short_gamma_starts_at_zero_and_stops_at_the_published_end() -> None:
    assert short(1, FACTS) == 0
    assert short(10**9, FACTS) == GAMMA_END


def test_loss_by_hand() -> None:
    """A 3 × 4 latent: the penalty is a mean over all twelve numbers, not a sum over the width."""
    latents = torch.tensor([[1.0, -2.0, 0.0, 3.0], [0.5, 0.5, -0.5, 0.5], [0.0, 0.0, 2.0, -1.0]])
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    labels = torch.tensor([0, 0, 1])
    squares = (1 + 4 + 0 + 9) + (0.25 * 4) + (0 + 0 + 4 + 1)
    entropy = math.log1p(math.exp(-2)) + math.log1p(math.exp(1)) + math.log(2)
    variant = VariantSpec(head="linear", latent_dim=4, penalty="mean_square", schedule="short")
    objective = Objective(variant, FACTS, latent_dim=4)
    loss = objective.loss(Batch(latents, latents, logits, labels), gamma=10.0, epoch=1)
    assert loss.item() == pytest.approx(entropy / 3 + 10.0 * squares / 12, rel=1e-6)


def test_baseline_has_no_penalty() -> None:
    logits, latents, labels = torch.randn(3, 2), torch.full((3, 4), 1e6), torch.tensor([0, 1, 0])
    objective = Objective(VariantSpec(), FACTS, latent_dim=4)
    assert objective.start().gamma == objective.advance(objective.start(), StepStats(9.0, 2)).gamma == 0
    assert objective.per_sample(1.0) is None
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert objective.loss(Batch(latents, latents, logits, labels), gamma=1.0, epoch=20) == expected


def test_gamma_on_a_sample_is_divided_by_the_width() -> None:
    """γ multiplies a mean: what 10⁶ puts on one ‖z‖² at the published widths."""
    expected = {64: 15625, 128: 7812.5, 32: 31250, 512: 1953.125}
    for width, weight in expected.items():
        variant = VariantSpec(penalty="mean_square", schedule="short")
        assert Objective(variant, FACTS, latent_dim=width).per_sample(1e6) == weight
    l1 = Objective(VariantSpec(penalty="mean_l1", schedule="constant", gamma=1e-4), FACTS, latent_dim=64)
    assert l1.per_sample(1e-4) == 1e-4


@pytest.mark.parametrize("variant", [VariantSpec(penalty="mean_square"), VariantSpec(schedule="short")])
def test_a_penalty_and_a_schedule_need_each_other(variant: VariantSpec) -> None:
    with pytest.raises(BenchError, match="must have both a penalty and a schedule"):
        Objective(variant, FACTS, latent_dim=4)


def test_a_constant_weight_needs_its_value() -> None:
    objective = Objective(VariantSpec(penalty="mean_square", schedule="constant"), FACTS, latent_dim=4)
    with pytest.raises(BenchError, match="needs a gamma"):
        objective.start()


@pytest.mark.parametrize(
    ("schedule", "factor", "end", "last"),
    [("paper_2024_svhn", 1.03, 1e5, 102_123), ("paper_2024_cifar", 1.05, 1e6, 1_022_245)],
)
def test_published_gamma_of_2024_is_the_authors_loop(schedule: str, factor: float, end: float, last: float) -> None:
    """Their loop multiplies γ after an epoch as long as it is below the end, and does not clip it."""
    gamma, expected = gamma_of(schedule), 1e-2
    for epoch in range(1, 801):
        assert gamma(epoch) == pytest.approx(expected, rel=1e-12)
        expected = expected * factor if expected < end else expected
    assert round(gamma(800)) == last > end

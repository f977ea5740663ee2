"""Every penalty, criterion and term against a value by hand, a naive double loop, or finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.models.auxiliary_losses import TERMS, Batch, CenterLoss, SupervisedContrastive
from bench.models.losses import CRITERIA, arcface, arcface_ramp, cosface
from bench.models.outputs import CosineOutput
from bench.models.penalties import LARGEST_EXPONENT, PENALTIES, exp_mean_square, mean_l1, mean_square
from bench.models.schedules import TrainingFacts

LONG = TrainingFacts(epochs=1000, steps_per_epoch=10, lr=1e-3, num_classes=3, latent_dim=2)
SHORT = TrainingFacts(epochs=10, steps_per_epoch=10, lr=1e-3, num_classes=3, latent_dim=2)
LATENTS = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]], dtype=torch.float64)


def batch_of(latents: Tensor, labels: list[int], outputs: Tensor | None = None) -> Batch:
    return Batch(latents, latents, latents if outputs is None else outputs, torch.tensor(labels))


def check_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Central differences of a scalar function, in float64."""
    leaf = at.clone().requires_grad_()
    function(leaf).backward()
    assert leaf.grad is not None
    step = 1e-6
    for place in np.ndindex(*at.shape):
        shift = torch.zeros_like(at)
        shift[place] = step
        slope = (function(at + shift) - function(at - shift)) / (2 * step)
        assert float(leaf.grad[place]) == pytest.approx(float(slope), rel=1e-5, abs=1e-8)


def check_float32(function: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Check that the float32 gradient, used in training, is that of float64."""
    gradients = []
    for kind in (torch.float32, torch.float64):
        leaf = at.to(kind).requires_grad_()
        function(leaf).backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad.double())
    assert float((gradients[0] - gradients[1]).norm()) <= 1e-4 * float(gradients[1].norm())


@pytest.mark.parametrize(
    ("penalty", "value"),
    [
        (mean_square, (1 + 4 + 0.25 + 0 + 9 + 1) / 6),
        (exp_mean_square, math.exp((1 + 4 + 0.25 + 0 + 9 + 1) / 6)),
        (mean_l1, (3.5 + 4.0) / 2),
    ],
)
def test_penalties_by_hand(penalty: Callable[[Tensor], Tensor], value: float) -> None:
    assert float(penalty(LATENTS)) == pytest.approx(value)


@pytest.mark.parametrize("name", [n for n in PENALTIES if PENALTIES.origin(n) == "bench.models.penalties"])
def test_gradients_of_penalties(name: str) -> None:
    latents = torch.randn(4, 3, dtype=torch.float64)
    check_gradient(PENALTIES.get(name).function, latents)
    for scale in (1e-3, 0.1, 1.0, 3.0):
        check_float32(PENALTIES.get(name).function, scale * latents)


def test_the_exponential_goes_on_along_its_tangent() -> None:
    square = 30.0
    latents = torch.full((2, 2), math.sqrt(square), dtype=torch.float64)
    top = math.exp(LARGEST_EXPONENT)
    assert float(exp_mean_square(latents)) == pytest.approx(top * (1 + square - LARGEST_EXPONENT))
    check_gradient(exp_mean_square, latents)
    assert torch.isfinite(exp_mean_square(torch.full((2, 2), 1e4)))


@pytest.mark.parametrize(
    ("epoch", "scale", "margin"), [(1, 16, 0.1), (2, 17, 0.11), (41, 56, 0.5), (49, 64, 0.5), (900, 64, 0.5)]
)
def test_the_published_ramp_of_arcface(epoch: int, scale: float, margin: float) -> None:
    assert arcface_ramp(epoch, LONG) == pytest.approx((scale, margin))


def test_a_short_training_runs_through_the_whole_ramp() -> None:
    assert arcface_ramp(1, SHORT) == (16.0, 0.1)
    assert arcface_ramp(6, SHORT) == (64.0, 0.5)
    assert arcface_ramp(3, SHORT)[0] == pytest.approx(16 + 2 * 9.6)


def test_arcface_by_hand() -> None:
    """The label's angle grows by m before the scaled softmax."""
    angles = torch.tensor([[0.4, 1.2, 2.0]], dtype=torch.float64)
    scale, margin = arcface_ramp(30, LONG)
    logits = [scale * math.cos(0.4), scale * math.cos(1.2 + margin), scale * math.cos(2.0)]
    expected = math.log(sum(math.exp(v) for v in logits)) - logits[1]
    assert float(arcface(16 * angles.cos(), torch.tensor([1]), 30, LONG)) == pytest.approx(expected)


def test_arcface_keeps_falling_where_the_angle_would_pass_pi() -> None:
    angles = torch.linspace(1.5, math.pi - 0.01, 200, dtype=torch.float64)
    losses = [
        float(arcface(16 * torch.stack([a.cos(), a.cos() * 0])[None], torch.tensor([0]), 1000, LONG)) for a in angles
    ]
    assert np.all(np.diff(losses) > 0)


def test_cosface_by_hand() -> None:
    cosines = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    logits = [32 * (0.3 - 0.25), 32 * -0.2]
    expected = math.log(sum(math.exp(v) for v in logits)) - logits[0]
    assert float(cosface(16 * cosines, torch.tensor([0]), 1, LONG)) == pytest.approx(expected)


def test_label_smoothing_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    target = torch.tensor([[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]], dtype=torch.float64)
    expected = -(target * logits.log_softmax(1)).sum()
    smoothed = CRITERIA.get("label_smoothing").function
    assert float(smoothed(logits, torch.tensor([0]), 1, LONG)) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", list(CRITERIA))
def test_gradients_of_criteria(name: str) -> None:
    outputs = torch.randn(4, 3, dtype=torch.float64).tanh() * 14
    labels = torch.tensor([0, 2, 1, 1])
    check_gradient(lambda o: CRITERIA.get(name).function(o, labels, 20, LONG), outputs)
    check_float32(lambda o: CRITERIA.get(name).function(o, labels, 20, LONG), outputs)


def test_cosine_outputs_are_cosines_whatever_the_lengths() -> None:
    layer = CosineOutput(4, 3)
    latents = torch.randn(5, 4)
    expected = 16 * nn.functional.cosine_similarity(latents[:, None], layer.weight[None], dim=2)
    assert torch.allclose(layer(latents), expected, atol=1e-5)
    assert torch.allclose(layer(latents), layer(1000 * latents), atol=1e-5)


def naive_contrastive(features: Tensor, labels: list[int], temperature: float = 0.05) -> float:
    """Khosla et al., eq. (2), as it is written."""
    unit = (features / features.norm(dim=1, keepdim=True)).tolist()
    count, losses = len(labels), []
    for i in range(count):
        positives = [p for p in range(count) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        similar = [math.exp(sum(a * b for a, b in zip(unit[i], other, strict=True)) / temperature) for other in unit]
        total = sum(s for a, s in enumerate(similar) if a != i)
        losses.append(-sum(math.log(similar[p] / total) for p in positives) / len(positives))
    return sum(losses) / len(losses)


def test_supervised_contrastive_is_the_papers_double_sum() -> None:
    features = torch.randn(7, 5, dtype=torch.float64)
    labels = [0, 0, 1, 2, 1, 1, 3]
    value = SupervisedContrastive()(batch_of(features, labels))
    assert float(value) == pytest.approx(naive_contrastive(features, labels), rel=1e-9)
    check_gradient(lambda h: SupervisedContrastive()(batch_of(h, labels)), features)
    check_float32(lambda h: SupervisedContrastive()(batch_of(h, labels)), features)


def test_supervised_contrastive_sees_features_and_not_latents() -> None:
    features, latents = torch.randn(4, 5), torch.randn(4, 2)
    labels = torch.tensor([0, 0, 1, 1])
    one = SupervisedContrastive()(Batch(features, latents, latents, labels))
    assert one == SupervisedContrastive()(Batch(features, -latents, latents, labels))


def test_a_batch_without_pairs_contrasts_nothing() -> None:
    features = torch.randn(3, 5, requires_grad=True)
    value = SupervisedContrastive()(batch_of(features, [0, 1, 2]))
    value.backward()
    assert value == 0
    assert features.grad is not None
    assert (features.grad == 0).all()


def test_centres_follow_their_class_as_published() -> None:
    """C ← c − ½·Σ(c − z)/(1 + n): from 0, two images at 3 move their centre to ½·6/3 = 1."""
    term = CenterLoss(1, 3).double()
    value = term(batch_of(torch.tensor([[3.0], [3.0], [-1.0]], dtype=torch.float64), [0, 0, 1]))
    assert float(value) == pytest.approx((9 + 9 + 1) / 6)
    assert term.centres.flatten().tolist() == pytest.approx([1.0, -0.25, 0.0])
    again = term(batch_of(torch.tensor([[3.0]], dtype=torch.float64), [0]))
    assert float(again) == pytest.approx(2.0)


@pytest.mark.parametrize("name", list(TERMS))
def test_terms_are_finite_and_leave_a_gradient(name: str) -> None:
    latents = torch.randn(6, 4, requires_grad=True)
    value = TERMS.get(name).build(4, 3)(batch_of(latents, [0, 0, 1, 1, 2, 2]))
    value.backward()
    assert torch.isfinite(value)
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0

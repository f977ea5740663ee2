"""Rivals of LPC against closed forms: smoothed labels, simplices, scatters, and the authors' contrastive loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.core.specs import VariantSpec
from bench.diagnostics.collapse import nc1
from bench.diagnostics.latents import Latents
from bench.models.adaptive_gamma import TARGET
from bench.models.auxiliary_losses import TERMS, Batch
from bench.models.losses import CRITERIA, matched_smoothing
from bench.models.outputs import FixedLengthOutput, SimplexOutput, simplex
from bench.models.schedules import TrainingFacts
from bench.models.variants import VARIANTS


def facts(num_classes: int) -> TrainingFacts:
    return TrainingFacts(epochs=10, steps_per_epoch=10, lr=1e-3, num_classes=num_classes, latent_dim=64)


def batch(
    latents: Tensor, labels: list[int], *, features: Tensor | None = None, outputs: Tensor | None = None
) -> Batch:
    return Batch(
        latents if features is None else features,
        latents,
        latents if outputs is None else outputs,
        torch.tensor(labels),
    )


RIVALS = {
    "label_smoothing_matched": VariantSpec(head="linear", latent_dim=64, criterion="label_smoothing_matched"),
    "center_loss_lin": VariantSpec(head="linear", latent_dim=64, term="center_loss", term_weight=0.003),
    "center_loss_lin_x10": VariantSpec(head="linear", latent_dim=64, term="center_loss", term_weight=0.03),
    "center_loss_lin_x100": VariantSpec(head="linear", latent_dim=64, term="center_loss", term_weight=0.3),
    "center_loss_lin_x1000": VariantSpec(head="linear", latent_dim=64, term="center_loss", term_weight=3.0),
    "nc1_penalty": VariantSpec(head="linear", latent_dim=64, term="batch_nc1", term_weight=1.0),
    "simplex_etf": VariantSpec(head="linear", latent_dim=64, criterion="simplex_cross_entropy"),
    "normface": VariantSpec(head="linear", latent_dim=64, criterion="cosine_softmax"),
    "l2_softmax": VariantSpec(head="linear", latent_dim=64, criterion="l2_softmax"),
    "logit_squeezing": VariantSpec(head="linear", latent_dim=64, term="logit_squeezing", term_weight=0.5),
}


@pytest.mark.parametrize("name", list(RIVALS))
def test_a_rival_is_what_its_source_has(name: str) -> None:
    assert VARIANTS.get(name).spec == RIVALS[name]


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_matched_smoothing_has_its_minimum_at_the_target_margin(num_classes: int) -> None:
    criterion = CRITERIA.get("label_smoothing_matched").function

    def loss(margin: float) -> float:
        logits = torch.zeros(1, num_classes, dtype=torch.float64)
        logits[0, 0] = margin
        return float(criterion(logits, torch.tensor([0]), 1, facts(num_classes)))

    best = minimize_scalar(loss, bounds=(0, 20), method="bounded", options={"xatol": 1e-7})
    assert best.x == pytest.approx(TARGET, abs=1e-4)


def test_matched_smoothing_of_ten_classes_is_the_published_pilots() -> None:
    assert matched_smoothing(3.0, 10) == pytest.approx(10 / (math.e**3 + 9))
    assert round(matched_smoothing(3.0, 10), 2) == 0.34


@pytest.mark.parametrize(("classes", "dimensions"), [(2, 1), (3, 2), (10, 9), (10, 64), (65, 64)])
def test_simplex_weights_are_an_equiangular_tight_frame(classes: int, dimensions: int) -> None:
    weights = simplex(classes, dimensions).double()
    assert weights.shape == (classes, dimensions)
    expected = torch.eye(classes) * (1 + 1 / (classes - 1)) - 1 / (classes - 1)
    assert torch.allclose(weights @ weights.T, expected.double(), atol=1e-6)


def test_simplex_weights_are_stored_and_not_trained() -> None:
    torch.manual_seed(0)
    layer = SimplexOutput(4, 3)
    assert list(layer.parameters()) == []
    assert set(layer.state_dict()) == {"weight"}
    other = SimplexOutput(4, 3)
    assert not torch.equal(other.weight, layer.weight)
    other.load_state_dict(layer.state_dict())
    latents = torch.randn(5, 4)
    assert torch.equal(layer(latents), other(latents))
    assert torch.allclose(layer(latents), latents @ layer.weight.T)


def test_a_simplex_that_does_not_fit_is_refused_with_the_width_that_does() -> None:
    with pytest.raises(
        BenchError, match=r"simplex of 100 classes needs at least 99 latents.* has 64; set --latent-dim"
    ):
        SimplexOutput(64, 100)


def test_latents_of_fixed_length_have_it_whatever_they_were() -> None:
    layer = FixedLengthOutput(4, 3)
    latents = torch.randn(5, 4)
    weights, bias = layer.linear.weight, layer.linear.bias
    expected = 16 * latents / latents.norm(dim=1, keepdim=True) @ weights.T + bias
    assert torch.allclose(layer(latents), expected, atol=1e-5)
    assert torch.allclose(layer(latents), layer(1e-3 * latents), atol=1e-5)


def test_normface_is_the_cross_entropy_of_scaled_cosines() -> None:
    entry = CRITERIA.get("cosine_softmax")
    outputs = torch.tensor([[16 * 0.5, 16 * -0.25]], dtype=torch.float64)
    assert entry.output == "cosine"
    assert float(entry.function(outputs, torch.tensor([0]), 1, facts(2))) == pytest.approx(math.log1p(math.exp(-12)))


def batch_nc1(latents: Tensor, labels: list[int], classes: int) -> float:
    return float(TERMS.get("batch_nc1").build(latents.shape[1], classes)(batch(latents, labels)))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_nc1_of_a_batch_is_nc1_on_a_simplex(classes: int) -> None:
    """MMᵀ has K − 1 equal eigenvalues λ; ρ = 1e-3·λ(K − 1)/K divides the value by (1 + ρ/λ)²."""
    torch.manual_seed(0)
    means = 3 * simplex(classes, 12).double()
    z = (means[:, None] + torch.randn(classes, 8, 12, dtype=torch.float64)).reshape(-1, 12)
    labels = np.repeat(np.arange(classes), 8)
    z -= torch.stack([z[labels == c].mean(0) - means[c] for c in range(classes)])[labels]  # the means are exact
    expected = nc1(Latents(z.numpy(), labels, classes)).value / (1 + 1e-3 * (classes - 1) / classes) ** 2
    assert batch_nc1(z, labels.tolist(), classes) == pytest.approx(expected, rel=1e-6)


def test_the_nc1_of_a_batch_is_nc1_of_balanced_classes_up_to_the_regularisation() -> None:
    torch.manual_seed(1)
    labels = np.tile(np.arange(5), 20)
    z = 3 * torch.randn(5, 12, dtype=torch.float64)[labels] + torch.randn(100, 12, dtype=torch.float64)
    value = nc1(Latents(z.numpy(), labels, 5)).value
    assert batch_nc1(z, labels.tolist(), 5) == pytest.approx(value, rel=0.02)
    assert batch_nc1(1e-3 * z, labels.tolist(), 5) == pytest.approx(batch_nc1(z, labels.tolist(), 5), rel=1e-6)
    assert batch_nc1(z, labels.tolist(), 9) == pytest.approx(batch_nc1(z, labels.tolist(), 5), rel=1e-6), (
        "absent classes"
    )


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 5], [1] * 6])
def test_the_nc1_of_a_batch_without_pairs_or_with_one_class_is_zero_with_a_gradient_of_zero(labels: list[int]) -> None:
    latents = torch.randn(6, 4, requires_grad=True)
    value = TERMS.get("batch_nc1").build(4, 7)(batch(latents, labels))
    value.backward()
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    assert latents.grad is not None
    assert float(latents.grad.abs().max()) == pytest.approx(0, abs=1e-6)


def test_the_gradient_of_the_nc1_of_a_batch_is_that_of_finite_differences() -> None:
    torch.manual_seed(2)
    term, labels = TERMS.get("batch_nc1").build(3, 4), [0, 1, 0, 1, 3, 3, 3]
    z = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda latents: term(batch(latents, labels)), (z,))


def test_logit_squeezing_is_the_mean_length() -> None:
    logits = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    assert float(TERMS.get("logit_squeezing").build(2, 2)(batch(logits, [0, 1]))) == pytest.approx((5 + 2) / 2)


def as_the_authors(features: Tensor, labels: list[int]) -> float:
    """The equation of the authors' code, image by image: maximum subtracted, 1e-8 added, the mean over all images."""
    unit = F.normalize(features)
    losses = []
    for i, label in enumerate(labels):
        scaled = unit @ unit[i] / 0.05
        scaled = scaled - scaled.max()
        others = [a for a in range(len(labels)) if a != i]
        floor = math.log(sum(math.exp(scaled[a]) for a in others) + 1e-8)
        partners = [p for p in others if labels[p] == label]
        losses.append(-sum(float(scaled[p]) - floor for p in partners) / (len(partners) + 1e-8))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("spread", [0.1, 10.0])
def test_the_authors_contrastive_loss_counts_images_without_a_partner(spread: float) -> None:
    torch.manual_seed(0)
    features = torch.randn(7, 5, dtype=torch.float64) * spread + torch.eye(7, 5, dtype=torch.float64)
    labels = [0, 0, 1, 2, 1, 1, 3]
    term = TERMS.get("supervised_contrastive_authors").build(5, 4)
    assert float(term(batch(features, labels))) == pytest.approx(as_the_authors(features, labels), rel=1e-7)


def test_the_authors_contrastive_loss_is_lower_by_the_share_of_images_with_a_partner() -> None:
    """100 balanced classes and a batch of 128: 1 − 0.99¹²⁷ = 0.72."""
    torch.manual_seed(0)
    features = torch.randn(128, 64)
    shares = []
    for _ in range(20):
        labels = torch.randint(100, (128,)).tolist()
        ours, theirs = (
            float(TERMS.get(name).build(64, 100)(batch(features, labels)))
            for name in ("supervised_contrastive", "supervised_contrastive_authors")
        )
        shares.append(theirs / ours)
    assert np.mean(shares) == pytest.approx(1 - 0.99**127, abs=0.02)


def test_the_variants_of_the_authors_use_their_contrastive_loss() -> None:
    terms = {name: VARIANTS.get(name).spec.term for name in ("scl", "lpc_scl", "scl_khosla")}
    assert terms == {
        "scl": "supervised_contrastive_authors",
        "lpc_scl": "supervised_contrastive_authors",
        "scl_khosla": "supervised_contrastive",
    }


def test_modules_of_rivals_are_what_tables_read() -> None:
    """NC3 and the Lipschitz bound are defined for linear output layers."""
    assert isinstance(SimplexOutput(4, 3), nn.Linear)
    assert type(SimplexOutput(4, 3)).forward is nn.Linear.forward

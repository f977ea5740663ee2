"""The bound of the head against all pairs, against sampled slopes, and under the rescaling that changes no function."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from bench.diagnostics.lipschitz import feature_bound, feature_slopes, head_lipschitz
from bench.models.classifier import Classifier, Normalize

SIDE, FEATURES, LATENTS, CLASSES = 4, 48, 6, 5


def classifier(head: nn.Module, output: nn.Module | None = None) -> Classifier:
    """The features are the normalised pixels."""
    width = FEATURES if isinstance(head, nn.Identity) else LATENTS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output = output or nn.Linear(width, CLASSES)
        for module in (*head.modules(), output):
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight)
    normalize = Normalize((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    return Classifier(normalize, nn.Flatten(), head, output).double()


def images(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, SIDE, SIDE, generator=generator).double(), torch.arange(count) % CLASSES


def silu_head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, LATENTS), nn.SiLU())


HEADS = {
    "none": nn.Identity,
    "linear": lambda: nn.Linear(FEATURES, LATENTS),
    "dropout": lambda: nn.Sequential(nn.Linear(FEATURES, LATENTS), nn.Dropout(0.5)),
    "silu": silu_head,
    "relu": lambda: nn.Sequential(nn.Linear(FEATURES, LATENTS), nn.ReLU()),
    "deep": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(FEATURES, 9), nn.Tanh()), nn.Linear(9, 7), nn.Identity(), nn.Linear(7, LATENTS)
    ),
    "activation first": lambda: nn.Sequential(nn.SiLU(), nn.Linear(FEATURES, LATENTS)),
}


def by_hand(rows: Tensor) -> float:
    return max((rows[i] - rows[j]).norm().item() for i, j in itertools.combinations(range(len(rows)), 2))


def test_a_linear_head_has_its_exact_constant() -> None:
    model = classifier(nn.Linear(FEATURES, LATENTS))
    assert feature_bound(model).value == pytest.approx(by_hand(model.output.weight @ model.head.weight), rel=1e-12)


def test_the_constant_of_a_linear_head_is_reached() -> None:
    """At an image whose margin is over the other class of the steepest pair."""
    model = classifier(nn.Linear(FEATURES, LATENTS))
    pixels, _ = images(400)
    labels = torch.randint(0, CLASSES, (400,), generator=torch.Generator().manual_seed(1))
    found = head_lipschitz(model, pixels, labels, batch_size=64)
    assert found.local_max.value == pytest.approx(found.bound.value, rel=1e-12)
    assert found.local_mean.value < found.local_max.value


def test_without_a_head_only_the_output_counts() -> None:
    model = classifier(nn.Identity())
    assert feature_bound(model).value == pytest.approx(by_hand(model.output.weight), rel=1e-12)


def test_dropout_counts_for_nothing() -> None:
    model = classifier(HEADS["dropout"]()).train()
    assert feature_bound(model).value == pytest.approx(by_hand(model.output.weight @ model.head[0].weight), rel=1e-12)
    pixels, labels = images(8)
    once, again = feature_slopes(model, pixels, labels, 8), feature_slopes(model, pixels, labels, 3)
    assert torch.allclose(once, again)


def test_the_slope_of_silu_is_its_largest() -> None:
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(nn.functional.silu(x).sum(), x)
    model = classifier(silu_head())
    spectral = torch.linalg.svdvals(model.head[0].weight)[0].item()
    constant = feature_bound(model).value / (spectral * by_hand(model.output.weight))
    assert constant >= float(slopes.abs().max())
    assert constant == pytest.approx(float(slopes.abs().max()), rel=1e-8)


@pytest.mark.parametrize("name", HEADS)
def test_no_slope_is_steeper_than_the_bound(name: str) -> None:
    """Neither a gradient at an image nor the chord between two features, however far apart."""
    model = classifier(HEADS[name]()).eval()
    found = head_lipschitz(model, *images(200), batch_size=64)
    assert 0 < found.local_mean.value <= found.local_max.value <= found.bound.value * (1 + 1e-12)
    assert found.n == 200
    generator = torch.Generator().manual_seed(2)
    for spread in (1e-3, 1.0, 100.0):
        one = spread * torch.randn(500, FEATURES, generator=generator).double()
        other = one + spread * torch.randn(500, FEATURES, generator=generator).double()
        with torch.no_grad():
            change = model.output(model.head(one)) - model.output(model.head(other))
        widest = (change.amax(1) - change.amin(1)) / (one - other).norm(dim=1)  # over all pairs of classes
        assert float(widest.max()) <= found.bound.value * (1 + 1e-12)


def test_adjacent_linear_layers_count_as_one() -> None:
    """Their product can be far smaller than the product of their norms."""
    first, second = nn.Linear(FEATURES, 2), nn.Linear(2, LATENTS)
    model = classifier(nn.Sequential(first, second))
    first.weight.data[1] = 0
    second.weight.data[:, 1] = 1e6
    assert feature_bound(model).value == pytest.approx(
        by_hand(model.output.weight @ second.weight @ first.weight), rel=1e-9
    )
    assert feature_bound(model).value < 1e3


@pytest.mark.parametrize("name", ["linear", "dropout", "deep"])
def test_smaller_latents_with_larger_weights_are_the_same_function(name: str) -> None:
    model, (pixels, labels) = classifier(HEADS[name]()).eval(), images(20)
    before = head_lipschitz(model, pixels, labels, batch_size=20)
    last = [module for module in model.head.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight *= 1e-4
        last.bias *= 1e-4
        model.output.weight /= 1e-4
    after = head_lipschitz(model, pixels, labels, batch_size=20)
    assert after.bound.value == pytest.approx(before.bound.value, rel=1e-9)
    assert after.local_max.value == pytest.approx(before.local_max.value, rel=1e-9)
    assert after.local_mean.value == pytest.approx(before.local_mean.value, rel=1e-9)


def test_what_all_classes_share_does_not_drown_their_differences() -> None:
    model = classifier(nn.Identity())
    expected = by_hand(model.output.weight)
    with torch.no_grad():
        model.output.weight *= 2.0**-30  # exact; rows of length 1 then differ by 1e-8
        model.output.weight += 1.0
    rounded = by_hand(model.output.weight)
    assert rounded == pytest.approx(2.0**-30 * expected, rel=1e-5)
    assert feature_bound(model).value == pytest.approx(rounded, rel=1e-12)


def test_a_parametrised_layer_counts_with_the_weight_it_has() -> None:
    model = classifier(nn.utils.parametrizations.spectral_norm(nn.Linear(FEATURES, LATENTS))).eval()
    assert feature_bound(model).value == pytest.approx(by_hand(model.output.weight @ model.head.weight), rel=1e-9)


class Cosine(nn.Linear):
    """A subclass of nn.Linear that is not linear."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of nn.Linear
        return nn.functional.linear(nn.functional.normalize(input), nn.functional.normalize(self.weight))


@pytest.mark.parametrize(
    ("head", "output", "word"),
    [
        (nn.Linear(FEATURES, LATENTS), Cosine(LATENTS, CLASSES), "Cosine"),
        (Cosine(FEATURES, LATENTS), None, "Cosine"),
        (nn.Sequential(nn.Linear(FEATURES, LATENTS), nn.Softsign()), None, "Softsign"),
        (nn.Linear(FEATURES, LATENTS), nn.Linear(LATENTS, 1), "single class"),
    ],
)
def test_what_has_no_known_bound_says_so(head: nn.Module, output: nn.Module | None, word: str) -> None:
    bound = feature_bound(classifier(head, output))
    assert math.isnan(bound.value)
    assert word in bound.reason


def test_cosine_logits_still_have_their_local_slopes() -> None:
    found = head_lipschitz(classifier(nn.Identity(), Cosine(FEATURES, CLASSES)), *images(10), batch_size=4)
    assert found.local_max.value > 0
    assert found.bound.reason


def test_weights_that_are_not_finite_have_a_reason() -> None:
    model = classifier(nn.Linear(FEATURES, LATENTS))
    model.head.weight.data[0, 0] = torch.nan
    found = head_lipschitz(model, *images(10), batch_size=4)
    assert "not finite" in found.bound.reason
    assert "10 of 10" in found.local_max.reason
    nobody = head_lipschitz(classifier(nn.Identity()), *images(0), batch_size=4)
    assert "no images" in nobody.local_mean.reason

"""The nearest adversarial image known: closed forms on linear models, verification, and censored images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks.ddn_attack import Ddn
from bench.attacks.engine.minimal_norm import Nearest, nearest
from bench.attacks.engine.search import Samples, Search
from bench.attacks.fab_attack import TargetedFab
from bench.attacks.fmn_attack import Fmn
from bench.diagnostics import nearest_distance
from bench.diagnostics.boundary import adversarial, lengths
from bench.diagnostics.deepfool_score import pixel_lengths
from bench.diagnostics.nearest_distance import NearestScores, nearest_distances, nearest_scores

SIDE, CLASSES = 6, 5


def linear(scale: float = 1.0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Logits scale·W(x − 1/2): every boundary passes through grey, so that near it the walls are far away."""
    weight = torch.randn(CLASSES, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layer = nn.Linear(weight.shape[1], CLASSES)
    layer.weight.data, layer.bias.data = scale * weight, -0.5 * scale * weight.sum(1)
    return nn.Sequential(nn.Flatten(), layer).to(dtype).eval().requires_grad_(False)


def images(count: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.5 + 0.03 * torch.randn(count, 3, SIDE, SIDE, generator=generator).double()


def closed_form(model: nn.Sequential, pixels: Tensor) -> np.ndarray:
    """Min over j ≠ i of |o_i − o_j| / ‖w_i − w_j‖, i the predicted class."""
    weight, logits = model[1].weight, model(pixels)
    first = logits.argmax(1)
    gaps = logits.gather(1, first[:, None]) - logits
    norms = (weight[first][:, None] - weight[None]).norm(dim=2)
    return (gaps / norms).masked_fill(gaps == 0, math.inf).min(1).values.numpy()


def curved() -> nn.Sequential:
    """Two layers with a smooth, strongly curved activation, random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first, second = nn.Linear(3 * SIDE * SIDE, 40), nn.Linear(40, CLASSES)
    first.weight.data *= 12
    second.weight.data *= 8
    return nn.Sequential(nn.Flatten(), first, nn.Tanh(), second).eval().requires_grad_(False)


def unknown(count: int) -> np.ndarray:
    return np.full(count, np.inf)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_linear_models_distances_are_the_closed_form(dtype: torch.dtype) -> None:
    """Each within one per cent, never below; and so are the median and the mean ratio. Without DeepFool's help."""
    model, pixels = linear(dtype=dtype), images().to(dtype)
    exact = closed_form(linear(), pixels.double())
    found = nearest_distances(model, pixels, keys=torch.arange(len(pixels)))
    assert (found / exact).min() >= 1 - (1e-3 if dtype == torch.float32 else 1e-9)  # rounding of pixels
    assert (found / exact).max() < 1.01
    scores = nearest_scores(model, pixels, at_most=unknown(len(pixels)), batch_size=25)
    assert scores.median_distance.value.value == pytest.approx(np.median(exact), rel=0.01)
    assert scores.rho.value.value == pytest.approx((exact / lengths(pixels)).mean(), rel=0.01)
    assert (scores.n_fooled, scores.fooled_share.value) == (len(pixels), 1.0)
    for estimate in (scores.median_distance, scores.rho):
        assert estimate.low.value < estimate.value.value < estimate.high.value


def test_a_scale_of_the_logits_does_not_matter() -> None:
    """At a scale of 300 the gradient of a cross-entropy is 0 on most images; the margin's is not."""
    pixels = images(20)
    plain, steep = (nearest_distances(linear(s), pixels, keys=torch.arange(20)) for s in (1.0, 300.0))
    assert np.median(steep) == pytest.approx(np.median(plain), rel=0.01)


def test_a_known_distance_is_taken_where_it_is_smaller() -> None:
    model, pixels = linear(), images(9)
    known = unknown(9)
    known[:5] = 1e-3
    found = nearest_scores(model, pixels, at_most=known, batch_size=9)
    assert found.median_distance.value.value == pytest.approx(1e-3)


def test_on_a_curved_network_it_is_nearer_than_deepfool() -> None:
    """Bisection cannot turn DeepFool's direction; the searches do."""
    model, pixels = curved(), torch.rand(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    deepfool = pixel_lengths(model, pixels)
    at_most = unknown(len(pixels))
    at_most[deepfool.fooled] = deepfool.boundary
    alone = nearest_distances(model, pixels, keys=torch.arange(len(pixels)))
    both = nearest_scores(model, pixels, at_most=at_most, batch_size=40)
    assert both.median_distance.value.value == pytest.approx(np.median(np.minimum(alone, at_most)))
    assert np.isfinite(at_most).all()
    assert alone.mean() < 0.9 * at_most.mean()


def reached(points: Tensor) -> Nearest:
    return Nearest(points, torch.zeros(len(points), dtype=torch.bool))


def test_what_an_attack_returns_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an image outside the box nor one of the same class has a distance."""
    model, pixels = linear(), images(10)

    def beyond(search: object, model: nn.Module, samples: Samples, *, norm: str) -> Nearest:
        return reached(samples.inputs - 2 * samples.labels.view(-1, 1, 1, 1) - 2.0)

    monkeypatch.setattr(nearest_distance, "nearest", beyond)
    assert (
        model(beyond(None, model, Samples(*[pixels, model(pixels).argmax(1)] * 2), norm="l2").points).argmax(1)
    ).any()
    assert np.isinf(nearest_distances(model, pixels, keys=torch.arange(10))).all()
    monkeypatch.setattr(
        nearest_distance, "nearest", lambda search, model, samples, *, norm: reached(samples.inputs + 1e-9)
    )
    assert np.isinf(nearest_distances(model, pixels, keys=torch.arange(10))).all()


def test_the_nearest_image_is_moved_to_the_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times the way over a boundary of a linear model is shortened to less than once that way."""
    model, pixels = linear(), images(10)
    points = nearest(Ddn(eps=-1.0, steps=60), model, samples_of(model, pixels), norm="l2").points
    monkeypatch.setattr(nearest_distance, "nearest", lambda *_, norm: reached(pixels + 3 * (points - pixels)))
    found = nearest_distances(model, pixels, keys=torch.arange(10))
    assert (found <= 1.004 * lengths(points - pixels)).all()


def test_logits_that_are_not_finite_are_no_other_class() -> None:
    pixels = images(3)
    assert not adversarial(Fixed(pixels), pixels + 0.01, torch.ones(3, dtype=torch.int64)).any()
    assert adversarial(Fixed(), pixels, torch.ones(3, dtype=torch.int64)).all()


def samples_of(model: nn.Module, pixels: Tensor) -> Samples:
    ranking = model(pixels).argsort(1, descending=True)
    return Samples(pixels, ranking[:, 0], torch.arange(len(pixels)), ranking)


def test_the_reported_image_is_one_that_the_model_misclassifies() -> None:
    """And the clean image where the search found none."""
    model, pixels = curved(), torch.rand(20, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    labels = model(pixels).argmax(1)
    samples = Samples(pixels, labels, torch.arange(20), model(pixels).argsort(1, descending=True))
    points = nearest(Ddn(eps=-1.0, steps=60), model, samples, norm="l2").points
    assert (model(points).argmax(1) != labels).all()
    points = nearest(
        Ddn(eps=-1.0, steps=5), Fixed(), replace(samples, labels=torch.zeros_like(labels)), norm="l2"
    ).points
    assert torch.equal(points, pixels)


class Rounded(nn.Module):
    """A linear model behind pixels that are rounded: its gradient is 0."""

    def __init__(self) -> None:
        super().__init__()
        self.model = linear()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model((4 * inputs).round() / 4)
        return logits + 0 * inputs.sum((1, 2, 3))[:, None]


class Fixed(nn.Module):
    """One class whatever the image, or NaN logits away from ``images``."""

    def __init__(self, kept: Tensor | None = None) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, inputs: Tensor) -> Tensor:
        logits = torch.tensor([1.0, 0.0, 0.0]).to(inputs).expand(len(inputs), 3) + 0 * inputs.sum((1, 2, 3))[:, None]
        if self.kept is None or torch.equal(inputs, self.kept):
            return logits
        return logits * math.nan


def test_images_that_were_not_fooled_are_infinitely_far() -> None:
    found = nearest_scores(Fixed(), images(8), at_most=unknown(8), batch_size=8)
    assert (found.n_fooled, found.fooled_share.value) == (0, 0.0)
    assert "half of the correctly classified images" in found.median_distance.value.reason
    assert "no attack succeeded" in found.rho.value.reason
    some = unknown(8)
    some[:3] = 1.0
    assert "half" in nearest_scores(Fixed(), images(8), at_most=some, batch_size=8).median_distance.value.reason
    some[:6] = 1.0
    found = nearest_scores(Fixed(), images(8), at_most=some, batch_size=8)
    assert found.median_distance.value.value == 1.0
    assert found.fooled_share.value == 0.75


def test_a_model_without_an_answer_has_reasons() -> None:
    pixels = images(4)
    found: NearestScores = nearest_scores(Fixed(pixels), pixels, at_most=unknown(4), batch_size=4)
    assert (found.n_fooled, found.n_unknown) == (0, 4)
    for value in (found.fooled_share, *found.rho, *found.median_distance):
        assert math.isnan(value.value)
        assert "NaN" in value.reason


MARKED = 7


def unmarked() -> nn.Sequential:
    """A linear model without a weight on the first pixel, which no search therefore moves."""
    model = linear()
    model[1].weight[:, 0] = 0
    model[1].bias[:] = -0.5 * model[1].weight.sum(1)
    return model


def one_marked(count: int) -> Tensor:
    pixels = images(count)
    pixels[:, 0, 0, 0] = 0.5
    pixels[MARKED, 0, 0, 0] = 0.9
    return pixels


class Holes(nn.Module):
    """``unmarked``, but with infinite logits around the marked image, or only where its class is the same."""

    def __init__(self, pixels: Tensor, *, same_class: bool = False) -> None:
        super().__init__()
        self.model, self.image, self.same_class = unmarked(), pixels[MARKED], same_class

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        hole = (inputs[:, 0, 0, 0] > 0.8) & (inputs != self.image).flatten(1).any(1)
        if self.same_class:
            hole &= logits.argmax(1) == self.model(self.image[None]).argmax()
        return logits.masked_fill(hole[:, None], math.inf)


def test_infinite_logits_near_one_image_leave_out_this_image_alone() -> None:
    pixels = one_marked(60)
    others = np.delete(nearest_distances(unmarked(), pixels, keys=torch.arange(60)), MARKED)
    assert others == pytest.approx(np.delete(closed_form(unmarked(), pixels), MARKED), rel=0.01)
    found = nearest_scores(Holes(pixels), pixels, at_most=unknown(60), batch_size=25)
    assert (found.n_fooled, found.n_unknown, found.fooled_share.value) == (59, 1, 1.0)
    assert found.median_distance.value.value == pytest.approx(np.median(others), rel=1e-9)
    relative = others / np.delete(lengths(pixels), MARKED)
    assert found.rho.value.value == pytest.approx(relative.mean(), rel=1e-9)


def test_a_distance_that_is_known_otherwise_counts() -> None:
    pixels, known = one_marked(60), unknown(60)
    distances = nearest_distances(unmarked(), pixels, keys=torch.arange(60))
    known[MARKED] = distances[MARKED] = 1e-3
    found = nearest_scores(Holes(pixels), pixels, at_most=known, batch_size=25)
    assert (found.n_fooled, found.n_unknown) == (60, 0)
    assert found.median_distance.value.value == pytest.approx(np.median(distances), rel=1e-9)


@pytest.mark.parametrize(
    "search",
    [
        Ddn(eps=-1.0, steps=50),
        Fmn(norm="l2", eps=-1.0, steps=50),
        TargetedFab(norm="l2", eps=-1.0, n_iter=10, attempts=3),
    ],
    ids=["ddn", "fmn", "fab"],
)
def test_every_search_goes_on_with_the_other_images(search: Search) -> None:
    pixels = one_marked(12)
    found = nearest(search, Holes(pixels), samples_of(unmarked(), pixels), norm="l2")
    plain = nearest(search, unmarked(), samples_of(unmarked(), pixels), norm="l2")
    assert found.stopped.tolist() == [i == MARKED for i in range(12)]
    assert not plain.stopped.any()
    assert torch.equal(found.points[MARKED], pixels[MARKED])
    others = torch.arange(12) != MARKED
    torch.testing.assert_close(found.points[others], plain.points[others], rtol=0, atol=1e-12)


def test_a_point_found_before_the_logits_were_infinite_is_kept() -> None:
    """DDN comes from beyond the boundary, from L2 = 1 (63 times as far), to the infinite logits on its near side."""
    pixels = one_marked(12)
    exact = closed_form(unmarked(), pixels)[MARKED]
    holes = Holes(pixels, same_class=True)
    points, stopped = nearest(Ddn(eps=-1.0, steps=200), holes, samples_of(unmarked(), pixels), norm="l2")
    assert stopped[MARKED]
    assert adversarial(holes, points, unmarked()(pixels).argmax(1)).all()
    assert 1 <= lengths(points - pixels)[MARKED] / exact < 1.5


def test_no_images_have_reasons() -> None:
    found = nearest_scores(linear(), images(0), at_most=np.empty(0), batch_size=4)
    for value in (found.fooled_share, *found.rho, *found.median_distance):
        assert "correctly" in value.reason


def test_batches_do_not_matter() -> None:
    model, pixels = Rounded(), images(12)
    whole, parts = (nearest_scores(model, pixels, at_most=unknown(12), batch_size=size) for size in (12, 5))
    assert repr(whole) == repr(parts)  # exact, and intervals of too few images are NaN

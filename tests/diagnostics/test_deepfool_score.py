"""The three forms of the DeepFool score against linear models, where each has a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.diagnostics.deepfool_score import deepfool_scores
from bench.diagnostics.estimates import censored_median
from bench.models.classifier import Classifier, Normalize

SIDE = 4
PIXELS = 3 * SIDE * SIDE
MEAN, STD = (0.3, 0.4, 0.6), (0.1, 0.3, 0.8)


class Saturating(nn.Module):
    """Clamped to [−1, 1]: no gradient where the image lies outside."""

    def forward(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)


def images(count: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.5 + 0.02 * torch.randn(count, 3, SIDE, SIDE, generator=generator).double()


def binary(head: nn.Module | None = None, gain: float = 1.0) -> Classifier:
    """Z = ``gain``·(w·x' + b), x' the normalised image, logits (0, z): the boundary passes through grey."""
    weight = torch.randn(PIXELS, generator=torch.Generator().manual_seed(1)).double()
    normalize = Normalize(MEAN, STD).double()
    grey = normalize(torch.full((1, 3, SIDE, SIDE), 0.5).double()).flatten()
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 1))
    output = nn.Linear(1, 2)
    model = Classifier(normalize, backbone, head or nn.Identity(), output).double()
    backbone[1].weight.data, backbone[1].bias.data = gain * weight[None], -gain * (weight @ grey)[None]
    output.weight.data, output.bias.data = torch.tensor([[0.0], [1.0]]).double(), torch.zeros(2).double()
    return model.eval()


def distances(model: Classifier, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """To the boundary of ``binary``, in the normalised space and in pixels, both (N,)."""
    weight = model.backbone[1].weight.detach().view(3, -1)
    score = (model.backbone(model.normalize(pixels)).abs()).squeeze(1).detach()
    return score / weight.norm(), score / (weight / torch.tensor(STD).view(3, 1)).norm()


def length(vectors: Tensor) -> Tensor:
    return vectors.flatten(1).norm(dim=1)


def test_the_authors_score_is_taken_in_the_normalised_space_over_all_images() -> None:
    model, pixels = binary(), images()
    labels = model(pixels).argmax(1)
    labels[:5] = 1 - labels[:5]
    in_normalised, _ = distances(model, pixels)
    expected = (1.02 * (in_normalised + 1e-4) / length(model.normalize(pixels))).mean()
    found = deepfool_scores(model, pixels, labels, batch_size=5)
    assert found.rho_authors.value.value == pytest.approx(float(expected), rel=1e-6)  # STD is float32
    assert found.n == 12


def test_the_pixel_score_is_taken_over_the_correct_images() -> None:
    model, pixels = binary(), images()
    labels = model(pixels).argmax(1)
    labels[:5] = 1 - labels[:5]
    _, in_pixels = distances(model, pixels)
    expected = (1.02 * (in_pixels + 1e-4) / length(pixels))[5:].mean()
    found = deepfool_scores(model, pixels, labels, batch_size=5)
    assert found.rho_pixels.value.value == pytest.approx(float(expected), rel=1e-6)
    assert (found.n_correct, found.n_fooled, found.fooled_share.value) == (7, 7, 1.0)
    assert abs(found.rho_authors.value.value / found.rho_pixels.value.value - 1) > 0.1, "the two spaces do not differ"


def test_the_shortened_score_of_a_linear_model_is_exact() -> None:
    model, pixels = binary(), images(13)
    labels = model(pixels).argmax(1)
    _, in_pixels = distances(model, pixels)
    found = deepfool_scores(model, pixels, labels, batch_size=5)
    exact = float((in_pixels / length(pixels)).mean())
    assert found.rho_boundary.value.value == pytest.approx(exact, rel=5e-6)
    assert found.rho_boundary.value.value > exact, "the shortened images are not fooled any more"
    assert found.median_distance.value.value == pytest.approx(float(in_pixels.median()), rel=5e-6)
    assert found.rho_boundary.value.value < found.rho_pixels.value.value


def test_an_inflated_score_is_seen_by_its_shortened_form() -> None:
    """Logits tanh(s) flatten out away from the boundary, where a tangent meets zero far behind it."""

    class Plateau(nn.Module):
        def forward(self, latents: Tensor) -> Tensor:
            return latents.tanh()

    model, pixels = binary(Plateau(), gain=1.0), images(30)
    labels = model(pixels).argmax(1)
    found = deepfool_scores(model, pixels, labels, batch_size=8)
    plain = deepfool_scores(binary(), pixels, labels, batch_size=8)
    assert found.rho_pixels.value.value > 1.5 * plain.rho_pixels.value.value
    assert found.fooled_share.value == 1
    assert found.rho_boundary.value.value == pytest.approx(plain.rho_boundary.value.value, rel=1e-4)


def test_images_never_fooled_are_counted_by_the_authors_alone() -> None:
    """Far from the boundary the head is flat: those images stay at r = 0."""
    model, pixels = binary(Saturating()), images(40)
    score = model.backbone(model.normalize(pixels)).detach().squeeze(1)
    near = score.abs() < 1
    assert 5 < int(near.sum()) < 35
    found = deepfool_scores(model, pixels, model(pixels).argmax(1), batch_size=16)
    in_normalised, in_pixels = distances(model, pixels)
    authors = torch.where(near, 1.02 * (in_normalised + 1e-4), 0.0) / length(model.normalize(pixels))
    assert found.rho_authors.value.value == pytest.approx(float(authors.mean()), rel=1e-6)
    raw = (1.02 * (in_pixels + 1e-4) / length(pixels))[near].mean()
    assert found.rho_pixels.value.value == pytest.approx(float(raw), rel=1e-6)
    assert (found.n_correct, found.n_fooled) == (40, int(near.sum()))
    assert found.fooled_share.value == pytest.approx(int(near.sum()) / 40)


def test_r_stays_in_the_box_for_the_pixel_score_alone() -> None:
    """At the walls a step in pixels is cut short; the normalised run walks through them."""
    model = binary()
    direction = model.backbone[1].weight.detach().view(1, 3, SIDE, SIDE)
    pixels = torch.where(direction > 0, 0.02, 0.98)  # every pixel moves inwards from a wall: no cut
    pixels[:, :, ::2] = 1 - pixels[:, :, ::2]
    side = int(model(pixels).argmax(1))
    found = deepfool_scores(model, pixels, torch.tensor([side]), batch_size=1)
    in_normalised, in_pixels = distances(model, pixels)
    assert found.rho_authors.value.value == pytest.approx(
        float(1.02 * (in_normalised + 1e-4) / length(model.normalize(pixels))), rel=1e-6
    )
    assert found.fooled_share.value == 1
    assert found.median_distance.value.value > 1.001 * float(in_pixels)


def test_a_model_that_is_never_right_has_the_authors_score_only() -> None:
    model, pixels = binary(), images()
    found = deepfool_scores(model, pixels, 1 - model(pixels).argmax(1), batch_size=5)
    assert found.rho_authors.value.value > 0
    for value in (*found.rho_pixels, found.fooled_share, *found.rho_boundary, *found.median_distance):
        assert math.isnan(value.value)
        assert "correctly" in value.reason


def test_a_model_that_is_never_fooled_has_a_share_and_reasons() -> None:
    model, pixels = binary(gain=0.0), images()
    found = deepfool_scores(model, pixels, model(pixels).argmax(1), batch_size=5)
    assert found.rho_authors.value.value == 0
    assert found.fooled_share.value == 0
    for value in (*found.rho_pixels, *found.rho_boundary, found.median_distance.value):
        assert math.isnan(value.value)
        assert "no attack succeeded" in value.reason


def test_a_black_image_has_no_ratio_but_a_distance() -> None:
    model, pixels = binary(), images(3)
    pixels[0] = 0.0
    found = deepfool_scores(model, pixels, model(pixels).argmax(1), batch_size=5)
    assert "completely black" in found.rho_pixels.value.reason
    assert found.median_distance.value.value > 0


def test_no_images_have_reasons() -> None:
    found = deepfool_scores(binary(), images(0), torch.zeros(0, dtype=torch.int64), batch_size=5)
    assert found.n == 0
    assert "no images" in found.rho_authors.value.reason
    assert math.isnan(found.fooled_share.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_do_not_matter_and_the_model_is_evaluated(dtype: torch.dtype) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten())
        model = Classifier(Normalize(MEAN, STD), backbone, nn.Linear(16, 6), nn.Linear(6, 4)).to(dtype)
    pixels = torch.rand(40, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(4)).to(dtype)
    labels = model.eval()(pixels).argmax(1)
    model.train()
    whole, parts = (deepfool_scores(model, pixels, labels, batch_size=size) for size in (40, 3))
    rel = 1e-9 if dtype == torch.float64 else 1e-3
    for name in ("rho_authors", "rho_pixels", "rho_boundary", "median_distance"):
        for one, other in zip(getattr(whole, name), getattr(parts, name), strict=True):
            assert one.value == pytest.approx(other.value, rel=rel)
    assert whole.fooled_share == parts.fooled_share
    assert whole.n_fooled == parts.n_fooled > 0


def test_the_median_counts_what_was_not_fooled_as_far_away() -> None:
    """Three correct images were fooled: of four there is a median, of six there is none, as half were not fooled."""
    distances = np.array([3.0, 1.0, 2.0])
    assert censored_median(distances, 3).value.value == 2.0
    assert censored_median(distances, 4).value.value == 2.5
    assert censored_median(distances, 6).value.reason == (
        "no attack succeeded on half of the correctly classified images or more"
    )
    assert censored_median(np.empty(0), 0).value.reason == "no image is classified correctly"


def test_every_score_lies_in_its_interval() -> None:
    model, pixels = binary(), images(60)
    found = deepfool_scores(model, pixels, model(pixels).argmax(1), batch_size=60)
    for estimate in (found.rho_authors, found.rho_pixels, found.rho_boundary, found.median_distance):
        assert estimate.low.value < estimate.value.value < estimate.high.value

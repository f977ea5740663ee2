"""AugMix: its operations against Pillow's, as the authors use them, and its mixture against what must hold of one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.stats import kstest
from torch import Tensor

from bench.data.sample_random import SampleRandom
from bench.models import augmix
from bench.models.augmix import OPERATIONS, apply, augment_and_mix

SIDE = 24


def grey_levels(count: int = 8) -> Tensor:
    """Smooth colour images, so that a resampling is not all rounding; the last one has few levels."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    images = torch.nn.functional.interpolate(coarse, SIDE, mode="bicubic").clamp(0, 1) * 200 + 20
    images[-1] = (images[-1] / 80).round() * 80
    return images.round()


def random_of(count: int, seed: int = 0) -> SampleRandom:
    return SampleRandom(seed, 1, torch.arange(count))


def pillow(image: Tensor, name: str, level: float, negative: bool) -> np.ndarray:
    """The operation of the authors' code, with the level in place of its draw."""
    picture, sign = Image.fromarray(image.permute(1, 2, 0).numpy().astype(np.uint8)), -1 if negative else 1
    shear, shift = sign * level * 0.3 / 10, sign * int(level * (SIDE / 3) / 10)
    affine = {
        "shear_x": (1, shear, 0, 0, 1, 0), "shear_y": (1, 0, 0, shear, 1, 0),
        "translate_x": (1, 0, shift, 0, 1, 0), "translate_y": (1, 0, 0, 0, 1, shift),
    }  # fmt: skip
    if name in affine:
        transform = Image.Transform.AFFINE
        changed = picture.transform(picture.size, transform, affine[name], resample=Image.Resampling.BILINEAR)
    elif name == "rotate":
        changed = picture.rotate(sign * int(level * 30 / 10), resample=Image.Resampling.BILINEAR)
    elif name == "posterize":
        changed = ImageOps.posterize(picture, 4 - int(level * 4 / 10))
    elif name == "solarize":
        changed = ImageOps.solarize(picture, 256 - int(level * 256 / 10))
    else:
        changed = {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}[name](picture)
    return np.asarray(changed).transpose(2, 0, 1)


@pytest.mark.parametrize("name", OPERATIONS[1:])
@pytest.mark.parametrize(("level", "negative"), [(0.7, False), (2.9, True), (8.0, False)])
def test_an_operation_is_pillows(name: str, level: float, negative: bool) -> None:
    images = grey_levels()
    count = len(images)
    chosen = torch.full((count,), OPERATIONS.index(name))
    mine = apply(images, chosen, torch.full((count,), level), torch.full((count,), negative))
    theirs = torch.tensor(np.stack([pillow(image, name, level, negative) for image in images])).float()
    if name == "autocontrast":  # Pillow rounds a product that is a whole number down to the level below
        assert float((mine - theirs).abs().max()) <= 1
        assert float((mine - theirs).abs().mean()) < 0.05
    elif name in ("equalize", "posterize", "solarize"):
        assert torch.equal(mine, theirs)
    else:  # Pillow rounds positions to 1/65536 pixel, which may move a pixel of the edge into the image or out of it
        different = (mine - theirs).abs() > 1
        assert float(different.float().mean()) < 0.002
    assert torch.equal(mine, images) == torch.equal(theirs, images)


def test_every_image_has_its_own_operation() -> None:
    """A batch with all operations gives what each image gives alone."""
    images = grey_levels(len(OPERATIONS))
    chosen = torch.arange(len(OPERATIONS))
    level, negative = torch.linspace(0.5, 9, len(OPERATIONS)), chosen % 2 == 0
    every = apply(images, chosen, level, negative)
    for k in range(len(OPERATIONS)):
        alone = apply(images[k : k + 1], chosen[k : k + 1], level[k : k + 1], negative[k : k + 1])
        assert torch.equal(every[k : k + 1], alone)
    assert torch.equal(every[0], images[0])


def test_the_mixture_stays_in_the_box() -> None:
    images = torch.cat([torch.zeros(20, 3, 8, 8), torch.ones(20, 3, 8, 8), grey_levels(60)[:, :, :8, :8] / 255])
    mixed = augment_and_mix(images, random_of(100), purpose="a")
    assert 0 <= float(mixed.min()) <= float(mixed.max()) <= 1 + 1e-6
    assert mixed.shape == images.shape
    assert float((mixed - images).abs().flatten(1).amax(1)[-20:].min()) > 0  # every image changes


def test_a_severity_of_nothing_is_the_identity() -> None:
    images = grey_levels() / 255
    assert torch.equal(augment_and_mix(images, random_of(8), purpose="a", severity=0), images)


def test_chains_that_change_nothing_leave_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights add up to 1, whatever is drawn."""
    monkeypatch.setattr(augmix, "apply", lambda images, *_: images)
    images = grey_levels(50) / 255
    assert torch.allclose(augment_and_mix(images, random_of(50), purpose="a"), images, atol=1e-6)


def test_weights_and_mixing_have_their_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chain i returns an image of level 255·[i = j]: the mixture of a black image is m·w_j, of a Dirichlet's margin."""
    count = 4000
    found = []
    for j in range(3):
        white = (torch.arange(3 * count) % 3 == j).float().view(-1, 1, 1, 1) * 255
        monkeypatch.setattr(augmix, "apply", lambda images, *_, white=white: white.expand_as(images))
        found.append(augment_and_mix(torch.zeros(count, 1, 1, 1), random_of(count), purpose="a").flatten())
    shares = torch.stack(found)
    mixing = shares.sum(0)
    assert kstest(mixing.numpy(), "uniform").pvalue > 0.01  # Beta(1, 1)
    for weight in shares / mixing:
        assert kstest(weight.numpy(), "beta", args=(1, 2)).pvalue > 0.01  # the margin of Dirichlet(1, 1, 1)


def test_operations_depths_and_levels_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Tensor, ...]] = []

    def seen(images: Tensor, *drawn: Tensor) -> Tensor:
        calls.append(drawn)
        return images

    monkeypatch.setattr(augmix, "apply", seen)
    augment_and_mix(torch.rand(3000, 1, 2, 2), random_of(3000), purpose="a")
    chosen = torch.stack([call[0] for call in calls])  # (3, 9000)
    depths = (chosen > 0).sum(0)
    assert torch.bincount(depths, minlength=4).tolist() == [0, *[pytest.approx(3000, abs=150)] * 3]
    assert bool(((chosen[:-1] > 0) | (chosen[1:] == 0)).all())  # first operations, then nothing
    counts = torch.bincount(chosen[0], minlength=len(OPERATIONS))
    assert counts.tolist() == [0, *[pytest.approx(1000, abs=130)] * 9]
    assert kstest(((calls[0][1] - 0.1) / 2.9).numpy(), "uniform").pvalue > 0.01
    assert float(calls[0][2].float().mean()) == pytest.approx(0.5, abs=0.02)


def test_the_mixture_of_an_image_does_not_depend_on_its_batch() -> None:
    images = grey_levels() / 255
    every = augment_and_mix(images, random_of(8), purpose="a")
    some = augment_and_mix(images[[5, 2]], SampleRandom(0, 1, torch.tensor([5, 2])), purpose="a")
    assert torch.allclose(every[[5, 2]], some, atol=1e-6)
    assert not torch.allclose(every, augment_and_mix(images, random_of(8), purpose="b"))
    assert not torch.allclose(every, augment_and_mix(images, random_of(8, seed=1), purpose="a"))


def test_a_rotation_turns_by_its_angle() -> None:
    """A quarter turn, 30 levels of 3 degrees, is that of torch: counter-clockwise."""
    images = grey_levels()[:1]
    turned = apply(images, torch.tensor([OPERATIONS.index("rotate")]), torch.tensor([30.0]), torch.tensor([False]))
    assert math.isclose(float((turned - torch.rot90(images, 1, (2, 3))).abs().max()), 0, abs_tol=1)

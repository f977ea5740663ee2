"""The random kinds, each with its own numbers, beside the forks': equal in mean, spread and spectrum.

Of every image the corrupted less the clean one is reduced to a few numbers; over many images their means must agree
within five standard errors, which one in a million comparisons of equal things does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import names, pictures

from bench.attacks.corruptions.apply import CORRUPTIONS, corrupt_bytes
from bench.attacks.corruptions.draws import Draws
from bench.attacks.corruptions.frost import cropped
from bench.attacks.corruptions.frost_texture import texture
from bench.attacks.corruptions.photographs import find_installed
from bench.attacks.corruptions.registry import parameters
from bench.attacks.corruptions.severities import PROFILE_SIZES, Profile
from bench.attacks.corruptions.units import LUMA

imaug = pytest.importorskip("imagecorruptions.corruptions", reason="imagecorruptions-imaug is not installed")
tta = pytest.importorskip("corrupt_tta.corruptions", reason="corrupt-tta is not installed")
from forks import with_constants  # noqa: E402
from PIL import Image  # noqa: E402

COUNT = 150
FREE = [kind for kind in CORRUPTIONS if CORRUPTIONS.get(kind).random and kind != "frost"]
BANDS = ((0, 0.1), (0.1, 0.25), (0.25, 0.75))  # of frequencies, in cycles a pixel


def reduced(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, H, W, C) to (N, 5): the mean, the standard deviation, and the root of the power in three bands."""
    grey = difference.mean(3)
    power = np.abs(np.fft.fft2(grey - grey.mean((1, 2), keepdims=True))) ** 2 / grey[0].size
    side = grey.shape[1]
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    bands = [np.sqrt(power[:, (frequency >= low) & (frequency < high)].mean(1)) for low, high in BANDS]
    return np.stack([difference.mean((1, 2, 3)), difference.std((1, 2, 3)), *bands], axis=1)


def check_equal(ours: NDArray[np.float64], theirs: NDArray[np.float64], *, allowed: float) -> None:
    """Means over the images, within five standard errors of their difference and ``allowed`` for the rounding."""
    apart = np.abs(ours.mean(0) - theirs.mean(0))
    error = np.sqrt(ours.var(0, ddof=1) / len(ours) + theirs.var(0, ddof=1) / len(theirs))
    assert (apart <= 5 * error + allowed).all(), (ours.mean(0), theirs.mean(0), error)


# Severities and profiles differ in their constants only, which are compared with the forks' elsewhere.
@pytest.mark.parametrize(("profile", "severity"), [("cifar", 5), ("tiny_imagenet", 1)])
@pytest.mark.parametrize("kind", FREE)
def test_running_freely(kind: str, profile: Profile, severity: int) -> None:
    side = PROFILE_SIZES[profile]
    images = pictures(COUNT, side)
    module, replaced = imaug, {}
    if kind == "elastic_transform":
        module = tta
    if kind == "snow":
        replaced = {"clipped_zoom": tta.clipped_zoom}
    np.random.seed(0)  # noqa: NPY002, the forks draw from it
    fork: Any = with_constants(module, kind, parameters(kind, severity, profile, side), replaced)
    theirs = np.stack([fork(Image.fromarray(image)) for image in images])
    ours = corrupt_bytes(images, names(COUNT), kind, severity, stored=False)
    clean = images.astype(float)
    # a level in the mean, where ImageMagick rounds and the fork cuts off; nothing beyond chance anywhere else
    allowed = np.array([0.6, 0.2, 0.1, 0.1, 0.1]) if kind in {"motion_blur", "snow"} else 0.05
    check_equal(reduced(ours - clean), reduced(theirs - clean), allowed=allowed)


@pytest.mark.parametrize("profile", ["cifar", "tiny_imagenet", pytest.param("imagenet", marks=pytest.mark.slow)])
def test_the_texture_of_frost_is_like_the_photographs(profile: Profile) -> None:
    """In the mean and in how far crops differ, which a texture of one contrast for all panes does not reach."""
    if find_installed() is None:
        pytest.skip("no package with the photographs of frost is installed")
    side, count = PROFILE_SIZES[profile], 1000 if profile != "imagenet" else 200
    grain = parameters("frost", 1, profile, side).photo_pixel_px
    theirs = reduced(cropped((side, side, 3), grain, Draws(0, "frost", 1, names(count))).astype(float))
    ours = reduced(texture((side, side, 3), Draws(0, "frost", 1, names(count))).astype(float))
    means, spreads = (np.abs(np.log2(of(ours, axis=0) / of(theirs, axis=0))) for of in (np.mean, np.std))
    assert (means < [0.02, 0.1, 0.25, 0.15, 0.2]).all(), means
    assert (spreads < [0.1, 0.25, 0.25, 0.25, 0.25]).all(), spreads


def test_crops_of_a_pane_differ_in_lightness_as_those_of_its_photograph() -> None:
    if find_installed() is None:
        pytest.skip("no package with the photographs of frost is installed")
    ids = names(1500)
    photographs = cropped((32, 32, 3), 0.2, Draws(0, "frost", 1, ids))
    textures = texture((32, 32, 3), Draws(0, "frost", 1, ids))
    panes = (Draws(0, "frost", 1, ids).uniform() * 5).astype(int)  # the first number drawn is the pane in both
    for pane in range(5):
        theirs, ours = (crops[panes == pane].mean((1, 2, 3)) for crops in (photographs, textures))
        assert ours.mean() == pytest.approx(theirs.mean(), abs=3)
        assert ours.std() == pytest.approx(theirs.std(), rel=0.25)


def test_a_grey_texture_is_the_grey_of_the_coloured_one() -> None:
    coloured, grey = (texture((32, 32, c), Draws(0, "frost", 1, names(50))) for c in (3, 1))
    unclipped = (coloured > 0).all(3) & (coloured < 255).all(3)
    np.testing.assert_allclose(grey[..., 0][unclipped], (coloured @ LUMA)[unclipped], rtol=1e-4)

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

from attacks.corruptions.apply import CORRUPTIONS, corrupt
from attacks.corruptions.draws import Draws
from attacks.corruptions.frost import PANES, texture
from attacks.corruptions.severities import PROFILE_SIZES, Profile, parameters

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


@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("profile", ["cifar", "tiny_imagenet"])
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
    ours = corrupt(images, names(COUNT), kind, severity, stored=False)
    clean = images.astype(float)
    # a level in the mean, where ImageMagick rounds and the fork cuts off; nothing beyond chance anywhere else
    allowed = np.array([0.6, 0.2, 0.1, 0.1, 0.1]) if kind in {"motion_blur", "snow"} else 0.05
    check_equal(reduced(ours - clean), reduced(theirs - clean), allowed=allowed)


def photographs(count: int, side: int, scale: float) -> NDArray[np.float64]:
    """Crops of the five photographs, made smaller by ``scale``."""
    import importlib.resources

    import cv2

    folder = importlib.resources.files("imagecorruptions") / "frost"
    files = ["frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"]
    rng, crops = np.random.default_rng(0), []
    for i in range(count):
        found = cv2.imread(str(folder / files[i % 5]), cv2.IMREAD_COLOR_RGB)
        pane = cv2.resize(found, (0, 0), fx=scale, fy=scale)
        top, left = (rng.integers(0, extent - side) for extent in pane.shape[:2])
        crops.append(pane[top : top + side, left : left + side])
    return np.stack(crops).astype(float)


@pytest.mark.parametrize(("side", "scale"), [(32, 0.2), (64, 0.3), (224, 1.0)])
def test_frost_is_like_its_photographs(side: int, scale: float) -> None:
    theirs = photographs(100, side, scale)
    ours = texture((side, side), Draws(0, "frost", 1, names(100)), channels=3).astype(float)
    mine, given = reduced(ours).mean(0), reduced(theirs).mean(0)
    assert mine[0] == pytest.approx(given[0], rel=0.08)  # lightness
    assert mine[1] == pytest.approx(given[1], rel=0.35)  # contrast and colour
    np.testing.assert_allclose(np.log2(mine[2:] / given[2:]), 0, atol=0.6)  # amplitudes of the bands
    colours = [np.linalg.norm(PANES - crop.mean((0, 1)), axis=1).min() for crop in ours]
    assert max(colours) < 6

"""The constants of the 19 corruptions, for five severities and three image sizes.

The profile ``cifar`` has the constants of CIFAR-10-C and CIFAR-100-C, ``tiny_imagenet`` has the constants of Tiny
ImageNet-C, and ``imagenet`` has the constants of ImageNet-C. Source: Hendrycks and Dietterich 2019, arXiv 1903.12261,
and the programs published with it.

Intensities are on the scale of [0, 1]. Fields that end in ``_px`` are lengths in pixels, for images whose side is the
size of the profile (``PROFILE_SIZES``). For images of another size, they are scaled in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

Profile = Literal["cifar", "tiny_imagenet", "imagenet"]

SEVERITY_LEVELS: Final = (1, 2, 3, 4, 5)

#: Side in pixels of the images for which the constants of a profile were chosen.
PROFILE_SIZES: Final[Mapping[Profile, int]] = {"cifar": 32, "tiny_imagenet": 64, "imagenet": 224}


class Noise(NamedTuple):
    """Gaussian and speckle noise."""

    sigma: float


class Photons(NamedTuple):
    """Shot noise: the number of photons that a white pixel receives."""

    photons: float


class Impulses(NamedTuple):
    """Impulse noise."""

    fraction: float  # fraction of all values that change


class Gaussian(NamedTuple):
    """Gaussian blur."""

    sigma_px: float


class Glass(NamedTuple):
    """Glass blur."""

    sigma_px: float
    max_delta_px: int
    iterations: int


class Defocus(NamedTuple):
    """Defocus blur."""

    radius_px: float
    edge_sigma_px: float  # σ of the Gaussian blur of the edge of the disk


class Motion(NamedTuple):
    """Motion blur."""

    radius_px: float
    sigma_px: float


class Zooms(NamedTuple):
    """Zoom blur: the zoom factors are ``numpy.arange(start, stop, step)``.

    Rounding errors of ``numpy.arange`` decide whether ``stop`` itself is one of the factors.
    """

    start: float
    stop: float
    step: float


class Fog(NamedTuple):
    """Fog."""

    strength: float
    wibble_decay: float  # divisor of the noise amplitude at each refinement of the cloud


class Frost(NamedTuple):
    """Frost."""

    image_weight: float
    frost_weight: float
    photo_pixel_px: float  # side of one pixel of the photographs, in pixels of the image; 0.2: five span one pixel


class Snow(NamedTuple):
    """Snow."""

    mean: float
    std: float
    zoom: float
    threshold: float
    motion_radius_px: float
    motion_sigma_px: float
    image_weight: float


class Spatter(NamedTuple):
    """Spatter."""

    mean: float
    std: float
    sigma_px: float
    threshold: float
    strength: float  # for water, the weight of its light; for mud, the σ in pixels of the blur of the mask of the drops
    mud: int  # 1 for mud, 0 for water


class Contrast(NamedTuple):
    """Contrast."""

    factor: float


class Brightness(NamedTuple):
    """Brightness."""

    shift: float  # increase of the value in HSV


class Saturate(NamedTuple):
    """Saturation."""

    gain: float
    shift: float


class Jpeg(NamedTuple):
    """JPEG compression."""

    quality: int


class Pixelate(NamedTuple):
    """Pixelation."""

    scale: float


class Elastic(NamedTuple):
    """Elastic transform."""

    displacement_px: float  # factor of noise in [−1, 1] that was smoothed, which makes it much smaller
    smoothing_sigma_px: float
    affine_px: float  # largest shift, per axis, of the three points that define the affine map


#: Constants passed to the function of a corruption: one of the tuples above.
Parameters = Any


def _five(kind: type[Any], *values: float | Sequence[float]) -> tuple[Any, ...]:
    assert len(values) == len(SEVERITY_LEVELS)
    return tuple(kind(*value) if isinstance(value, Sequence) else kind(value) for value in values)


CIFAR: Final[Mapping[str, tuple[Parameters, ...]]] = {
    "gaussian_noise": _five(Noise, 0.04, 0.06, 0.08, 0.09, 0.10),
    "shot_noise": _five(Photons, 500, 250, 100, 75, 50),
    "impulse_noise": _five(Impulses, 0.01, 0.02, 0.03, 0.05, 0.07),
    "speckle_noise": _five(Noise, 0.06, 0.1, 0.12, 0.16, 0.2),
    "gaussian_blur": _five(Gaussian, 0.4, 0.6, 0.7, 0.8, 1),
    "glass_blur": _five(Glass, (0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "defocus_blur": _five(Defocus, (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "motion_blur": _five(Motion, (6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "zoom_blur": _five(Zooms, (1, 1.06, 0.01), (1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.01), (1, 1.26, 0.01)),
    "fog": _five(Fog, (0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "frost": _five(Frost, (1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    "snow": _five(
        Snow,
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "spatter": _five(
        Spatter,
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "contrast": _five(Contrast, 0.75, 0.5, 0.4, 0.3, 0.15),
    "brightness": _five(Brightness, 0.05, 0.1, 0.15, 0.2, 0.3),
    "saturate": _five(Saturate, (0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    "jpeg_compression": _five(Jpeg, 80, 65, 58, 50, 40),
    "pixelate": _five(Pixelate, 0.95, 0.9, 0.85, 0.75, 0.65),
    "elastic_transform": _five(
        Elastic, (0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)
    ),
}

TINY_IMAGENET: Final[Mapping[str, tuple[Parameters, ...]]] = {
    "gaussian_noise": _five(Noise, 0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": _five(Photons, 250, 100, 50, 30, 15),
    "impulse_noise": _five(Impulses, 0.01, 0.02, 0.05, 0.08, 0.14),
    "speckle_noise": _five(Noise, 0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": _five(Gaussian, 0.5, 0.75, 1, 1.25, 1.5),
    "glass_blur": _five(Glass, (0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
    "defocus_blur": _five(Defocus, (0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "motion_blur": _five(Motion, (10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": _five(Zooms, (1, 1.06, 0.01), (1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.01), (1, 1.26, 0.01)),
    "fog": _five(Fog, (0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "frost": _five(Frost, (1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
    "snow": _five(
        Snow,
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "spatter": _five(
        Spatter,
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "contrast": _five(Contrast, 0.4, 0.3, 0.2, 0.1, 0.05),
    "brightness": _five(Brightness, 0.1, 0.2, 0.3, 0.4, 0.5),
    "saturate": _five(Saturate, (0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
    "jpeg_compression": _five(Jpeg, 65, 58, 50, 40, 25),
    "pixelate": _five(Pixelate, 0.9, 0.8, 0.7, 0.6, 0.5),
    "elastic_transform": _five(
        Elastic, (0, 0, 5.12), (3.2, 19.2, 3.84), (6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)
    ),
}

IMAGENET: Final[Mapping[str, tuple[Parameters, ...]]] = {
    "gaussian_noise": _five(Noise, 0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": _five(Photons, 60, 25, 12, 5, 3),
    "impulse_noise": _five(Impulses, 0.03, 0.06, 0.09, 0.17, 0.27),
    "speckle_noise": _five(Noise, 0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": _five(Gaussian, 1, 2, 3, 4, 6),
    "glass_blur": _five(Glass, (0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "defocus_blur": _five(Defocus, (3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "motion_blur": _five(Motion, (10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom_blur": _five(Zooms, (1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03)),
    "fog": _five(Fog, (1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "frost": _five(Frost, (1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
    "snow": _five(
        Snow,
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "spatter": _five(
        Spatter,
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "contrast": _five(Contrast, 0.4, 0.3, 0.2, 0.1, 0.05),
    "brightness": _five(Brightness, 0.1, 0.2, 0.3, 0.4, 0.5),
    "saturate": _five(Saturate, (0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    "jpeg_compression": _five(Jpeg, 25, 18, 15, 10, 7),
    "pixelate": _five(Pixelate, 0.6, 0.5, 0.4, 0.3, 0.25),
    "elastic_transform": _five(
        Elastic, (488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)
    ),
}

PROFILES: Final[Mapping[Profile, Mapping[str, tuple[Parameters, ...]]]] = {
    "cifar": CIFAR,
    "tiny_imagenet": TINY_IMAGENET,
    "imagenet": IMAGENET,
}


def nearest_profile(size: int) -> Profile:
    """Return the profile with the size nearest to ``size`` in ratio. In a tie, return the smaller profile.

    >>> nearest_profile(28), nearest_profile(96), nearest_profile(224)
    ('cifar', 'tiny_imagenet', 'imagenet')
    """
    ratios = {profile: max(size, side) / min(size, side) for profile, side in PROFILE_SIZES.items()}
    return min(ratios, key=ratios.__getitem__)

"""The nineteen corruptions. Importing this module fills :data:`bench.attacks.corruptions.registry.CORRUPTIONS`.

The first fifteen are in the order of the paper, followed by its four corruptions for validation.
"""

from __future__ import annotations

from bench.attacks.corruptions.registry import BUILTIN, CORRUPTIONS, CorruptionEntry, Family
from bench.attacks.corruptions.severities import PROFILES

ORIGIN = BUILTIN
SOURCE = "Hendrycks and Dietterich 2019, arXiv 1903.12261"


def _register(
    name: str,
    family: Family,
    module: str,
    summary: str,
    *,
    standard: bool = True,
    random: bool = False,
    version: int = 1,
    stand_in: str = "",
    source: str = SOURCE,
) -> None:
    entry = CorruptionEntry(
        summary=summary,
        source=source,
        family=family,
        function=f"bench.attacks.corruptions.{module}:{name}",
        constants={profile: kinds[name] for profile, kinds in PROFILES.items()},
        standard=standard,
        random=random,
        version=version,
        stand_in=stand_in,
    )
    CORRUPTIONS.register(name, entry, origin=ORIGIN)


_register("gaussian_noise", "noise", "noise", "normal noise on every value", random=True)
_register("shot_noise", "noise", "noise", "Poisson-distributed photon counts", random=True)
_register("impulse_noise", "noise", "noise", "random values become black or white", random=True)
_register("defocus_blur", "blur", "blur", "convolution with a smoothed disk")
_register("glass_blur", "blur", "glass", "pixels copied from nearby pixels, between two blurs", random=True)
_register("motion_blur", "blur", "motion", "half a Gaussian along a random line", random=True)
_register("zoom_blur", "blur", "blur", "the mean of the image and its enlargements")
_register("snow", "weather", "snow", "snowflakes over a whitened image", random=True)
_register(
    "frost",
    "weather",
    "frost",
    "photographs of frost over the image",
    random=True,
    version=2,
    stand_in="bench.attacks.corruptions.frost:textured",
)
_register("fog", "weather", "fog", "a fractal cloud over the image", random=True)
_register("brightness", "weather", "colour", "a larger value in HSV")
_register("contrast", "digital", "colour", "values closer to the mean")
_register("elastic_transform", "digital", "elastic", "a random affine map and smooth displacements", random=True)
_register("pixelate", "digital", "digital", "downscaling, then upscaling")
_register("jpeg_compression", "digital", "digital", "JPEG compression at low quality")
_register("speckle_noise", "noise", "noise", "normal noise proportional to the value", random=True, standard=False)
_register("gaussian_blur", "blur", "blur", "convolution with a Gaussian", standard=False)
_register("spatter", "weather", "spatter", "drops of water or mud", random=True, standard=False)
_register("saturate", "digital", "colour", "a changed saturation in HSV", standard=False)

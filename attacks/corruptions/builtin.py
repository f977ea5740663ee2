"""The nineteen corruptions. Importing this module fills :data:`bench.attacks.corruptions.registry.CORRUPTIONS`.

The first fifteen in the order of the paper, then the four that it keeps for validation.
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
) -> None:
    entry = CorruptionEntry(
        summary=summary,
        source=SOURCE,
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
_register("shot_noise", "noise", "noise", "photons, Poisson distributed", random=True)
_register("impulse_noise", "noise", "noise", "values that turn black or white", random=True)
_register("defocus_blur", "blur", "blur", "a softened disk")
_register("glass_blur", "blur", "glass", "pixels copied from near ones, between two blurs", random=True)
_register("motion_blur", "blur", "motion", "half a Gaussian along a line", random=True)
_register("zoom_blur", "blur", "blur", "the mean of enlargements")
_register("snow", "weather", "snow", "flakes over a whitened image", random=True)
_register(
    "frost",
    "weather",
    "frost",
    "frost on a pane",
    random=True,
    version=2,
    stand_in="bench.attacks.corruptions.frost:textured",
)
_register("fog", "weather", "fog", "a fractal cloud", random=True)
_register("brightness", "weather", "colour", "a greater value in HSV")
_register("contrast", "digital", "colour", "nearer to the mean")
_register("elastic_transform", "digital", "elastic", "an affine jolt and smooth displacements", random=True)
_register("pixelate", "digital", "digital", "smaller and as large again")
_register("jpeg_compression", "digital", "digital", "a JPEG file of low quality")
_register("speckle_noise", "noise", "noise", "normal noise in proportion to the value", random=True, standard=False)
_register("gaussian_blur", "blur", "blur", "a Gaussian", standard=False)
_register("spatter", "weather", "spatter", "drops of water or mud", random=True, standard=False)
_register("saturate", "digital", "colour", "another saturation in HSV", standard=False)

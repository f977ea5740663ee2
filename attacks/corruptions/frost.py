"""Frost: a texture with the statistics of photographs of frosted panes, laid over the image.

The published files use five photographs that this project does not have. What is made here instead agrees with them in
colour, contrast and spectrum, and whoever uses it must say that it is synthetic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft

from attacks.corruptions.draws import Draws, Floats
from attacks.corruptions.severities import Frost
from attacks.corruptions.units import WHITE, Bytes, tint

#: Mean colour of each of the five photographs; two are of the same pane.
PANES = np.array(
    [[78, 149, 166], [201, 205, 214], [201, 205, 214], [138, 153, 165], [112, 123, 135]], dtype=np.float32
)
#: Standard deviation within a crop of the photographs, their mean over crops and channels.
CONTRAST = 23.0
#: Power falls with frequency f as f^−exponent within crops of so many pixels, at the scale in which they are cut out:
#: a fifth of the photographs for 32 px, three tenths for 64, as they are for 224.
SIDES, EXPONENTS = (32, 64, 224), (1.0, 1.35, 1.63)


def frost(images: Bytes, constants: Frost, draws: Draws) -> Floats:
    """w·x + v·frost, the weights w and v of the severity."""
    panes = texture(images.shape[1:3], draws, channels=images.shape[3])
    frosted: Floats = np.float32(constants.image_weight) * images + np.float32(constants.frost_weight) * panes
    return frosted


def texture(shape: tuple[int, ...], draws: Draws, channels: int) -> Floats:
    """The colour of one of the panes, and a Gaussian field of that spectrum, equal in all channels: (N, H, W, C)."""
    colours = PANES[(draws.uniform() * len(PANES)).astype(np.int64)]
    noise = draws.normal(*shape)
    field = fft.irfft2(fft.rfft2(noise) * _amplitudes(*shape), s=shape)[..., None]
    panes: Floats = np.clip(tint(colours, channels)[:, None, None] + field, 0, WHITE)
    return panes


@lru_cache(maxsize=16)
def _amplitudes(height: int, width: int) -> Floats:
    """What gives white noise of that size the contrast and the spectrum, (H, W//2 + 1) float32; the mean becomes 0."""
    exponent = np.interp(np.log(min(height, width)), np.log(SIDES), EXPONENTS)
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    amplitudes = frequency ** (-exponent / 2)
    amplitudes *= CONTRAST / np.sqrt((amplitudes**2).mean())
    half: Floats = amplitudes[:, : width // 2 + 1].astype(np.float32)
    return half

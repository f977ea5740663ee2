"""AlexNet's errors on ImageNet and ImageNet-C: what the mean corruption error of ImageNet models divides by.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019,
arXiv 1903.12261. The mean errors are given to four decimals of a percent as in github RobustBench/robustbench at
78fcc9e, over severities 1 to 5 of the whole ImageNet-C; the clean error is that of the paper's Table 1. RobustBench's
own table of accuracies has another run of AlexNet, on 5000 images, which differs a little.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CLEAN_ERROR: Final = 0.435  # a fraction

#: Fractions by kind: the fifteen that are averaged over, in the order of the paper.
MEAN_ERRORS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "gaussian_noise": 0.886428,
        "shot_noise": 0.894468,
        "impulse_noise": 0.922640,
        "defocus_blur": 0.819880,
        "glass_blur": 0.826268,
        "motion_blur": 0.785948,
        "zoom_blur": 0.798360,
        "snow": 0.866816,
        "frost": 0.826572,
        "fog": 0.819324,
        "brightness": 0.564592,
        "contrast": 0.853204,
        "elastic_transform": 0.646056,
        "pixelate": 0.717840,
        "jpeg_compression": 0.606500,
    }
)

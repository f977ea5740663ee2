"""Skip the taps of a convolution kernel that only multiply padding, on maps that are smaller than the kernel reaches.

Tap i of a kernel reads input positions o·s − p + i·d, for output positions o, stride s, padding p and dilation d. On a
1×1 map, a 3×3 kernel with padding 1 uses only its central tap: eight of nine products have a factor of zero. The last
stage of a network for large images often works on such a map if the images are small. Without the unused taps, the
output is the same up to rounding, and the gradient of an unused tap remains zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Crop(NamedTuple):
    """The used taps of a kernel along one axis."""

    taps: slice
    padding: int  # padding of the cropped kernel that gives the same output


@lru_cache(maxsize=1024)
def crop_axis(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Crop | None:
    """Return the taps used on an axis of ``size`` pixels, or None if all are used or cropping changes the output."""
    outputs = _output_size(size, kernel, stride, padding, dilation)
    reads = {i: [o * stride - padding + i * dilation for o in range(outputs)] for i in range(kernel)}
    used = [i for i, positions in reads.items() if any(0 <= x < size for x in positions)]
    if not used or len(used) == kernel:
        return None
    taps, rest = slice(used[0], used[-1] + 1), padding - used[0] * dilation
    if rest < 0 or _output_size(size, taps.stop - taps.start, stride, rest, dilation) != outputs:
        return None
    return Crop(taps, rest)


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


class CroppedConv2d(nn.Conv2d):
    """A convolution with zero padding that skips the taps that its input does not use."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        """Return the convolution of ``input``, (N, C, H, W)."""
        size = (input.shape[-2], input.shape[-1])
        crops = _crops(self, size)
        if crops is None:
            return super().forward(input)
        weight = self._slice(crops) if self.weight.requires_grad else self._kept(size, crops)
        padding = (crops[0].padding, crops[1].padding)
        return F.conv2d(input, weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _slice(self, crops: tuple[Crop, Crop]) -> Tensor:
        return self.weight[:, :, crops[0].taps, crops[1].taps]

    def _kept(self, size: tuple[int, int], crops: tuple[Crop, Crop]) -> Tensor:
        """Return the used taps of frozen weights, copied once: a slice would be copied again in every pass."""
        kept: dict[tuple[int, int], tuple[Tensor, int, Tensor]] = self.__dict__.setdefault("kept_taps", {})
        if size in kept:
            weight, version, taps = kept[size]
            if weight is self.weight and version == weight._version and _same_kind(weight, taps):
                return taps
        taps = self._slice(crops).detach().clone()
        kept[size] = (self.weight, self.weight._version, taps)
        return taps


def _same_kind(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.device) == (other.dtype, other.device)


@contextmanager
def cropped_kernels(model: nn.Module) -> Iterator[None]:
    """Inside the context, the convolutions of ``model`` skip unused taps. Weights and names stay the same."""
    convolutions = [module for module in model.modules() if _croppable(module)]
    for module in convolutions:
        module.__class__ = CroppedConv2d
    try:
        yield
    finally:
        for module in convolutions:
            module.__class__ = nn.Conv2d
            module.__dict__.pop("kept_taps", None)


def crop(module: nn.Module, image: Tensor) -> bool:
    """Let ``module`` skip unused taps if it has any for ``image``, (N, C, H, W). Return whether it has."""
    if not _croppable(module):
        return False
    assert isinstance(module, nn.Conv2d)
    if _crops(module, (image.shape[-2], image.shape[-1])) is None:
        return False
    module.__class__ = CroppedConv2d
    return True


def _croppable(module: nn.Module) -> bool:
    """Return whether ``module`` is a plain convolution: subclasses and hooks may use or change its weights."""
    if type(module) is not nn.Conv2d or module._forward_pre_hooks:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _crops(module: nn.Conv2d, size: tuple[int, int]) -> tuple[Crop, Crop] | None:
    """Return the crops of both axes, or None if all taps are used."""
    assert not isinstance(module.padding, str)
    crops = []
    for axis in range(2):
        options = (module.kernel_size[axis], module.stride[axis], module.padding[axis], module.dilation[axis])
        crops.append(crop_axis(size[axis], *options))
    if crops == [None, None]:
        return None
    rows, columns = (
        found or Crop(slice(0, module.kernel_size[axis]), module.padding[axis]) for axis, found in enumerate(crops)
    )
    return rows, columns

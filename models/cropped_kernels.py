"""Compute convolutions on small maps with the taps of their kernels that read pixels, not padding.

Tap i of a kernel reads input positions o·s − p + i·d, for output positions o, stride s, padding p and dilation d. On a
1×1 map, a 3×3 kernel with padding 1 uses only its central tap: eight of nine products have a factor of zero. The last
stages of a network for large images often work on such maps if the images are small. Without the unused taps, the
output is the same up to rounding, and the gradient of an unused tap remains zero. If the output is a single pixel, the
convolution is a linear layer, whose matrix product is faster on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import MethodType
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Axis(NamedTuple):
    """The used taps of a kernel along one axis."""

    taps: slice
    padding: int | None  # padding of the cropped kernel that gives the same output; None if there is none
    pixels: slice | None  # pixels that the taps read if the output has one pixel, else None


class Crop(NamedTuple):
    """The used taps of a kernel along both axes."""

    rows: Axis
    columns: Axis
    linear: bool  # whether the output is a single pixel that depends on all channels


@lru_cache(maxsize=1024)
def crop_axis(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis | None:
    """Return the taps used on an axis of ``size`` pixels; None if the output is empty or reads padding only."""
    outputs = _output_size(size, kernel, stride, padding, dilation)
    reads = {i: [o * stride - padding + i * dilation for o in range(outputs)] for i in range(kernel)}
    used = [i for i, positions in reads.items() if any(0 <= x < size for x in positions)]
    if not used:
        return None
    first, last = used[0], used[-1]
    rest = padding - first * dilation
    fits = rest >= 0 and _output_size(size, last - first + 1, stride, rest, dilation) == outputs
    pixels = slice(-rest, -rest + (last - first) * dilation + 1, dilation) if outputs == 1 else None
    return Axis(slice(first, last + 1), rest if fits else None, pixels)


def _output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _conv_forward(self: nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
    """Return the convolution of ``input``. The name is that of torch, so that a pickled layer is a plain one."""
    crop = _crop(self, input)
    if crop is None:
        whole: Tensor = nn.Conv2d._conv_forward(self, input, weight, bias)
        return whole
    return _convolved(self, crop, input, _used(weight, crop), bias)


def _used(weight: Tensor, crop: Crop) -> Tensor:
    return weight[:, :, crop.rows.taps, crop.columns.taps]


def _convolved(layer: nn.Conv2d, crop: Crop, images: Tensor, taps: Tensor, bias: Tensor | None) -> Tensor:
    rows, columns = crop.rows, crop.columns
    if crop.linear:
        read = images[:, :, rows.pixels, columns.pixels].flatten(1)
        return F.linear(read, taps.flatten(1), bias)[:, :, None, None]
    assert rows.padding is not None
    assert columns.padding is not None
    return F.conv2d(images, taps, bias, layer.stride, (rows.padding, columns.padding), layer.dilation, layer.groups)


class CroppedConv2d(nn.Conv2d):
    """A convolution of a frozen copy: it skips the taps that its input does not use, and keeps copies of the others."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in torch
        """Return the convolution of ``input``, (N, C, H, W)."""
        crop = _crop(self, input)
        if crop is None:
            return super().forward(input)
        size = (input.shape[-2], input.shape[-1])
        taps = _used(self.weight, crop) if self.weight.requires_grad else self._kept(crop, size)
        return _convolved(self, crop, input, taps, self.bias)

    def _kept(self, crop: Crop, size: tuple[int, int]) -> Tensor:
        """Return the used taps of frozen weights, copied once: a slice would be copied again in every pass."""
        kept: dict[tuple[int, int], tuple[Tensor, int, Tensor]] = self.__dict__.setdefault("kept_taps", {})
        if size in kept:
            weight, version, taps = kept[size]
            if weight is self.weight and version == weight._version and _same_kind(weight, taps):
                return taps
        taps = _used(self.weight, crop).detach().clone()
        kept[size] = (self.weight, self.weight._version, taps)
        return taps


def _same_kind(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.device) == (other.dtype, other.device)


@contextmanager
def cropped_kernels(model: nn.Module) -> Iterator[None]:
    """Inside the context, the convolutions of ``model`` skip unused taps. Classes, weights and names stay the same.

    The taps are read in every pass: frozen weights may change during a training, unseen by torch if by ``weight.data``.
    """
    convolutions = [module for module in model.modules() if _croppable(module)]
    for module in convolutions:
        module.__dict__["_conv_forward"] = MethodType(_conv_forward, module)
    try:
        yield
    finally:
        for module in convolutions:
            module.__dict__.pop("_conv_forward", None)


def crop_kernel(module: nn.Module, image: Tensor) -> bool:
    """Let ``module``, of a frozen copy, skip unused taps if it has any for ``image``, (N, C, H, W).

    Return whether it has.
    """
    if not _croppable(module):
        return False
    assert isinstance(module, nn.Conv2d)
    if _crop(module, image) is None:
        return False
    module.__class__ = CroppedConv2d
    return True


def _croppable(module: nn.Module) -> bool:
    """Return whether ``module`` is a plain convolution: subclasses, hooks and methods may use or change its weights."""
    if type(module) is not nn.Conv2d or module._forward_pre_hooks or "_conv_forward" in module.__dict__:
        return False
    return module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _crop(module: nn.Conv2d, image: Tensor) -> Crop | None:
    """Return the crop of the kernel, or None if nothing can be saved."""
    assert not isinstance(module.padding, str)
    if image.dim() != 4:
        return None
    axes = []
    for axis, size in enumerate(image.shape[2:]):
        kernel, padding = module.kernel_size[axis], module.padding[axis]
        found = crop_axis(size, kernel, module.stride[axis], padding, module.dilation[axis])
        axes.append(found or Axis(slice(0, kernel), padding, None))
    if module.groups == 1 and all(axis.pixels is not None for axis in axes):
        return Crop(axes[0], axes[1], linear=True)
    whole = [slice(0, kernel) for kernel in module.kernel_size]
    for axis, found in enumerate(axes):
        if found.padding is None:
            axes[axis] = Axis(whole[axis], module.padding[axis], None)
    if [axis.taps for axis in axes] == whole:
        return None
    return Crop(axes[0], axes[1], linear=False)

"""Replace a stem by the small stem, for small images: a 3×3 convolution at stride 1, and no max-pool.

A stem for ImageNet reduces the image size by a factor of four before the first block, to 8×8 for CIFAR and to 2×2 for
digits. The CIFAR networks of He et al. (2016, section 4.2) therefore start with a 3×3 convolution at stride 1. This
module makes the same change to any architecture with a stem for ImageNet.

For digits of 8×8 pixels, a ResNet keeps the stem for ImageNet. Digits only test the code, the accuracy is about 99 %
with either stem, and attacks on the network are several times faster.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

SMALL_SIDE = 64  # images up to this side get the small stem
TINY_SIDE = 12  # images up to this side keep a stem with a max-pool if the architecture takes them without enlarging
KERNEL = 3
MAX_STEM_CONVS = 3  # number of convolutions in a deep stem: a later max-pool belongs to a stage


def shrink_stem(model: nn.Module, *, first_conv: str = "", keep_pool: bool = False) -> bool:
    """Replace the stem of ``model`` by the small stem, in place. Return False, without changes, if not possible.

    ``first_conv`` is the name of the first convolution, needed for networks that are not from timm. ``keep_pool`` keeps
    the max-pool. A stem is replaced if its first convolution has stride 2 and a larger kernel. Patch embeddings, with a
    kernel that equals the stride, are not changed. Neither are networks with weights for one grid of positions only.
    """
    convs = first_convs(model, first_conv)
    if not convs or _fixed(model) or not any(_overlaps(c) for c in convs):
        return False
    if any(c.stride != (2, 2) or c.dilation != (1, 1) for c in convs):
        return False
    pools = [] if keep_pool else _stem_pools(model, convs[0])
    for conv in convs:
        _to_small(conv)
    for name in pools:
        model.set_submodule(name, nn.Identity())
    return True


def has_pool(model: nn.Module) -> bool:
    """Return whether the stem of ``model`` ends with a max-pool, so that it reduces the side by a factor of four."""
    convs = first_convs(model)
    return bool(convs) and bool(_stem_pools(model, convs[0]))


def _fixed(model: nn.Module) -> bool:
    return bool(_config(model).get("fixed_input_size", False))


def _config(model: nn.Module) -> dict[str, object]:
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None)
    return dict(config) if config else {}


def first_convs(model: nn.Module, first_conv: str = "") -> list[nn.Conv2d]:
    """Return the convolutions that read the image: several if parallel branches are summed, as in RepVGG."""
    names = first_conv or _config(model).get("first_conv") or ()
    paths = [names] if isinstance(names, str) else list(names) if isinstance(names, (list, tuple)) else []
    modules = dict(model.named_modules())
    layers = [modules.get(p) if isinstance(p, str) else None for p in paths]
    convs = [m for m in layers if isinstance(m, nn.Conv2d)]
    return convs if len(convs) == len(paths) else []


def _overlaps(conv: nn.Conv2d) -> bool:
    return min(conv.kernel_size) > max(conv.stride)


def _to_small(conv: nn.Conv2d) -> None:
    """Set stride 1 and, unless the kernel is 1×1, a 3×3 kernel, so that the output has the size of the input."""
    side = conv.kernel_size[0]
    if side != 1:
        conv.weight = nn.Parameter(_centre(conv.weight.detach()))
        conv.kernel_size = (KERNEL, KERNEL)
        scale = getattr(conv, "scale", None)
        if isinstance(scale, float):  # weight-standardised convolutions: gain / sqrt(fan in)
            setattr(conv, "scale", scale * side / KERNEL)  # noqa: B010 - nn.Module declares its attributes as modules
    conv.stride = (1, 1)
    padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
    original, conv.padding = conv.padding, padding
    if not _keeps_side(conv):  # "same" convolutions pad the input themselves
        conv.padding = original


def _centre(weight: Tensor) -> Tensor:
    """Return the central 3×3 of initial weights (out, in, k, k), scaled so that the output variance is unchanged."""
    side = weight.shape[-1]
    start = (side - KERNEL) // 2
    crop = weight[..., start : start + KERNEL, start : start + KERNEL]
    return crop.clone() * (side / KERNEL)


def _keeps_side(conv: nn.Conv2d) -> bool:
    image = torch.zeros(1, conv.in_channels, 8, 8, device=conv.weight.device)
    with torch.no_grad():
        return bool(conv(image).shape[-1] == 8)


def _stem_pools(model: nn.Module, first: nn.Conv2d) -> list[str]:
    """Return the names of the modules that form the max-pool after the first convolution; empty if it is missing.

    Modules are searched in the order of registration, up to the next module that reduces the size of the map.
    """
    convs = 0
    pad: list[str] = []
    leaves = list(_leaves_from(model, first))
    for index, (name, leaf) in enumerate(leaves):
        convs += isinstance(leaf, nn.Conv2d)
        if isinstance(leaf, nn.MaxPool2d):
            return [*pad, name, *_blur(leaf, leaves[index + 1 :])]
        if convs > MAX_STEM_CONVS or (leaf is not first and _stride(leaf) > 1):
            return []
        pad = [name] if isinstance(leaf, nn.ConstantPad2d) else []
    return []


def _blur(pool: nn.MaxPool2d, following: list[tuple[str, nn.Module]]) -> list[str]:
    """Return the name of the strided blur after an anti-aliased max-pool of stride 1; empty for other pools."""
    if _stride(pool) > 1 or not following or isinstance(following[0][1], nn.Conv2d):
        return []
    return [following[0][0]] if _stride(following[0][1]) > 1 else []


def _leaves_from(model: nn.Module, first: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    started = False
    for name, module in model.named_modules():
        started = started or module is first
        if started and not list(module.children()):
            yield name, module


def _stride(module: nn.Module) -> int:
    stride = getattr(module, "stride", 1)
    return max(stride) if isinstance(stride, tuple) else int(stride) if isinstance(stride, int) else 1

"""Find the smallest image side that an architecture supports.

About half of timm's architectures cannot process images of 8×8: their feature maps become empty, their windows or
patches do not divide the image, or their weights fit one grid of positions only. For these architectures, images are
enlarged to the smallest supported side. The side is found by forward passes on torch's meta device, which computes
shapes without values and needs little memory and time.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from bench.core.errors import first_line
from bench.models.stems import shrink_stem

Stem = Literal["native", "small"]

# Multiples of common patch sizes (4, 7, 8, 12, 14, 16, 32), and image sides for which published weights were trained.
# fmt: off
CANDIDATES = (
    16, 24, 28, 32, 42, 48, 56, 64, 70, 84, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 331, 384, 448, 512,
    640, 768, 896, 1024,
)
# fmt: on
WIDE_STRIDE = 4


@dataclass(frozen=True)
class Fit:
    """Options for building an architecture for images of side ``img_size``."""

    img_size: int
    passes_size: bool  # True if ``img_size`` is passed to the constructor


class UnfaithfulError(ValueError):
    """The architecture runs at this size but does not use the whole image."""


def default_size(name: str) -> int:
    """Return the image side that timm declares for the architecture's pretrained weights; 224 if it declares none."""
    config = get_pretrained_cfg(name)
    return max(config.input_size[-2:]) if config and config.input_size else 224


def create(name: str, fit: Fit, stem: Stem, **options: Any) -> nn.Module:
    """Create the network with timm for ``fit`` and ``stem``.

    Raises UnfaithfulError if the small stem is not possible, and any exception of the architecture itself.
    """
    size = {"img_size": fit.img_size} if fit.passes_size else {}
    model: nn.Module = timm.create_model(name, **size, **options)
    if stem == "small" and not shrink_stem(model):
        raise UnfaithfulError("its stem has no form for small images")
    return model


@functools.cache
def find_fit(name: str, image_size: int, stem: Stem) -> Fit | str:
    """Find the smallest side >= ``image_size`` that the architecture supports, or return why it supports none.

    The architecture's default side is tried last, even if it is smaller. Torch's global random generator is not used.
    """
    sizes = [image_size, *(s for s in CANDIDATES if s > image_size)]
    sizes = [*sizes, default_size(name)]
    with _generator_restored():
        fit = _first_fit(name, sizes, stem, "meta")
        if isinstance(fit, str) and stem == "native":
            # The architecture fails even at its default size, so it does not support the meta device. Use the CPU.
            fit = _first_fit(name, sizes, stem, "cpu")
    return fit


@contextmanager
def _generator_restored() -> Iterator[None]:
    """Restore torch's random generator afterwards, so that weights do not depend on cached results."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_fit(name: str, sizes: list[int], stem: Stem, device: str) -> Fit | str:
    problem = ""
    model = _build(name, Fit(sizes[0], False), stem, device)
    if stem == "small" and isinstance(model, str):
        return model
    sized = _network_of_default_size(name, device)
    for fit in (Fit(size, sized is not None) for size in sizes):
        problem = _embedding_problem(sized, fit.img_size) if sized and fit.img_size != default_size(name) else ""
        if problem:  # skip the slow construction
            continue
        model = _build(name, fit, stem, device) if sized else model
        is_default = fit.img_size == default_size(name)
        problem = model if isinstance(model, str) else _problem_of(model, fit, is_default=is_default)
        if not problem:
            return fit
    return problem


def _network_of_default_size(name: str, device: str) -> nn.Module | None:
    """Return the network at its default size if its constructor takes a size that its weights depend on, else None.

    For such a network, the size is always passed to the constructor. Otherwise, the network may rescale the images.
    """
    config = get_pretrained_cfg(name)
    if not (config and config.fixed_input_size):
        return None
    model = _build(name, Fit(default_size(name), True), "native", device)
    return model if isinstance(model, nn.Module) else None


def _embedding_problem(model: nn.Module, size: int) -> str:
    """Return why a patch embedding of the image does not fit images of side ``size``; empty if it fits."""
    convs = (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
    return next((_patch_problem(conv, size) for conv in convs), "")


def _build(name: str, fit: Fit, stem: Stem, device: str) -> nn.Module | str:
    try:
        with torch.device(device):
            return create(name, fit, stem, num_classes=0)
    except Exception as error:  # noqa: BLE001 - architectures refuse a size with any exception
        return first_line(error)


def _problem_of(model: nn.Module, fit: Fit, *, is_default: bool) -> str:
    """Return why ``model`` fails or ignores pixels on images of side ``fit.img_size``; empty without a problem."""
    problem = _run(model, fit.img_size, strict=not is_default)
    if problem or is_default or fit.passes_size:
        return problem
    # A network for one grid may pass if its map has one pixel, which broadcasts to any grid. Test also twice the size,
    # which a network for any size supports.
    return _run(model, 2 * fit.img_size, strict=False)


def _run(model: nn.Module, size: int, *, strict: bool) -> str:
    """Run a forward pass in training mode on two images. Return the first line of the error, or an empty string."""
    device = next(model.parameters()).device
    handles = _watch(model) if strict else []
    try:
        with torch.no_grad(), torch.device(device):
            flatten_features(model.train()(torch.zeros(2, 3, size, size)), getattr(model, "num_features", None))
    except Exception as error:  # noqa: BLE001 - architectures refuse a size with any exception
        return first_line(error)
    finally:
        for handle in handles:
            handle.remove()
    return ""


def _watch(model: nn.Module) -> list[Any]:
    """Add hooks that raise if a feature map is empty or a patch embedding ignores a border of the image."""
    handles: list[Any] = [m.register_forward_hook(_refuse_empty) for m in model.modules()]
    handles += [m.register_forward_pre_hook(_refuse_border) for m in model.modules() if isinstance(m, nn.Conv2d)]
    return handles


def _refuse_empty(module: nn.Module, inputs: Any, output: Any) -> None:
    del inputs
    if isinstance(output, Tensor) and output.numel() == 0:
        raise UnfaithfulError(f"the output of its {type(module).__name__} is empty")


def _refuse_border(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    assert isinstance(module, nn.Conv2d)
    problem = _patch_problem(module, inputs[0].shape[-1])
    if problem:
        raise UnfaithfulError(problem)


def _patch_problem(conv: nn.Conv2d, side: int) -> str:
    """Return why a patch embedding does not fit a map of ``side`` pixels; empty if it fits or is not an embedding.

    Pixels that do not fill a patch would be ignored, and attention needs more than one patch. A convolution is treated
    as a patch embedding if its kernel equals its stride, or if its stride is at least ``WIDE_STRIDE``. Other
    convolutions of stride 2 may ignore a row. This is part of the design of their architectures.
    """
    patch, stride = conv.kernel_size[0], conv.stride[0]
    if stride == 1 or conv.padding not in ((0, 0), "valid") or (stride < WIDE_STRIDE and patch != stride):
        return ""
    if (side - patch) % stride:
        return f"its patches of {patch} px do not fill a map of {side} px"
    if conv.in_channels == 3 and side < patch + stride:  # attention needs more than one patch
        return f"an image of {side} px is a single patch"
    return ""


def flatten_features(output: Any, width: int | None = None) -> Tensor:
    """Flatten a network's output to (N, d) by averaging maps, tokens, or the two outputs of distilled networks.

    ``width`` is d if the network declares it. It distinguishes maps (N, d, h, w) from maps (N, h, w, d). Raises
    TypeError for any other output.
    """
    if isinstance(output, (tuple, list)) and len(output) == 2 and all(isinstance(o, Tensor) for o in output):
        output = torch.stack(list(output)).mean(dim=0)
    if not isinstance(output, Tensor):
        raise TypeError(f"it returns a {type(output).__name__}, not a tensor of features")
    if output.ndim == 4:
        channels_last = output.shape[1] != width and output.shape[3] == width
        return output.mean(dim=(1, 2) if channels_last else (2, 3))
    if output.ndim == 3:  # (N, tokens, d)
        return output.mean(dim=1)
    if output.ndim != 2 or output.shape[1] == 0:
        raise TypeError(f"it returns a tensor of shape {tuple(output.shape)}, not (N, d)")
    return output

"""Preprocessing of an externally trained network. It is declared by the user or the checkpoint and never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.attacks.gradients import take_logits
from bench.core.errors import BenchError, unknown_name
from bench.core.number_text import parse_number
from bench.core.specs import Fitting, Preprocessing
from bench.core.words import join
from bench.data.split import Dataset, Moments
from bench.models.classifier import Normalize

#: Mean and standard deviation by name, for images in [0, 1]. None: not normalised.
NORMALIZATIONS: Mapping[str, Moments | None] = {
    "imagenet": Moments((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": Moments((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # maps to [−1, 1]: Inception, most vision transformers
    "clip": Moments((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),  # OpenAI
    "cifar10": Moments((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "none": None,
}
DATASET = "dataset"  # the data set's own moments
FROM_CONFIG = "from-config"  # timm's pretrained_cfg
GIVEN = "given"  # numbers on the command line
INSIDE = "inside"  # the module normalises its input itself

NUMBERS = "numbers as m,s for all channels or m,m,m,s,s,s, for images in [0, 1]"
INTERPOLATIONS: Mapping[str, Literal["bilinear", "bicubic"]] = {"bilinear": "bilinear", "bicubic": "bicubic"}
DTYPES: Mapping[torch.dtype, Literal["fp64", "fp32", "fp16", "bf16"]] = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
}

Resolved = tuple[str, tuple[float, ...] | None, tuple[float, ...] | None]


def parse_normalization(text: str, config: Mapping[str, Any] | None, dataset: Dataset | None = None) -> Resolved:
    """Parse the value of ``--normalize`` into a name, mean and std.

    ``config`` is timm's ``pretrained_cfg``, for ``from-config``; ``dataset`` supplies the moments for ``dataset``.
    Raise BenchError for an unknown name, and for numbers that cannot be the mean and std of images in [0, 1]. Raise
    BenchError also if ``config`` or ``dataset`` is required but missing.
    """
    text = text.strip()
    if text in NORMALIZATIONS:
        moments = NORMALIZATIONS[text]
        return (text, moments.mean, moments.std) if moments else (text, None, None)
    if text == DATASET:
        if dataset is None:
            raise BenchError(f"--normalize {DATASET} needs a data set with measured moments; give {NUMBERS}.")
        return DATASET, dataset.mean, dataset.std
    if text == FROM_CONFIG:
        if not config:
            raise BenchError(
                f"--normalize {FROM_CONFIG} needs a model with a timm pretrained_cfg, and this one has none; give "
                f"{join([*NORMALIZATIONS, DATASET], 'or')}, or {NUMBERS}."
            )
        preprocessing = from_config(config)
        return FROM_CONFIG, preprocessing.mean, preprocessing.std
    return _parse_numbers(text)


def _parse_numbers(text: str) -> Resolved:
    try:
        values = [parse_number(part.strip()) for part in text.split(",")]
    except ValueError:
        names = [*NORMALIZATIONS, DATASET, FROM_CONFIG]
        raise unknown_name("normalisation", text, names, hint=f"Give {join(names, 'or')}, or {NUMBERS}.") from None
    if len(values) not in (2, 6):
        raise BenchError(f"--normalize {text} has {len(values)} numbers; give {NUMBERS}.")
    half = len(values) // 2
    mean, std = _checked(values[:half], values[half:], where=f"--normalize {text}")
    return GIVEN, mean, std


def from_config(pretrained_cfg: Mapping[str, Any]) -> Preprocessing:
    """Read normalisation, size and interpolation from timm's ``pretrained_cfg``.

    Raise BenchError if mean or std is missing or impossible for images in [0, 1].
    """
    mean, std = pretrained_cfg.get("mean"), pretrained_cfg.get("std")
    if mean is None or std is None:
        raise BenchError(
            f"the model's pretrained_cfg has no mean and std; give --normalize with "
            f"{join([*NORMALIZATIONS, DATASET], 'or')}, or with {NUMBERS}."
        )
    mean, std = _checked(mean, std, where="the model's pretrained_cfg")
    size: Sequence[int | None] = pretrained_cfg.get("input_size") or (3, None, None)  # (C, H, W)
    if len(size) != 3 or size[0] not in (1, 3) or size[1] != size[2]:
        raise BenchError(
            f"the model's pretrained_cfg has input_size {tuple(size)}; it must be (C, S, S) with 1 or 3 channels."
        )
    return Preprocessing(
        normalization=FROM_CONFIG,
        mean=mean,
        std=std,
        channels=1 if size[0] == 1 else 3,
        input_size=size[1],
        interpolation=INTERPOLATIONS.get(str(pretrained_cfg.get("interpolation")), "bilinear"),
    )


def fitting_from_config(pretrained_cfg: Mapping[str, Any]) -> Fitting | None:
    """Return the resize and crop in timm's ``pretrained_cfg``; None if it has no input size.

    Raise BenchError for a ``crop_pct`` that is not in (0, 1].
    """
    preprocessing, crop = from_config(pretrained_cfg), pretrained_cfg.get("crop_pct") or 1.0
    if not 0 < crop <= 1:
        raise BenchError(f"the model's pretrained_cfg has crop_pct {crop}; it must be above 0 and at most 1.")
    if preprocessing.input_size is None:
        return None
    return Fitting(size=preprocessing.input_size, crop_pct=float(crop), interpolation=preprocessing.interpolation)


def config_notes(pretrained_cfg: Mapping[str, Any], fed_size: int, applied: Fitting | None) -> tuple[str, ...]:
    """Return notes on settings in ``pretrained_cfg`` that differ from the applied preprocessing.

    ``fed_size`` is the side length of the network's input. ``applied`` is the resize and crop on reading, if any.
    """
    declared, interpolation = fitting_from_config(pretrained_cfg), str(pretrained_cfg.get("interpolation") or "")
    mode = str(pretrained_cfg.get("crop_mode") or "center")
    notes = []
    if declared is not None and fed_size != declared.size:
        notes.append(f"pretrained_cfg declares images of {declared.size}×{declared.size}, not {fed_size}×{fed_size}")
    if declared is not None and declared.crop_pct != (applied.crop_pct if applied else 1):
        notes.append(f"pretrained_cfg declares crop_pct {declared.crop_pct:g}, which is not applied: no margin is cut")
    if applied is not None and mode != "center":
        notes.append(f"pretrained_cfg declares crop_mode {mode}; the centre is cropped")
    if interpolation and interpolation not in INTERPOLATIONS:
        notes.append(f"pretrained_cfg declares interpolation {interpolation}; bilinear is used")
    return tuple(notes)


def _checked(mean: Sequence[float], std: Sequence[float], *, where: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return ``mean`` and ``std`` as floats. Raise BenchError if they are impossible for images in [0, 1]."""
    mean, std = tuple(map(float, mean)), tuple(map(float, std))
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise BenchError(f"{where} has {len(mean)} means and {len(std)} stds; 1 or 3 of each are needed.")
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0 or min(mean) < 0:
        raise BenchError(f"{where}: a mean must be at least 0 and a std above 0; give {NUMBERS}.")
    if max(*mean, *std) > 1:
        scaled = ",".join(f"{value / 255:.4g}" for value in (*mean, *std))
        raise BenchError(
            f"{where}: {max(*mean, *std):g} exceeds 1, but images are in [0, 1]; if the values are for images in 0…255 "
            f"divide them by 255: --normalize {scaled}."
        )
    return mean, std


def moments_fed(preprocessing: Preprocessing) -> Moments | None:
    """Return mean and std per input channel. For a network with one channel, they are averaged over the channels."""
    if preprocessing.mean is None or preprocessing.std is None:
        return None
    if preprocessing.channels == 1:
        return Moments((_average(preprocessing.mean),), (_average(preprocessing.std),))
    return Moments(preprocessing.mean, preprocessing.std)


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def precision_of(network: nn.Module) -> Literal["fp64", "fp32", "fp16", "bf16"]:
    """Return the precision of the network's first floating-point parameter or buffer; fp32 if it has none."""
    return DTYPES.get(_dtype(network) or torch.float32, "fp32")


def _dtype(network: nn.Module) -> torch.dtype | None:
    tensors = chain(network.parameters(), network.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.dtype in DTYPES), None)


class Preprocessed(nn.Module):
    """A network with its preprocessing: images (N, 3, S, S) in [0, 1] to logits (N, K) in the data set's class order.

    The steps are: resize, average the channels, normalise, cast to the network's precision. Resizing matches the
    resizing of Pillow: it is antialiased (without effect on bilinear upsampling), and bicubic overshoot is clipped. All
    steps are differentiable. Logits are returned in the dtype of the images. ``notes`` describe the extraction of the
    logits from the output of the last forward pass, see :func:`bench.attacks.gradients.take_logits`.
    """

    order: Tensor | None

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing
        self.notes: tuple[str, ...] = ()
        moments = moments_fed(preprocessing)
        self.normalize = nn.Identity() if moments is None else Normalize(*moments)
        order = preprocessing.class_order
        self.register_buffer("order", None if order is None else _inverse(order))

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode. The mode of an exported program is fixed and does not change."""
        self.training = mode
        for child in self.children():
            with suppress(NotImplementedError):
                child.train(mode)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K). Raise BenchError if the class order does not fit the network's output."""
        fed = self.normalize(_resize_and_average(images, self.preprocessing))
        logits, note = take_logits(self.network(fed.to(_dtype(self.network) or fed.dtype)), images)
        self.notes = (note,) if note else ()
        if self.order is None:
            return logits
        if logits.shape[1:] != self.order.shape:
            raise BenchError(
                f"the class order has {len(self.order)} classes, but the network's output has shape "
                f"{tuple(logits.shape)}; give one class name per output."
            )
        return logits.index_select(1, self.order)


def _resize_and_average(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    side = preprocessing.input_size
    if side is not None and images.shape[2:] != (side, side):
        mode = preprocessing.interpolation
        images = F.interpolate(images, size=(side, side), mode=mode, align_corners=False, antialias=True)
        images = images.clamp(0, 1) if mode == "bicubic" else images
    return images.mean(1, keepdim=True) if preprocessing.channels == 1 else images


def _inverse(order: Sequence[int]) -> Tensor:
    """Return the output index of each class. Raise BenchError unless ``order`` is a permutation of 0…K−1."""
    if sorted(order) != list(range(len(order))):
        raise BenchError(f"class order {tuple(order)} must have each of 0…{len(order) - 1} once.")
    return torch.tensor(order).argsort()


def describe_fitting(fitting: Fitting) -> str:
    """Describe the resize and crop of the images of a folder as a sentence without a full stop.

    >>> describe_fitting(Fitting(size=224, crop_pct=0.875, interpolation="bicubic"))
    'files are resized to 256 pixels on the shorter side (bicubic), and the middle 224×224 pixels are cut out'
    """
    shorter, size = math.floor(fitting.size / fitting.crop_pct), fitting.size
    return (
        f"files are resized to {shorter} pixels on the shorter side ({fitting.interpolation}), and the middle "
        f"{size}×{size} pixels are cut out"
    )


def describe(preprocessing: Preprocessing) -> str:
    """Describe the preprocessing as a sentence without a full stop.

    >>> describe(Preprocessing(normalization="given", mean=(0.5,), std=(0.25,), input_size=28))
    'images in [0, 1] are resized to 28×28 (bilinear), normalised with mean 0.5 and std 0.25'
    """
    steps = []
    if preprocessing.input_size is not None:
        side = preprocessing.input_size
        steps.append(f"resized to {side}×{side} ({preprocessing.interpolation})")
    if preprocessing.channels == 1:
        steps.append("averaged over the channels")
    moments = moments_fed(preprocessing)
    if moments is not None:
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in moments)
        chosen = "" if preprocessing.normalization == GIVEN else f" ({preprocessing.normalization})"
        steps.append(f"normalised with mean {mean} and std {std}{chosen}")
    elif preprocessing.normalization == INSIDE:
        steps.append("normalised by the model itself")
    else:
        steps.append("not normalised")
    if preprocessing.precision != "fp32":
        steps.append(f"cast to {preprocessing.precision}")
    text = f"images in [0, 1] are {', '.join(steps)}"
    return text if preprocessing.class_order is None else f"{text}; outputs are reordered to the data set's classes"

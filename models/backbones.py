"""Build a backbone by name: a module from normalised images to features (N, d).

Any architecture of timm is supported, for any image size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from bench.core.errors import BenchError, first_line
from bench.models.input_size import Fit, Stem, create, default_size, find_fit, flatten_features
from bench.models.registry import HINT, MODELS, ModelEntry, check_model_name, expand_models, register_model
from bench.models.stems import SMALL_SIDE, TINY_SIDE, has_pool
from bench.models.weights import class_count, converter, load_weights, read_weights

__all__ = [
    "MODELS",
    "Backbone",
    "ModelEntry",
    "Resize",
    "build_backbone",
    "check_model_name",
    "expand_models",
    "register_model",
]


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, and the properties that are reported with its results."""

    module: nn.Module  # normalised images (N, 3, S, S), float, to features (N, num_features)
    num_features: int
    native_size: int  # S, the side of the input images
    img_size: int  # side of the images inside the architecture, after resizing
    stem: str  # "native" or "small"
    classifier: nn.Linear | None  # classifier of the loaded weights if it has the requested number of classes


@dataclass(frozen=True)
class _Network:
    model: nn.Module
    fit: Fit
    stem: Stem
    classifier: nn.Linear | None = None


class Resize(nn.Module):
    """Bilinear interpolation of (N, C, S, S) to (N, C, side, side). It is differentiable, as attacks require."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """Resize images (N, C, S, S) to (N, C, side, side)."""
        return F.interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=False)

    def extra_repr(self) -> str:
        """Return the options for ``repr``."""
        return f"side={self.side}"


class Flatten(nn.Module):
    """Average feature maps or tokens to (N, d), for encoders without pooling."""

    def __init__(self, width: int | None) -> None:
        super().__init__()
        self.width = width

    def forward(self, output: Any) -> Tensor:
        """Return :func:`bench.models.input_size.flatten_features` of ``output``, (N, d)."""
        return flatten_features(output, self.width)


class Layout(NamedTuple):
    """Structure of a stored network that the name of its architecture leaves open."""

    stem: Stem
    img_size: int  # side in pixels of the network's input


def build_backbone(
    name: str,
    *,
    image_size: int,
    num_classes: int,
    pretrained: bool = False,
    checkpoint_path: Path | None = None,
    stem: Stem | None = None,
    layout: Layout | None = None,
) -> Backbone:
    """Build ``name`` for square images of side ``image_size``, with random, downloaded or stored weights.

    ``layout`` is that of a stored network, whose weights the caller loads afterwards; ``pretrained`` and
    ``checkpoint_path`` are then not used.

    Images that are too small for the architecture are enlarged inside the module. The small stem is used for images of
    13 to 64 px if no weights are loaded, and for weights of a file that fit only the small stem. It is also used for
    smaller images, unless the native stem has a max-pool and takes them. ``stem`` overrides this choice for random
    weights. ``num_classes`` only determines if a loaded classifier is kept. Raises BenchError for an unknown name, for
    an architecture that does not map images to features or has no small stem, and for weights that are missing or do
    not fit.
    """
    check_model_name(name)
    if pretrained and checkpoint_path is not None:
        raise BenchError(f"model {name!r} has both --pretrained and --checkpoint-path; give only one of them.")
    if layout is not None:
        network = _as_stored(name, image_size, layout)
    elif name in MODELS:
        network = _registered(name, image_size, pretrained, checkpoint_path)
    elif checkpoint_path is not None:
        network = _from_checkpoint(name, checkpoint_path, image_size, num_classes)
    elif pretrained:
        network = _from_timm_weights(name, image_size, num_classes)
    else:
        network = _from_scratch(name, image_size, stem)
    return _assemble(name, network, image_size)


def _as_stored(name: str, image_size: int, layout: Layout) -> _Network:
    """Build the network with random weights, and with the stem and the input size that it was stored with."""
    if name in MODELS:
        return _registered(name, image_size, False, None)
    small = layout.stem == "small"
    fits = [find_fit(name, image_size, "small")] if small else _fits_for_weights(name, image_size)
    fit = next((fit for fit in fits if isinstance(fit, Fit) and fit.img_size == layout.img_size), None)
    if fit is None:
        raise BenchError(
            f"model {name!r} can no longer be built with the {layout.stem} stem for inputs of {layout.img_size} px, as "
            "it was stored; train again with --force."
        )
    return _Network(create(name, fit, layout.stem, num_classes=0), fit, layout.stem)


def _from_scratch(name: str, image_size: int, stem: Stem | None) -> _Network:
    if stem is not None:
        return _with_stem(name, image_size, stem)
    native = find_fit(name, image_size, "native") if image_size <= TINY_SIDE else None
    if isinstance(native, Fit) and native.img_size == image_size:
        model = create(name, native, "native", num_classes=0)
        if has_pool(model):
            return _Network(model, native, "native")
    chosen, fit = next(_small(name, image_size), None) or ("native", _native(name, image_size))
    return _Network(create(name, fit, chosen, num_classes=0), fit, chosen)


def _with_stem(name: str, image_size: int, stem: Stem) -> _Network:
    """Build the network with random weights and the given stem. Raises BenchError if it has no small stem."""
    fit = _native(name, image_size) if stem == "native" else find_fit(name, image_size, "small")
    if isinstance(fit, str):
        raise BenchError(f"model {name!r} has no small stem: {fit}. Leave --stem out.")
    return _Network(create(name, fit, stem, num_classes=0), fit, stem)


def _small(name: str, image_size: int) -> Iterator[tuple[Stem, Fit]]:
    """Yield the small stem and its fit if images have at most SMALL_SIDE pixels, also at the size of the fit."""
    if image_size <= SMALL_SIDE:
        fit = find_fit(name, image_size, "small")
        if isinstance(fit, Fit) and fit.img_size <= SMALL_SIDE:
            yield "small", fit


def _native(name: str, image_size: int) -> Fit:
    fit = find_fit(name, image_size, "native")
    if isinstance(fit, str):
        raise BenchError(f"model {name!r} cannot be a backbone for plain images: {fit}. Choose another one. {HINT}")
    return fit


def _fits_for_weights(name: str, image_size: int) -> list[Fit]:
    """Return the fits for the smallest and the default size: some weights cannot be resampled to another grid."""
    smallest = _native(name, image_size)
    return list(dict.fromkeys([smallest, Fit(default_size(name), smallest.passes_size)]))


def _from_timm_weights(name: str, image_size: int, num_classes: int) -> _Network:
    config = get_pretrained_cfg(name)
    if not (config and config.has_weights):
        raise BenchError(f"timm has no pretrained weights for model {name!r}; pass your own with --checkpoint-path.")
    failure: Exception | None = None
    for fit in _fits_for_weights(name, image_size):
        try:
            model = create(name, fit, "native", pretrained=True)
        except Exception as error:  # noqa: BLE001 - download and architecture may raise any exception
            failure = error
            if isinstance(error, OSError):  # the download failed: another size does not help
                break
        else:
            return _Network(model, fit, "native", _take_classifier(model, fit.img_size, num_classes))
    assert failure is not None
    raise BenchError(
        f"the pretrained weights of model {name!r} could not be loaded ({type(failure).__name__}: "
        f"{first_line(failure)}); download the file on a machine with internet access and pass it with "
        "--checkpoint-path."
    ) from failure


def _from_checkpoint(name: str, path: Path, image_size: int, num_classes: int) -> _Network:
    """Load weights from a file strictly, including their classifier, and then remove the classifier."""
    state = read_weights(path)
    native: list[tuple[Stem, Fit]] = [("native", fit) for fit in _fits_for_weights(name, image_size)]
    problems = []
    for stem, fit in [*native, *_small(name, image_size)]:
        model = create(name, fit, stem, num_classes=class_count(name, state))
        problem = load_weights(model, state, converter(name, model))
        if not problem:
            return _Network(model, fit, stem, _take_classifier(model, fit.img_size, num_classes))
        problems.append(problem)
    raise BenchError(f"checkpoint {path} does not fit model {name!r}: {problems[0]}. Give the model it was saved from.")


def _take_classifier(model: Any, size: int, num_classes: int) -> nn.Linear | None:
    """Remove the classifier of ``model``. Return it if it maps the features linearly to ``num_classes``, else None."""
    if not hasattr(model, "get_classifier"):  # an encoder without classifier
        return None
    head = model.get_classifier()
    if not (isinstance(head, nn.Linear) and head.out_features == num_classes):
        model.reset_classifier(0)
        return None
    logits = _probe(model, size)
    model.reset_classifier(0)
    features = flatten_features(_probe(model, size), getattr(model, "num_features", None))
    with torch.no_grad():
        same_width = features.shape[1] == head.in_features
        is_linear = same_width and torch.allclose(head(features), logits, rtol=1e-3, atol=1e-4)
    return head if is_linear else None


def _registered(name: str, image_size: int, pretrained: bool, checkpoint_path: Path | None) -> _Network:
    if pretrained:
        raise BenchError(f"model {name!r} has no pretrained weights to download; pass yours with --checkpoint-path.")
    model = MODELS.get(name).build(image_size=image_size)
    problem = load_weights(model, read_weights(checkpoint_path)) if checkpoint_path is not None else ""
    if problem:
        raise BenchError(f"checkpoint {checkpoint_path} does not fit model {name!r}: {problem}.")
    return _Network(model, Fit(image_size, False), "native")


def _assemble(name: str, network: _Network, image_size: int) -> Backbone:
    """Test the network, and add resizing before it and averaging after it where needed. Raises BenchError."""
    size, model = network.fit.img_size, network.model
    width = getattr(model, "num_features", None)
    try:
        output = _probe(model, size)
        features = flatten_features(output, width)
    except Exception as error:
        raise BenchError(f"model {name!r} cannot be a backbone at {size} px: {first_line(error)}. {HINT}") from error
    if not bool(features.isfinite().all()):
        raise BenchError(f"model {name!r} returns NaN or infinite features at {size} px. Choose another one. {HINT}")
    steps = nn.Sequential()
    if size != image_size:
        steps.add_module("resize", Resize(size))
    steps.add_module("network", model)
    if output is not features:
        steps.add_module("flatten", Flatten(width))
    module = steps if len(steps) > 1 else model
    return Backbone(module, features.shape[1], image_size, size, network.stem, network.classifier)


def _probe(model: nn.Module, size: int) -> Any:
    """Return the output of ``model`` in evaluation mode for two images.

    The mode of ``model`` and torch's random generator are not changed.
    """
    images = torch.linspace(-1, 1, 2 * 3 * size * size).view(2, 3, size, size)
    training = model.training
    try:
        with torch.no_grad():
            return model.eval()(images)
    finally:
        model.train(training)

"""List the ways in which a named architecture may have been built, given the tensors of a checkpoint."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from timm.models import get_pretrained_cfg
from torch import Tensor, nn

from bench.core.errors import BenchError, unknown_name
from bench.models.input_size import Stem, default_size
from bench.models.registry import MODELS, check_model_name
from bench.models.stems import shrink_stem
from bench.models.unwrapping import State, views
from bench.models.weights import class_count, converter, weights_of

TORCHVISION = "torchvision:"
PROBE_CLASSES = 7  # width that identifies the classifier; no other layer in torchvision is this narrow
POOL_NOTE = (
    "the first convolution of the weights is 3×3, so the stem for small images, without max-pool, was used; weights do "
    "not show whether the network had a max-pool, and stem 'native' keeps it"
)


@dataclass(frozen=True)
class Candidate:
    """One way to build the network.

    ``build`` may raise any exception. ``convert`` returns timm's converter of published weights for a network.
    """

    build: Callable[[], nn.Module]
    input_size: int  # side of the input images in pixels
    notes: tuple[str, ...] = ()
    convert: Callable[[nn.Module], Callable[[State], State]] | None = None


def candidates(
    name: str, state: State, *, image_size: int, num_classes: int | None, stem: Stem | None
) -> Iterator[Candidate]:
    """Yield candidates for the model ``name``, the most likely first. Raises BenchError for an unknown name.

    ``num_classes`` is used if ``state`` has no classifier with a known name.
    """
    if name.startswith(TORCHVISION):
        yield from _torchvision_candidates(name.removeprefix(TORCHVISION), state, image_size, num_classes, stem)
        return
    check_model_name(name)
    if name in MODELS:
        yield Candidate(lambda: MODELS.get(name).build(image_size=image_size), image_size)
    else:
        yield from _timm_candidates(name, state, image_size, num_classes, stem)


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification models."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def _timm_candidates(
    name: str, state: State, image_size: int, num_classes: int | None, stem: Stem | None
) -> Iterator[Candidate]:
    first_conv = _names(name, "first_conv")
    options = {
        "num_classes": class_count(name, state) or num_classes or 1000,
        "in_chans": _channels(first_conv, state),
    }
    config = get_pretrained_cfg(name)
    sizes = _sizes(name, state, image_size) if config and config.fixed_input_size else [(image_size, {})]
    for side, size in sizes:

        def native(size: dict[str, int] = size) -> nn.Module:
            model: nn.Module = timm.create_model(name, **size, **options)
            return model

        for build, notes in _stems(native, "", stem):
            yield Candidate(build, side, notes, lambda model: converter(name, model))


def _names(name: str, key: str) -> tuple[str, ...]:
    config = get_pretrained_cfg(name)
    names = (getattr(config, key) if config else None) or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _sizes(name: str, state: State, image_size: int) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield image sides and constructor options for an architecture with weights for one grid of positions only."""
    yield default_size(name), {}
    yield image_size, {"img_size": image_size}
    patch = next((int(weight.shape[-1]) for weight in weights_of(_names(name, "first_conv"), state)), 0)
    for view in views(state):
        positions = view.state.get("pos_embed")
        if isinstance(positions, Tensor) and positions.ndim == 3 and patch:
            for extra in (0, 1, 2):  # class and distillation tokens
                grid = math.isqrt(positions.shape[1] - extra)
                if grid > 0 and grid**2 == positions.shape[1] - extra:
                    yield grid * patch, {"img_size": grid * patch, "patch_size": patch}


def _torchvision_candidates(
    name: str, state: State, image_size: int, num_classes: int | None, stem: Stem | None
) -> Iterator[Candidate]:
    if name not in torchvision_names():
        raise unknown_name("torchvision model", name, torchvision_names(), hint="See torchvision.models.list_models().")
    options = _auxiliary(name, state)
    probe = _on_meta(lambda: torchvision.models.get_model(name, weights=None, num_classes=PROBE_CLASSES, **options))
    layers = [(path, layer) for path, layer in probe.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    first_conv = next(path for path, layer in layers if isinstance(layer, nn.Conv2d))
    classifiers = [path for path, layer in layers if layer.weight.shape[0] == PROBE_CLASSES]
    counts = [int(weight.shape[0]) for weight in weights_of(classifiers[-1:], state)]
    classes = counts[0] if counts else num_classes or 1000
    channels = _channels([first_conv], state)

    def native() -> nn.Module:
        model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
        _take_channels(model, first_conv, channels)
        return model

    note = ("the network was built with transform_input=False, as for weights trained from scratch",) if options else ()
    for build, notes in _stems(native, first_conv, stem):
        yield Candidate(build, image_size, (*note, *notes))


def _auxiliary(name: str, state: State) -> dict[str, bool]:
    """Return options of GoogLeNet and Inception: auxiliary classifiers as in ``state``, no slow initialisation."""
    if name not in ("googlenet", "inception_v3"):
        return {}
    auxiliary = any(key.startswith(("aux1.", "AuxLogits.")) for view in views(state) for key in view.state)
    return {"aux_logits": auxiliary, "init_weights": False, "transform_input": False}


def _stems(
    native: Callable[[], nn.Module], first_conv: str, stem: Stem | None
) -> Iterator[tuple[Callable[[], nn.Module], tuple[str, ...]]]:
    """Yield builders with the native and the small stem, and their notes.

    With ``stem``, only stems of this kind are yielded. "native" also allows the small stem with its max-pool kept.
    """

    def small(keep_pool: bool = False) -> nn.Module:
        model = native()
        if not shrink_stem(model, first_conv=first_conv, keep_pool=keep_pool):
            raise BenchError("its stem has no form for small images")
        return model

    if stem != "small":
        yield native, ()
    if stem == "native":
        yield lambda: small(keep_pool=True), ()
    else:
        yield small, () if stem == "small" else (POOL_NOTE,)


def _channels(first_conv: Iterable[str], state: State) -> int:
    """Return the number of input channels of the weights; 3 if the first convolution is not in ``state``."""
    return next((int(weight.shape[1]) for weight in weights_of(first_conv, state)), 3)


def _take_channels(model: nn.Module, path: str, channels: int) -> None:
    """Replace the convolution at ``path`` by a convolution for images with ``channels`` channels."""
    conv: Any = model.get_submodule(path)
    if conv.in_channels != channels:
        arguments = {
            key: getattr(conv, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        }
        other = nn.Conv2d(channels, conv.out_channels, bias=conv.bias is not None, **arguments)
        model.set_submodule(path, other)


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    """Build the network on the meta device, without values, if the architecture allows it."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return build()
        except NotImplementedError:  # the initialisation reads values
            return build()

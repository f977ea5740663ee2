"""Rebuild an externally trained network from the name of its architecture and its weights.

A name is an architecture of timm, ``torchvision:NAME``, or a model registered by a plug-in. Sizes and stem are inferred
from the tensors. :mod:`bench.models.backbones` builds networks for training. This module rebuilds the network for which
the weights were saved, including its classifier.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import timm
import torch
from torch import Tensor, nn

from bench.core.errors import BenchError, first_line
from bench.core.words import join
from bench.models.candidates import POOL_NOTE, TORCHVISION, Candidate, candidates, torchvision_names
from bench.models.classifier import freeze
from bench.models.input_size import Stem
from bench.models.stems import SMALL_SIDE
from bench.models.unwrapping import State, View
from bench.models.weights import fitting_view, load_weights, mismatch

STEM_NOTE = (
    "the weights fit both the stem of the architecture and the stem for small images, which have the same shapes; the "
    "stem of the architecture was used, and stem 'small' selects the other one"
)
SUGGESTIONS = 6  # number of architectures per library that are tried if the named one does not fit


@dataclass(frozen=True)
class Network:
    """A frozen network in evaluation mode, and notes on choices that the weights do not determine.

    ``module`` maps normalised images (N, in_chans, input_size, input_size) to logits (N, num_classes). ``input_size``
    is the requested side length or, for an architecture with a fixed grid, the side length that its weights require.
    """

    module: nn.Module
    in_chans: int
    num_classes: int
    input_size: int
    notes: tuple[str, ...] = ()
    other_stem: Stem | None = None  # another stem that fits the weights; None if they determine the stem


def build_network(
    name: str, state: State, *, image_size: int, num_classes_hint: int | None = None, stem: Stem | None = None
) -> Network:
    """Build the model ``name`` and load ``state`` strictly, without wrapper prefixes.

    ``image_size`` is the side length of the images that the network will receive, in pixels. ``num_classes_hint`` is
    used only if ``state`` does not determine the number of classes. ``stem`` is "native" or "small" (3×3 at stride 1,
    no max-pool). By default, the stem is inferred from the tensors, with a note if they are ambiguous. Raises
    BenchError for an unknown name and for weights that do not fit.
    """
    options = list(candidates(name, state, image_size=image_size, num_classes=num_classes_hint, stem=stem))
    problems = [_problem_of(candidate, state) for candidate in options]
    for candidate, problem in zip(options, problems, strict=True):
        if not problem:
            model = _built(candidate)
            notes = (*_notes(fitting_view(model, state)), *candidate.notes)
            problem = load_weights(model, state)
            if problem:
                raise BenchError(f"the weights could not be loaded into model {name!r}: {problem}.")
            other = _other_stem(name, state, image_size, stem, candidate)
            network = _probed(name, freeze(model), candidate, (*notes, *([STEM_NOTE] if other == "small" else [])))
            return replace(network, other_stem=other)
    for candidate in options:
        converted = _converted(candidate, state)
        if converted is not None:
            notes = (*candidate.notes, "the weights were renamed by timm's conversion of published weights")
            return _probed(name, freeze(converted), candidate, notes)
    raise BenchError(f"the weights do not fit model {name!r}: {problems[0]}. {_how_to_fix(name, state, image_size)}")


def _problem_of(candidate: Candidate, state: State, devices: tuple[str, ...] = ("meta", "cpu")) -> str:
    """Return why ``state`` does not fit by names and shapes; empty if it fits. Tries the meta device first."""
    problem = ""
    for device in devices:
        try:
            model = _built(candidate, device)
        except BenchError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - unsupported options or devices may raise any exception
            problem = first_line(error)
        else:
            return mismatch(model, fitting_view(model, state).state)
    return problem


def _converted(candidate: Candidate, state: State) -> nn.Module | None:
    """Return the network if timm's converter makes the weights fit by renaming alone, without resampling."""
    if candidate.convert is None:
        return None
    try:
        model = _built(candidate)
    except Exception:  # noqa: BLE001 - unsupported options may raise any exception
        return None
    return None if load_weights(model, state, _only_renaming(candidate.convert(model))) else model


def _only_renaming(convert: Callable[[State], State]) -> Callable[[State], State]:
    """Make ``convert`` raise if it changes the size of a tensor: resampled weights are a different network."""

    def renaming(state: State) -> State:
        converted = convert(state)
        for key, value in converted.items():
            if isinstance(state.get(key), Tensor) and state[key].numel() != value.numel():
                raise ValueError(f"{key} would be resampled")
        return converted

    return renaming


def _built(candidate: Candidate, device: str = "cpu") -> nn.Module:
    """Build the network without changing torch's random state, and ignore warnings about its initialisation."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        return candidate.build()


def _notes(view: View) -> tuple[str, ...]:
    dropped = [repr(key) for key in view.dropped]
    return (f"entries that are not weights of the network were left out: {', '.join(dropped)}",) if dropped else ()


def _other_stem(name: str, state: State, image_size: int, stem: Stem | None, chosen: Candidate) -> Stem | None:
    """Return another stem that fits the weights as well as the stem of ``chosen``; None if the user gave ``stem``."""
    if stem is not None or image_size > SMALL_SIDE:
        return None
    other: Stem = "native" if POOL_NOTE in chosen.notes else "small"
    for candidate in candidates(name, state, image_size=image_size, num_classes=None, stem=other):
        if candidate.input_size == chosen.input_size and not _problem_of(candidate, state, ("meta",)):
            return other
    return None


def _probed(name: str, model: nn.Module, candidate: Candidate, notes: tuple[str, ...]) -> Network:
    """Run the network on two images, since it may reject this image size even if the weights fit.

    Raises BenchError if the network rejects the image size or if its output is not (N, K).
    """
    channels, side = first_channels(model), candidate.input_size
    images = torch.linspace(-1, 1, 2 * channels * side * side).view(2, channels, side, side)
    try:
        with torch.no_grad():
            output = model(images)
    except Exception as error:
        raise BenchError(
            f"model {name!r} does not accept images of {channels} × {side} × {side}: {first_line(error)}. Resize the "
            "images to the size that the network was trained on."
        ) from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
        described = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise BenchError(
            f"model {name!r} returns {described}, not logits (N, K); write a function that builds the whole "
            "classifier, and pass it with --module file.py:function."
        )
    return Network(model, channels, int(output.shape[1]), side, notes)


def first_channels(model: nn.Module) -> int:
    """Return the number of input channels of the first convolution; 3 if the model has none."""
    convs = (layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    first = next(convs, None)
    return first.in_channels if first is not None else 3


def _how_to_fix(name: str, state: State, image_size: int) -> str:
    fitting = []
    for other in similar_names(name):
        options = candidates(other, state, image_size=image_size, num_classes=None, stem=None)
        if not all(_problem_of(candidate, state, ("meta",)) for candidate in options):
            fitting.append(repr(other))
    if fitting:
        return f"They fit {join(fitting, 'or')}."
    return (
        "Give the architecture of these weights, or replace the file by --module file.py:function: a function that "
        "builds the network and loads the weights."
    )


def similar_names(name: str) -> list[str]:
    """Return architectures of timm and torchvision with similar names, the most similar names of each library first."""
    base = name.removeprefix(TORCHVISION)
    from_timm, from_torchvision = (
        difflib.get_close_matches(base, names, n=SUGGESTIONS, cutoff=0.6)
        for names in (timm.list_models(), torchvision_names())
    )
    names = [*from_timm, *(TORCHVISION + other for other in from_torchvision)]
    return [other for other in names if other != name]

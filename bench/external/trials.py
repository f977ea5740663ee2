"""Clean accuracy of a network under its declared preprocessing and under the common alternatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.core.errors import ran_out_of_memory
from bench.core.specs import Preprocessing
from bench.data.split import Moments
from bench.external.preprocessing import DATASET, GIVEN, INSIDE, NORMALIZATIONS, Preprocessed, moments_fed
from bench.external.reordering import Bools, Ints, classes_of

BATCH = 64
NORMALIZE, INPUT_SIZE, STEM = "--normalize", "--input-size", "--stem"
NAMES = {DATASET: "the data set's moments", GIVEN: "the given mean and std", INSIDE: "the module's own normalisation"}


class Alternative(NamedTuple):
    """Another preprocessing, or another architecture for the same weights, with the options that select it."""

    name: str
    way_out: str
    preprocessing: Preprocessing
    bgr: bool = False
    network: nn.Module | None = None  # the same weights in another architecture


@dataclass(frozen=True)
class Trial:
    """Clean accuracy of the network under one preprocessing."""

    name: str
    way_out: str  # options that select this preprocessing
    outputs: Ints  # (N,) index of the largest logit; −1 where a logit is NaN or infinite
    correct: Bools  # (N,) in the declared class order

    @property
    def accuracy(self) -> float:
        """Clean accuracy as a fraction in [0, 1]."""
        return float(self.correct.mean())


def try_alternatives(
    network: nn.Module, alternatives: Iterator[Alternative], images: Tensor, truth: Ints, order: Ints, size: int
) -> tuple[list[Trial], list[str]]:
    """Try every alternative. Return the trials, and one line for each alternative that the network cannot run.

    ``size`` is the declared input size. At other sizes, and for another architecture, every exception is reported in a
    line, because architectures reject unsupported sizes by different exceptions. Out-of-memory errors are raised.
    Exceptions of the declared architecture at the declared size are also raised.
    """
    trials, failed = [], []
    for alternative in alternatives:
        try:
            trials.append(try_preprocessing(network, alternative, images, truth, order))
        except Exception as error:
            same_size = (alternative.preprocessing.input_size or images.shape[-1]) == size
            if ran_out_of_memory(error) or (same_size and alternative.network is None):
                raise
            failed.append(f"{alternative.name}: the network cannot run it ({type(error).__name__})")
    return trials, failed


def try_preprocessing(network: nn.Module, alternative: Alternative, images: Tensor, truth: Ints, order: Ints) -> Trial:
    """Classify the images under one preprocessing. ``order`` (K,) is the declared class of each output."""
    module = Preprocessed(alternative.network or network, alternative.preprocessing).to(images.device).train(False)
    inputs = images.flip(1) if alternative.bgr else images
    with torch.no_grad():
        logits = torch.cat([module(part) for part in inputs.split(BATCH)])
    outputs = logits.argmax(1).masked_fill(~logits.isfinite().all(1), -1).cpu().numpy()
    return Trial(alternative.name, alternative.way_out, outputs, classes_of(outputs, order) == truth)


def name_of(preprocessing: Preprocessing) -> str:
    """Return the name of the normalisation for tables and messages."""
    return NAMES.get(preprocessing.normalization, preprocessing.normalization)


def alternatives_to(
    declared: Preprocessing, images: Tensor, train_moments: Moments | None, config_size: int | None
) -> Iterator[Alternative]:
    """Yield common normalisations at several input sizes, without duplicates, and the BGR channel order.

    The sizes are the declared size, the size of the images, and ``config_size``. At sizes above the declared size, only
    the declared normalisation is tried, because the cost per image may be a hundred times as high.
    """
    side = int(images.shape[-1])
    declared_size = declared.input_size or side
    keys = {_fed(declared, side)}
    for size in dict.fromkeys([declared_size, side, config_size or side]):
        at_size = "" if size == declared_size else f" at {size}×{size}"
        option = "" if size == declared_size else f"{INPUT_SIZE} {size}"
        tried = _normalizations(declared, train_moments)
        for name, normalize, moments in tried if size <= declared_size else islice(tried, 1):
            mean, std = moments or (None, None)
            candidate = replace(
                declared, normalization=name, mean=mean, std=std, input_size=None if size == side else size
            )
            if _fed(candidate, side) in keys:
                continue
            keys.add(_fed(candidate, side))
            options = " ".join(part for part in (normalize, option) if part)
            yield Alternative(f"{name}{at_size}", f"give {options}", candidate)
    if declared.channels == 3 and not torch.equal(images, images.flip(1)):
        way_out = "evaluate a module that reverses the channels (images.flip(1)) before this network"
        yield Alternative(f"{name_of(declared)} in BGR channel order", way_out, declared, bgr=True)


def with_stem(declared: Preprocessing, stem: str, network: nn.Module) -> Alternative:
    """Return the alternative with the same weights in ``network``, which has the stem ``stem``."""
    return Alternative(f"{name_of(declared)} with the {stem} stem", f"give {STEM} {stem}", declared, network=network)


def _normalizations(declared: Preprocessing, train: Moments | None) -> Iterator[tuple[str, str, Moments | None]]:
    """Yield name, option and moments of each normalisation.

    The order is: the declared normalisation, the named ones, the moments of the data set, and the declared
    normalisation rescaled for pixels in 0…255.
    """
    moments, declared_name = moments_fed(declared), name_of(declared)
    yield declared_name, "", moments
    for name, named in NORMALIZATIONS.items():
        yield name, f"{NORMALIZE} {name}", named
    if train is not None:
        yield NAMES[DATASET], f"{NORMALIZE} {DATASET}", train
    mean, std = moments or Moments((0.0,), (1.0,))
    scaled = Moments(tuple(value / 255 for value in mean), tuple(value / 255 for value in std))
    numbers = ",".join(f"{value:.6g}" for values in scaled for value in values)
    yield f"{declared_name} on the 0–255 scale", f"{NORMALIZE} {numbers}", scaled


def _fed(preprocessing: Preprocessing, side: int) -> tuple[object, ...]:
    """Return a key of the network's input. Preprocessings with equal keys give the network the same input."""
    mean, std = moments_fed(preprocessing) or Moments((0.0,), (1.0,))
    rounded = [tuple(f"{v:.3g}" for v in (values * 3 if len(values) == 1 else values)) for values in (mean, std)]
    return (*rounded, preprocessing.input_size or side)

"""Open the generated or official set of corrupted images for a corruption spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.severities import Profile
from bench.core.errors import BenchError
from bench.core.specs import CorruptionSpec
from bench.data.corrupted.official import OfficialSet
from bench.data.corrupted.sets import CorruptedSet
from bench.data.split import Dataset, Pixels, take

if TYPE_CHECKING:
    from bench.data.streaming import LazyPixels
    from bench.data.tensors import Images


def open_set(
    spec: CorruptionSpec, images: Images, dataset: Dataset, *, cache: Path, folder: Path | None
) -> CorruptedSet:
    """Open the set that contains the corruption ``spec`` of ``images``, the evaluated images of the test split.

    Generated images are stored in ``cache``. Official files are read from ``folder``. Raises BenchError if ``folder``
    is missing or does not fit.
    """
    if spec.source == "generated":
        from bench.data.corrupted.cache import GeneratedSet  # imports OpenCV and SciPy, which planning does not need

        profile, labels = cast(Profile, spec.profile), images.labels.numpy()
        return GeneratedSet(cache, pixels_of(images), images.ids, labels, profile, spec.seed, files_sha=spec.files_sha)
    if folder is None:
        raise BenchError(f"{spec.kind} needs official files; give their folder with --corruptions-dir.")
    index_of = {name: i for i, name in enumerate(dataset.test.ids)}
    return _official(folder, dataset, np.array([index_of[name] for name in images.ids]))


def pixels_of(images: Images) -> Pixels | LazyPixels:
    """Return the pixels (N, C, H, W) of images in memory, or of streamed images, which are read in blocks."""
    from bench.data.streaming import LazyPixels, StreamedImages
    from bench.data.tensors import ResidentImages

    if isinstance(images, StreamedImages):
        return LazyPixels(images)
    assert isinstance(images, ResidentImages)
    pixels: Pixels = images.pixels.numpy()
    return pixels


def identified(
    specs: Sequence[CorruptionSpec], dataset: Dataset, folder: Path | None, *, limit: int | None = None
) -> list[CorruptionSpec]:
    """Return ``specs`` with the hashes of the official files in ``folder``; unchanged if ``folder`` is None.

    This function is called before training. Raises BenchError for a folder that does not fit the data set, or that
    lacks a file of the ``limit`` evaluated images.
    """
    if folder is None or not specs:
        return list(specs)
    official = _official(folder, dataset, take(dataset.test, limit))
    for spec in specs:
        official.check(spec.kind, spec.severity)
    shas = {kind: official.identity(kind) for kind in {spec.kind for spec in specs}}
    return [replace(spec, files_sha=shas[spec.kind]) for spec in specs]


def check_unchanged(spec: CorruptionSpec, found: CorruptedSet) -> None:
    """Raise BenchError unless official files still have the hash in ``spec``, which :func:`identified` computed."""
    if isinstance(found, OfficialSet) and found.identity(spec.kind) != spec.files_sha:
        raise BenchError(
            f"the files of {spec.kind} in --corruptions-dir changed after the run began; run the same command again."
        )


def _official(folder: Path, dataset: Dataset, indices: NDArray[np.int64]) -> OfficialSet:
    return OfficialSet(folder, dataset.name, dataset.test.ids, dataset.test.labels, indices, dataset.image_size)

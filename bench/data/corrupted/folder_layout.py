"""Read published corruptions from image files: ``<kind>/<severity>/<class>/<file>``, or ``<family>/<kind>/…``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.core.errors import BenchError
from bench.core.specs import Fitting, fingerprint
from bench.data import image_files
from bench.data.content_hashes import Stamp, hash_files, stamps_of
from bench.data.corrupted.sets import rows_of
from bench.data.image_listing import by_normalised_name, list_images, scan


class Place(NamedTuple):
    """Class and file name without extension. They are equal for a test image and its corrupted images."""

    class_name: str
    stem: str


class FolderLayout:
    """Corruptions in folders of image files.

    ``ids`` are the ids of the whole test split. ``indices``, (M,), select the evaluated images. Raises BenchError if
    ``folder`` has no such folders, or if ``ids`` are not files in class folders.
    """

    def __init__(
        self, folder: Path, dataset: str, ids: Sequence[str], indices: NDArray[np.int64], image_size: int
    ) -> None:
        self._folder, self._size = folder, image_size
        self._stamps: dict[str, dict[Path, Stamp]] = {}  # of all images, by kind
        self._identities: dict[str, tuple[str, str]] = {}  # hash of the stamps of all images, and identity, by kind
        if not self._kind_folders:
            raise BenchError(
                f"--corruptions-dir {folder} has neither <kind>.npy files nor <kind>/<severity>/<class>/ folders; "
                "unpack the published set there."
            )
        self._ids = [ids[i] for i in indices]
        self._places = _places(self._ids, ids, dataset, folder)

    @property
    def kinds(self) -> list[str]:
        """Kinds of corruption in the folder, sorted."""
        return sorted(self._kind_folders)

    def check(self, kind: str, severity: int) -> None:
        """Raise BenchError unless all files exist and the first file has the expected image size."""
        rows_of(severity, len(self._ids))
        self._refuse_other_sizes(self._paths(self._kind_folder(kind) / str(severity))[:1])

    def images(self, kind: str, severity: int) -> NDArray[np.uint8]:
        """Return the evaluated images, (M, S, S, 3) uint8. Raises BenchError for missing or invalid files."""
        reader = self.reader(kind, severity)
        try:
            pixels = reader(np.arange(len(reader.paths)))
        except BenchError:
            self._refuse_other_sizes(reader.paths)
            raise
        return pixels.transpose(0, 2, 3, 1)

    def reader(self, kind: str, severity: int) -> image_files.FileReader:
        """Return the reader of the evaluated images. Raises BenchError if a file is missing."""
        rows_of(severity, len(self._ids))
        paths = self._paths(self._kind_folder(kind) / str(severity))
        known = self._stamps.get(kind, {})  # files that change after their identity was compared are not read
        stamps = [known[path] for path in paths] if known else ()
        return image_files.FileReader(paths, Fitting(size=self._size), fit=False, stamps=stamps)

    def identity(self, kind: str) -> str:
        """Return a hash of the names and contents of all images of ``kind``. Raises BenchError for unreadable files.

        Hashes of files are remembered, see :mod:`bench.data.content_hashes`.
        """
        folder = self._kind_folder(kind)
        images = list_images(folder).images
        self._stamps[kind] = dict(zip(images.values(), stamps_of(list(images.values())), strict=True))
        stamps = fingerprint([list(images), list(self._stamps[kind].values())])
        known_stamps, identity = self._identities.get(kind, ("", ""))
        if stamps != known_stamps:
            hashes, _ = hash_files(list(images.values()), folder)
            identity = fingerprint(list(zip(images, hashes, strict=True)))
            self._identities[kind] = (stamps, identity)
        return identity

    def _kind_folder(self, kind: str) -> Path:
        if kind not in self._kind_folders:
            raise BenchError(f"{self._folder} has no corruption {kind}; it has {', '.join(self.kinds)}.")
        return self._kind_folders[kind]

    @cached_property
    def _kind_folders(self) -> dict[str, Path]:
        kinds: dict[str, Path] = {}
        for child in _subfolders(self._folder):
            for candidate in [child] if _has_severities(child) else _subfolders(child):
                earlier = kinds.setdefault(candidate.name, candidate) if _has_severities(candidate) else candidate
                if earlier != candidate:
                    raise BenchError(f"{earlier} and {candidate} are both called {candidate.name}; remove one of them.")
        return kinds

    def _paths(self, folder: Path) -> list[Path]:
        """Return the files of the evaluated images. Raises BenchError if one is missing or ambiguous."""
        if not folder.is_dir():
            raise BenchError(f"{folder} is missing; a corruption has one folder per severity: unpack the set again.")
        files: dict[Place, Path] = {}
        class_folders = by_normalised_name(scan(folder))
        for class_name in sorted({place.class_name for place in self._places}):
            for name, path in list_images(class_folders.get(class_name, folder / class_name)).images.items():
                earlier = files.setdefault(Place(class_name, PurePosixPath(name).stem), path)
                if earlier != path:
                    raise BenchError(f"{earlier} and {path} match the same test image; remove one of them.")
        for sample_id, place in zip(self._ids, self._places, strict=True):
            if place not in files:
                expected = folder / place.class_name / place.stem
                raise BenchError(
                    f"{expected}.* is missing: it is the corruption of the test image {sample_id}; unpack the set "
                    "again."
                )
        return [files[place] for place in self._places]

    def _refuse_other_sizes(self, paths: Sequence[Path]) -> None:
        for path in paths:
            width, height = image_files.image_size(path)
            if (width, height) != (self._size, self._size):
                raise BenchError(
                    f"{path} is {width}×{height} but the data set's images are {self._size}×{self._size}; published "
                    "corruptions are never resized, so the data set must have the same size."
                )


def _places(chosen: Sequence[str], ids: Sequence[str], dataset: str, folder: Path) -> list[Place]:
    """Return the places of ``chosen``. Raises BenchError if one of ``ids`` has no place or two have the same place."""
    owners: dict[Place, str] = {}
    place_of: Mapping[str, Place] = {sample_id: _place(sample_id, dataset, folder) for sample_id in ids}
    for sample_id, place in place_of.items():
        if owners.setdefault(place, sample_id) != sample_id:
            raise BenchError(
                f"test images {owners[place]} and {sample_id} differ by folder or extension only, "
                "so that their published corruptions cannot be distinguished; rename one of them."
            )
    return [place_of[sample_id] for sample_id in chosen]


def _place(sample_id: str, dataset: str, folder: Path) -> Place:
    """Return the place of an id ``<split>/<class>/<file>``. Raises BenchError for an id of another form."""
    parts = PurePosixPath(sample_id).parts
    if len(parts) < 3:
        raise BenchError(
            f"--corruptions-dir {folder} holds image files in class folders, which fit an imagefolder only; "
            f"{dataset} needs <kind>.npy files."
        )
    return Place(parts[1], PurePosixPath(sample_id).stem)


def _has_severities(folder: Path) -> bool:
    return any(os.path.isdir(folder / str(severity)) for severity in SEVERITY_LEVELS)


def _subfolders(folder: Path) -> Iterator[Path]:
    return (path for path in scan(folder) if os.path.isdir(path))

"""Find test images with the same content as a training image or as another test image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from bench.data.split import Dataset, Pixels, Split, readable_images

#: Maximum size in bytes of both splits together for which images are decoded and pixels compared. This takes about a
#: minute on one core. For larger data sets the bytes of the files are compared.
DECODED_BYTES = 2**29

#: Floats within this distance of k / 255, in units of 1/255, are treated as byte k. The error of half precision is at
#: most 0.063. The error of a product with a rounded 1/255, or of a normalisation undone in float32, is below 0.001.
#: Images that were not made from bytes have at least one pixel at a larger distance.
NEAR_BYTES = 0.1

#: A split is stored in 8 bits if the share of images with 8-bit values is at least the first number. It is not stored
#: in 8 bits if the share is below the second number.
ALL_BYTES, FEW_BYTES = 0.99, 0.5
INCOMPARABLE = (
    "test images cannot be compared with training images: the pixels of one split are 8-bit values and the pixels of "
    "the other are not"
)

BYTES, FLOATS = b"b", b"f"  # first byte of an image's digest: compared as bytes or as floats

Digests = Sequence[bytes | None]
Method = Literal["pixels", "files"]
LIST_THEM = "'bench show duplicates' lists them"

_KNOWN: dict[tuple[str, str], Duplicates] = {}  # results computed by this process, by the hashes of both splits


class Copy(NamedTuple):
    """One of several images with the same content."""

    sample_id: str
    label: int


class Group(NamedTuple):
    """All images with the same content; at least one of them is a test image."""

    test: tuple[Copy, ...]
    train: tuple[Copy, ...]

    @property
    def contradicts(self) -> bool:
        """True if equal images have different labels."""
        return len({copy.label for copy in (*self.test, *self.train)}) > 1


@dataclass(frozen=True)
class Duplicates:
    """Groups of equal images of a data set that include a test image."""

    groups: tuple[Group, ...]
    method: Method  # compared data: "pixels" as the network receives them, or the bytes of the "files"
    unread: tuple[str, ...]  # images that could not be read and were not compared
    train_known: bool  # true if at least one training image could be read and compared
    incomparable: bool = False  # true if only one of the splits has 8-bit values

    @cached_property
    def in_train(self) -> frozenset[str]:
        """Ids of the test images that are also training images."""
        return frozenset(copy.sample_id for group in self.groups if group.train for copy in group.test)

    @cached_property
    def contradicted(self) -> frozenset[str]:
        """Ids of the test images with a copy under another label."""
        return frozenset(copy.sample_id for group in self.groups if group.contradicts for copy in group.test)

    def leaked(self, ids: Collection[str]) -> int | None:
        """Count the test images ``ids`` that are also training images; None if they cannot be compared."""
        return len(self.in_train.intersection(ids)) if self.train_known else None

    def repeated(self, ids: Collection[str]) -> int:
        """Count the redundant test images among ``ids``. In a group of n equal images, n − 1 are redundant."""
        chosen = set(ids)
        return sum(max(sum(copy.sample_id in chosen for copy in group.test) - 1, 0) for group in self.groups)

    def notes(self, ids: Collection[str]) -> tuple[str, ...]:
        """Return the notes on copies among the test images ``ids`` of a row."""
        leaked, repeated = self.leaked(ids), self.repeated(ids)
        contradicted = len(self.contradicted.intersection(ids))
        counts = [
            *([f"{leaked} also in the training split"] if leaked else []),
            *([f"{repeated} equal to other test images"] if repeated else []),
            *([f"{contradicted} with a copy under another label"] if contradicted else []),
        ]
        note = f"copies among the {len(ids)} test images: {', '.join(counts)} (equal {self.method}, {LIST_THEM})"
        unread = f"unreadable images, not checked for copies: {len(self.unread)}, such as {next(iter(self.unread), '')}"
        return (
            *([note] if counts else []),
            *([unread] if self.unread else []),
            *([INCOMPARABLE] if self.incomparable else []),
        )


def known_duplicates(data: Dataset) -> Duplicates:
    """Return the result of :func:`find_duplicates`, computed once per process for the same images, labels and ids.

    A result with unreadable images is not kept, because these images may become readable.
    """
    key = data.train.sha, data.test.sha
    if key in _KNOWN:
        return _KNOWN[key]
    duplicates = find_duplicates(data)
    if all(key) and not duplicates.unread:
        _KNOWN[key] = duplicates
    return duplicates


def find_duplicates(data: Dataset) -> Duplicates:
    """Find all test images that are equal to another test image or to a training image.

    The floats of an image are rounded to 8 bits if all are close to 8-bit values, see NEAR_BYTES. Resized or
    recompressed copies are not found. The pixels that the data set returns are compared. If the files are larger than
    ``DECODED_BYTES`` in total, the bytes of the files are compared instead.
    """
    train_files, test_files = data.train.files, data.test.files
    train: Digests
    test: Digests
    if train_files and test_files and train_files.n_bytes + test_files.n_bytes > DECODED_BYTES:
        method: Method = "files"
        train, test = train_files.digests, test_files.digests
    else:
        method = "pixels"
        train, test = (_pixel_digests(split, data) for split in (data.train, data.test))
    incomparable = method == "pixels" and _stored_otherwise(train, test)
    copies_of = _copies(data.test, test)
    in_train = _copies(data.train, train, copies_of)
    groups = [Group(tuple(copies), tuple(in_train[content])) for content, copies in copies_of.items()]
    shared = tuple(group for group in groups if group.train or len(group.test) > 1)
    unread = (*_unread(data.test, test), *_unread(data.train, train))
    return Duplicates(shared, method, unread, any(train) and not incomparable, incomparable)


def _stored_otherwise(train: Digests, test: Digests) -> bool:
    """Return whether only one split has 8-bit values. Copies cannot be found between such splits."""
    shares = []
    for digests in (train, test):
        readable = [content for content in digests if content is not None]
        shares.append(sum(content.startswith(BYTES) for content in readable) / len(readable) if readable else None)
    known_shares = [share for share in shares if share is not None]
    return len(known_shares) == 2 and max(known_shares) >= ALL_BYTES and min(known_shares) < FEW_BYTES


def _unread(split: Split, digests: Digests) -> list[str]:
    return [sample_id for sample_id, content in zip(split.ids, digests, strict=True) if content is None]


def notes_on_files(data: Dataset) -> tuple[str, ...]:
    """Return a note on test files that equal training files. The stored hashes are compared, no file is read."""
    train, test = data.train.files, data.test.files
    if train is None or test is None:
        return ()
    train_digests = set(train.digests)
    equal = sum(digest in train_digests for digest in test.digests)
    return (f"{equal} of {len(data.test)} test files equal training files, byte for byte",) if equal else ()


def _copies(split: Split, digests: Digests, selected: Collection[bytes] | None = None) -> dict[bytes, list[Copy]]:
    """Group the readable images of a split by digest. If ``selected`` is given, other digests are left out."""
    copies: dict[bytes, list[Copy]] = defaultdict(list)
    for sample_id, label, content in zip(split.ids, split.labels.tolist(), digests, strict=True):
        if content is not None and (selected is None or content in selected):
            copies[content].append(Copy(sample_id, label))
    return copies


def _pixel_digests(split: Split, data: Dataset) -> Digests:
    """Return a digest of the pixels of every image; None for an unreadable image.

    Unreadable images raise no error here, because they may not be part of the evaluation.
    """
    images = readable_images(split, np.arange(len(split)), data)
    return [None if image is None else _digest(image) for image in images]


def _digest(image: Pixels) -> bytes:
    """Hash one image (C, H, W). The hash does not depend on the stored type of the pixels.

    Floats that are close to bytes / 255 are hashed as these bytes. Three equal channels are hashed as one channel.
    """
    if image.dtype == np.float32:
        scaled = image * 255
        nearest = np.rint(scaled)
        is_8bit = np.abs(scaled - nearest).max(initial=0) <= NEAR_BYTES
        image = nearest.astype(np.uint8) if is_8bit else image + np.float32(0)  # −0 becomes 0
    if len(image) == 3 and np.array_equal(image[0], image[1]) and np.array_equal(image[0], image[2]):
        image = image[:1]
    form = f"{image.dtype}{image.shape}".encode()
    kind = BYTES if image.dtype == np.uint8 else FLOATS
    return kind + hashlib.blake2b(form + image.tobytes(), digest_size=16).digest()

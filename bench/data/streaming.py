"""Stream the images of a split from their files: decoded ahead by worker processes, and never more than a few batches.

The order is that of the requested indices, and the pixels are those of :func:`bench.data.image_files.read_image`.
Memory does not depend on the number of images, except for ids, labels and paths.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.core.errors import BenchError, CellFailure
from bench.data.corrupted.on_reading import Corruption
from bench.data.decode_pool import borrowed, default_workers
from bench.data.decode_worker import Request
from bench.data.image_files import FileReader
from bench.data.tensors import as_inputs
from bench.runtime.interrupt import check_stop

CHECKED_AT_A_TIME = 256


@dataclass(frozen=True)
class StreamedImages:
    """Images that are decoded, and corrupted if ``corruption`` is given, whenever they are needed.

    The corruptions of plug-ins are applied in this process, all others in the workers. The result is the same.
    """

    ids: Sequence[str]
    labels: Tensor  # (N,), int64
    reader: FileReader
    workers: int | None = None  # None: one per core
    corruption: Corruption | None = None
    unreadable: str = ""  # reason of the CellFailure for an image that cannot be read; empty: BenchError

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (3, S, S) of one input."""
        return 3, self.reader.fitting.size, self.reader.fitting.size

    @property
    def device(self) -> torch.device:
        """The CPU, where images are decoded."""
        return torch.device("cpu")

    def on(self, device: torch.device) -> StreamedImages:
        """Return these images: each batch is moved to its device when it is read."""
        return self

    def inputs(self, indices: Tensor, device: torch.device) -> Tensor:
        """Return the images at ``indices``, (M,) int64, on ``device`` as float32 (M, 3, S, S) in [0, 1]."""
        with closing(self.batches([indices], device)) as batches:
            return next(batches)[0]

    def batches(
        self, index_batches: Iterable[Tensor], device: torch.device
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield inputs and labels (M,) on ``device`` for each tensor of indices. Images are decoded ahead.

        Raises BenchError for an image that cannot be read, and CellFailure("corruption_error") for one that cannot be
        corrupted.
        """
        on_gpu = device.type == "cuda"
        for indices, pixels in self.pixels(index_batches, pinned=on_gpu, as_float=device.type == "cpu"):
            scaled = (
                pixels.div_(255) if pixels.is_floating_point() else as_inputs(pixels.to(device, non_blocking=on_gpu))
            )
            yield scaled, self.labels[indices].to(device)

    def check(self) -> None:
        """Decode all images once. Raises BenchError for an image that cannot be read, and Stopped on request."""
        for _ in self.pixels(torch.arange(len(self)).split(CHECKED_AT_A_TIME)):
            check_stop()

    def pixels(
        self, index_batches: Iterable[Tensor], *, pinned: bool = False, as_float: bool = False
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield each tensor of indices, (M,), with the pixels (M, 3, S, S) in 0…255 on the CPU.

        They are uint8. With ``as_float``, they may be float32, which saves a copy.
        """
        waiting: deque[Tensor] = deque()
        in_workers = self.corruption if self.corruption is not None and self.corruption.is_builtin else None
        here = self.corruption if in_workers is None else None

        with borrowed(self.workers or default_workers(), self.reader.image_bytes) as (pool, layout):

            def requests() -> Iterator[Request]:
                for indices in index_batches:
                    waiting.append(indices)
                    for part in indices.split(layout.images):
                        yield self._request(part, in_workers)

            parts = self._read(pool.read(requests(), layout))
            for first in parts:
                indices = waiting.popleft()
                dtype = torch.float32 if as_float and here is None else torch.uint8
                batch = torch.empty((len(indices), *self.shape), dtype=dtype, pin_memory=pinned)
                slices = batch.split(layout.images)
                for rows, part in zip(slices, chain([first], islice(parts, len(slices) - 1)), strict=True):
                    rows.view(-1).copy_(torch.from_numpy(part))
                if here is not None:
                    names = [self.ids[i] for i in indices.tolist()]
                    batch = torch.from_numpy(here.apply(batch.numpy(), names))
                yield indices, batch

    def _read(self, parts: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        try:
            yield from parts
        except BenchError as error:
            if self.unreadable:
                raise CellFailure(self.unreadable, str(error)) from error
            raise

    def _request(self, indices: Tensor, corruption: Corruption | None) -> Request:
        chosen = indices.tolist()
        return Request(
            start=0,
            paths=[os.path.abspath(self.reader.paths[i]) for i in chosen],  # workers may have another working folder
            stamps=[list(self.reader.stamps[i]) for i in chosen] if self.reader.stamps else [],
            fitting=asdict(self.reader.fitting),
            fit=self.reader.fit,
            ids=[self.ids[i] for i in chosen] if corruption else [],
            corruption=corruption,
        )


class LazyPixels:
    """Pixels (N, 3, S, S) uint8 of images that are read when a slice of them is needed."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, images: StreamedImages) -> None:
        self._images = images
        self.shape = (len(images), *images.shape)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        with closing(self._images.pixels([torch.arange(len(self))[rows]])) as batches:
            return next(batches)[1].numpy()

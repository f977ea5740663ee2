"""What the work needs that is not in the plan: data, store, device, and how to tell the user."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from bench.core.errors import BenchError, CellFailure, ran_out_of_memory
from bench.core.specs import Encoding
from bench.data.split import Dataset
from bench.data.tensors import Images, load_images
from bench.progress import Progress
from bench.store import Store


@dataclass(frozen=True, kw_only=True)
class Workshop:
    dataset: Dataset
    store: Store
    device: torch.device
    progress: Progress
    checkpoint_path: Path | None = None
    auto_batch: bool = True  # the batch size is ours to halve when memory runs out
    force: bool = False
    diagnose: bool = False  # the trained networks too
    save_adversarials: Encoding = "none"  # the images that the attacks break
    _images: dict[tuple[str, int | None], Images] = field(default_factory=dict)

    def images(self, split: str, limit: int | None) -> Images:
        """Images of a split, read once."""
        source = self.dataset.train if split == "train" else self.dataset.test
        if limit is not None and limit >= len(source):
            limit = None  # the same images
        if (split, limit) not in self._images:
            self._images[split, limit] = load_images(source, limit, dataset=self.dataset.name)
        return self._images[split, limit]


@contextlib.contextmanager
def failures_as(reason: str) -> Iterator[None]:
    """Turn what foreign code raises (torch, timm, a plug-in) into a failed cell with ``reason``.

    Running out of memory is its own reason. A BenchError stays what it is: the user's mistake.
    """
    try:
        yield
    except (CellFailure, BenchError):
        raise
    except Exception as error:
        lines = str(error).splitlines() or [""]
        if ran_out_of_memory(error):
            raise CellFailure("out_of_memory", lines[0] or "out of memory") from error
        raise CellFailure(reason, f"{type(error).__name__}: {lines[0]}") from error

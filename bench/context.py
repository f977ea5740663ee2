"""Run context: data set, store, device, configuration, progress display and loaded images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from bench.config import MeasureConfig
from bench.core.errors import BenchError, CellFailure, ran_out_of_memory
from bench.core.specs import CorruptionSpec, EvalSpec, Norm
from bench.data.corrupted.on_reading import Corruption
from bench.data.corrupted.open import check_unchanged, open_set
from bench.data.corrupted.sets import CorruptedSet
from bench.data.duplicates import Duplicates, known_duplicates
from bench.data.split import Dataset
from bench.data.streaming import StreamedImages
from bench.data.tensors import Images, ResidentImages, load_images
from bench.results.shared_work import SharedWork
from bench.results.store import Store
from bench.runtime.environment import choose_device
from bench.runtime.foreign_code import foreign_code
from bench.runtime.progress import Progress, choose_progress


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """Context that is shared by all steps of a run. Images are loaded once and cached."""

    dataset: Dataset
    store: Store
    device: torch.device
    progress: Progress
    config: MeasureConfig = field(default_factory=MeasureConfig)
    corrupted_folder: Path | None = None  # cache of generated corrupted images; by default inside the results folder
    eps_texts: Mapping[tuple[Norm, float], str] = field(
        default_factory=dict
    )  # requested budgets as the user wrote them
    _images: dict[tuple[str, int | None], Images] = field(default_factory=dict)
    _checked: set[int] = field(default_factory=set)  # numbers of streamed test images that were all decoded once
    _corrupted: dict[tuple[str, str, int, str, int], CorruptedSet] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        config: MeasureConfig,
        dataset: Dataset,
        *,
        eps_texts: Mapping[tuple[Norm, float], str],
        progress: Progress | None = None,
    ) -> RunContext:
        """Create the context of ``config``, with its store and device. By default, progress is shown on stderr."""
        return cls(
            config=config,
            dataset=dataset,
            store=Store(config.results),
            device=choose_device(config.device),
            progress=progress or choose_progress(),
            eps_texts=eps_texts,
        )

    @property
    def auto_batch(self) -> bool:
        """True if the batch size is chosen automatically: it is halved when memory runs out."""
        return self.config.batch_size == "auto"

    def images(self, split: str, limit: int | None) -> Images:
        """Return at most ``limit`` images of a split ("train" or "test"). They are read once and cached."""
        source = self.dataset.train if split == "train" else self.dataset.test
        if limit is not None and limit >= len(source):
            limit = None  # share the cache entry of the whole split
        if (split, limit) not in self._images:
            size = self.dataset.image_size
            self._images[split, limit] = load_images(
                source, limit, dataset=self.dataset.name, size=size, workers=self.config.workers
            )
        return self._images[split, limit]

    @cached_property
    def duplicates(self) -> Duplicates:
        """Test images that are also in the training split, or that occur several times in the test split."""
        duplicates = known_duplicates(self.dataset)
        for note in duplicates.notes(self.dataset.test.ids):
            self.progress.line(f"{self.dataset.name}: {note}")
        return duplicates

    @cached_property
    def work(self) -> SharedWork:
        """Work of this command, which other processes may share."""
        return SharedWork(self.store, force=self.config.force, adversarials=self.config.save_adversarials)

    def read_images_of(self, cells: Iterable[EvalSpec]) -> None:
        """Read the test images of ``cells`` before any computation. Raises BenchError for an invalid image.

        Streamed images are decoded once for this check, because they are not kept.
        """
        for limit in dict.fromkeys(cell.limit for cell in cells):
            images = self.images("test", limit)
            if isinstance(images, StreamedImages) and len(images) not in self._checked:
                self.progress.line(f"{self.dataset.name}: decoding {len(images)} test images once to check them")
                images.check()
                self._checked.add(len(images))

    def corrupted(self, spec: CorruptionSpec, limit: int | None) -> Images:
        """Return the images of the test split corrupted by ``spec``, uint8.

        Streamed images are corrupted on reading, unless the option ``corruptions_cache`` is set. Raises CellFailure if
        the images cannot be generated or read. Raises BenchError if generated images cannot be written, since all cells
        would fail in the same way.
        """
        clean = self.images("test", limit)
        if isinstance(clean, StreamedImages) and spec.source == "generated" and not self.config.corruptions_cache:
            corruption = Corruption(spec.kind, spec.severity, spec.seed, spec.profile, spec.files_sha)
            return replace(clean, corruption=corruption)
        with failures_as("corruption_error"):
            return self._from_set(spec, clean)

    def _from_set(self, spec: CorruptionSpec, clean: Images) -> Images:
        try:
            found = self.corrupted_set(spec, clean)
            check_unchanged(spec, found)
            if isinstance(clean, StreamedImages) and (reader := found.reader(spec.kind, spec.severity)):
                return replace(clean, reader=reader, unreadable="corruption_error")
            pixels = torch.from_numpy(found.images(spec.kind, spec.severity)).permute(0, 3, 1, 2)
            return ResidentImages(clean.ids, pixels, clean.labels)
        except BenchError as error:
            if spec.source == "generated":
                raise
            raise CellFailure("corruption_error", str(error)) from error

    def corrupted_set(self, spec: CorruptionSpec, clean: Images) -> CorruptedSet:
        """Return the set of corrupted images that contains those of ``spec``. It is opened once and cached."""
        files = (
            spec.files_sha if spec.source == "generated" else ""
        )  # the official files of all kinds are in one folder
        key = (spec.source, spec.profile, spec.seed, files, len(clean))
        if key not in self._corrupted:
            cache = self.corrupted_folder or self.store.root / "corrupted"
            self._corrupted[key] = open_set(spec, clean, self.dataset, cache=cache, folder=self.config.corruptions_dir)
        return self._corrupted[key]

    def is_official(self, spec: CorruptionSpec | None, limit: int | None) -> bool:
        """Return whether the images are official files, either of the data set or of the corruption."""
        if spec is None or spec.source == "generated":
            return self.dataset.official
        return self.corrupted_set(spec, self.images("test", limit)).official


@contextlib.contextmanager
def failures_as(reason: str) -> Iterator[None]:
    """Convert exceptions of external code (torch, timm, plug-ins) to a CellFailure with ``reason``.

    An out-of-memory error gets the reason ``out_of_memory``. A BenchError reports invalid input and is not converted.
    External code that calls sys.exit does not end the run, see :func:`bench.runtime.foreign_code.foreign_code`.
    """
    try:
        with foreign_code():
            yield
    except (CellFailure, BenchError):
        raise
    except Exception as error:
        lines = str(error).splitlines() or [""]
        if ran_out_of_memory(error):
            raise CellFailure("out_of_memory", lines[0] or "out of memory") from error
        raise CellFailure(reason, f"{type(error).__name__}: {lines[0]}") from error

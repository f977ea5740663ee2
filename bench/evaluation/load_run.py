"""Load the network of a stored run, and the data set of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bench.context import RunContext
from bench.core.errors import BenchError
from bench.core.records import RunRecord
from bench.core.specs import TrainSpec
from bench.data import Dataset, load_dataset
from bench.data.class_order import CLASS_ORDERS
from bench.data.registry import DATASETS, DataRequest
from bench.external.load_file import rebuild
from bench.external.model import ExternalModel
from bench.models.classifier import Classifier, freeze
from bench.results.store import Store
from bench.runtime.environment import choose_device
from bench.runtime.input_files import exists
from bench.runtime.progress import choose_progress
from bench.training.checkpoints import load_run


def load_network(run: RunRecord, context: RunContext) -> nn.Module:
    """Return the frozen network of a run, on the device of ``context``. Raise BenchError if it is not stored."""
    if run.spec is not None:
        return freeze(load_run(run.spec, context).classifier)
    path = context.store.network_path(run)
    if run.source is None or not exists(path):
        raise not_stored(run, context.store.root)
    return freeze(ExternalModel(rebuild(run.source, path, context.device), run.source.notes))


def not_stored(run: RunRecord, root: object) -> BenchError:
    """Return the error for a run without stored weights."""
    name = f"run {run.run_id} ({run.model}:{run.variant}:{run.seed})"
    return BenchError(f"{name} has no weights in {root}; run its command again, which computes missing results.")


@dataclass(frozen=True)
class Reopened:
    """A stored network, frozen, with its number of classes and a run context with its data set."""

    model: nn.Module
    num_classes: int
    context: RunContext


def reopen(run: RunRecord, store: Store, *, data_dir: Path | None, device: str) -> Reopened:
    """Load the network of ``run`` and its data set.

    Raise BenchError for a failed run, for a network that is not stored, and for data that differ from the data of the
    run's training or of its cells.
    """
    if store.finished_run(run.run_id) is None:
        raise not_stored(run, store.root)
    kind = run.dataset if run.dataset in DATASETS else "imagefolder"
    if run.dataset not in DATASETS and data_dir is None:
        raise BenchError(
            f"run {run.run_id} uses the data set {run.dataset!r}; give the folder of its images by --data-dir, or the "
            "file that registers this data set by --plugin."
        )
    data_shas = [cell.spec.data_sha for cell in store.cells(run.run_id)]
    dataset = _load(kind, data_dir, run, data_shas)
    if run.spec is not None and dataset.train.sha != run.spec.data.train_sha:
        raise BenchError(
            f"the training images differ from those of run {run.run_id}; give the folder of its images by --data-dir."
        )
    if any(sha != dataset.test.sha for sha in data_shas):
        raise BenchError(
            f"the test images differ from those of the cells of run {run.run_id}; give the folder of their images by "
            "--data-dir."
        )
    context = RunContext(dataset=dataset, store=store, device=choose_device(device), progress=choose_progress())
    return Reopened(load_network(run, context), dataset.num_classes, context)


def reopen_trained(
    run: RunRecord, store: Store, *, data_dir: Path | None, device: str
) -> tuple[TrainSpec, Classifier, RunContext]:
    """Load a network that ``bench run`` trained, with access to its latents. Raise BenchError for any other network."""
    if run.spec is None:
        raise BenchError(
            f"run {run.run_id} ({run.model}:{run.variant}:{run.seed}) was trained elsewhere; latents are available "
            "only for networks trained by 'bench run'."
        )
    reopened = reopen(run, store, data_dir=data_dir, device=device)
    assert isinstance(reopened.model, Classifier)
    return run.spec, reopened.model, reopened.context


def _load(kind: str, data_dir: Path | None, run: RunRecord, data_shas: Sequence[str]) -> Dataset:
    """Load the data set. For an image folder, use the class order for which the hash of the images matches the run."""
    if kind != "imagefolder":
        return load_dataset(kind, DataRequest(data_dir))
    fitting = run.source.fitting if run.source else None
    size = run.native_size if fitting is None else None
    for order in (None, *CLASS_ORDERS):
        dataset = load_dataset(kind, DataRequest(data_dir, size, class_order=order, fitting=fitting))
        matches = (
            dataset.train.sha == run.spec.data.train_sha if run.spec else dataset.test.sha in data_shas or not data_shas
        )
        if matches:
            break
    return dataset

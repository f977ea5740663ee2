"""Load the network of a stored run, and the data it was evaluated on."""

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
from bench.runtime.progress import choose_progress
from bench.training.checkpoints import load_run


def load_network(run: RunRecord, context: RunContext) -> nn.Module:
    """Return the frozen network of a run, on the workshop's device. Raises BenchError if it is not stored."""
    if run.spec is not None:
        return freeze(load_run(run.spec, context).classifier)
    path = context.store.network_path(run)
    if run.source is None or not path.exists():
        raise not_stored(run, context.store.root)
    return freeze(ExternalModel(rebuild(run.source, path, context.device), run.source.notes))


def not_stored(run: RunRecord, root: object) -> BenchError:
    name = f"run {run.run_id} ({run.model}:{run.variant}:{run.seed})"
    return BenchError(f"{name} has no weights in {root}; the command that made it computes what is missing.")


@dataclass(frozen=True)
class Reopened:
    """A stored network, frozen, and the data that it was evaluated on."""

    model: nn.Module
    num_classes: int
    context: RunContext


def reopen(run: RunRecord, store: Store, *, data_dir: Path | None, device: str) -> Reopened:
    """Load the network of ``run`` and its data.

    Raises BenchError for a run that has failed or whose network is not stored, and for data that are not those of its
    rows.
    """
    if store.finished_run(run.run_id) is None:
        raise not_stored(run, store.root)
    kind = run.dataset if run.dataset in DATASETS else "imagefolder"
    if run.dataset not in DATASETS and data_dir is None:
        raise BenchError(
            f"run {run.run_id} was made on {run.dataset!r}; give the folder of its images by --data-dir, or the file "
            "that registers this data set by --plugin."
        )
    found = [cell.spec.data_sha for cell in store.cells(run.run_id)]
    dataset = _load(kind, data_dir, run, found)
    if run.spec is not None and dataset.train.sha != run.spec.data.train_sha:
        raise BenchError(
            f"the training images are not those that run {run.run_id} was trained on; give their folder by --data-dir."
        )
    if any(sha != dataset.test.sha for sha in found):
        raise BenchError(f"the test images are not those of the cells of run {run.run_id}; give their folder.")
    context = RunContext(dataset=dataset, store=store, device=choose_device(device), progress=choose_progress())
    return Reopened(load_network(run, context), dataset.num_classes, context)


def reopen_trained(
    run: RunRecord, store: Store, *, data_dir: Path | None, device: str
) -> tuple[TrainSpec, Classifier, RunContext]:
    """Load a network that was trained here, whose latents are known. Raises BenchError for any other."""
    if run.spec is None:
        raise BenchError(
            f"run {run.run_id} ({run.model}:{run.variant}:{run.seed}) was trained elsewhere; latents are known of "
            "networks that 'bench run' trained."
        )
    found = reopen(run, store, data_dir=data_dir, device=device)
    assert isinstance(found.model, Classifier)
    return run.spec, found.model, found.context


def _load(kind: str, data_dir: Path | None, run: RunRecord, found: Sequence[str]) -> Dataset:
    """Load the data set; an image folder in the order of its classes that the run was measured with, if one is."""
    if kind != "imagefolder":
        return load_dataset(kind, DataRequest(data_dir))
    fitting = run.source.fitting if run.source else None
    size = run.native_size if fitting is None else None
    for order in (None, *CLASS_ORDERS):
        dataset = load_dataset(kind, DataRequest(data_dir, size, class_order=order, fitting=fitting))
        known = dataset.train.sha == run.spec.data.train_sha if run.spec else dataset.test.sha in found or not found
        if known:
            break
    return dataset

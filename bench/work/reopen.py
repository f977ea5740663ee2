"""A stored run and the data it was made on, opened again for another look."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import BenchError
from bench.core.records import RunRecord
from bench.core.specs import TrainSpec
from bench.data import Dataset, load_dataset
from bench.data.class_order import CLASS_ORDERS
from bench.data.registry import DATASETS, DataRequest
from bench.environment import choose_device
from bench.models.build import BuiltModel
from bench.models.classifier import freeze
from bench.progress import choose_progress
from bench.store import Store
from bench.work.runs import load_run
from bench.work.workshop import Workshop


def reopen(
    run: RunRecord, store: Store, *, data_dir: Path | None, device: str
) -> tuple[TrainSpec, BuiltModel, Workshop]:
    """The frozen network of ``run`` and a workshop around its data.

    Raises BenchError for a run that was not trained here or has failed, and for data that are not those of its rows.
    """
    spec = run.spec
    if spec is None or store.finished_run(run.run_id) is None:
        raise BenchError(f"run {run.run_id} ({run.model}:{run.variant}:{run.seed}) has no weights in {store.root}.")
    kind = run.dataset if run.dataset in DATASETS else "imagefolder"
    if run.dataset not in DATASETS and data_dir is None:
        raise BenchError(
            f"run {run.run_id} was made on {run.dataset!r}; give the folder of its images by --data-dir, or the file "
            "that registers this data set by --plugin."
        )
    dataset = _load(kind, data_dir, spec)
    if dataset.train.sha != spec.data.train_sha:
        raise BenchError(
            f"the training images are not those that run {run.run_id} was trained on; give their folder by --data-dir."
        )
    if any(cell.spec.data_sha != dataset.test.sha for cell in store.cells(run.run_id)):
        raise BenchError(f"the test images are not those of the cells of run {run.run_id}; give their folder.")
    workshop = Workshop(dataset=dataset, store=store, device=choose_device(device), progress=choose_progress())
    built = load_run(spec, workshop)
    freeze(built.classifier)
    return spec, built, workshop


def _load(kind: str, data_dir: Path | None, spec: TrainSpec) -> Dataset:
    """The data set; of an image folder in that order of its classes that gives the labels of ``spec``, if one does."""
    if kind != "imagefolder":
        return load_dataset(kind, DataRequest(data_dir))
    for order in (None, *CLASS_ORDERS):
        dataset = load_dataset(kind, DataRequest(data_dir, spec.data.image_size, class_order=order))
        if dataset.train.sha == spec.data.train_sha:
            break
    return dataset

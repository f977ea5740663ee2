"""Load the network of a stored run, whether it was trained here or elsewhere."""

from __future__ import annotations

from torch import nn

from bench.context import Workshop
from bench.core.errors import BenchError
from bench.core.records import RunRecord
from bench.external.load_file import rebuild
from bench.external.model import ExternalModel
from bench.models.classifier import freeze
from bench.training.checkpoints import load_run


def load_network(run: RunRecord, workshop: Workshop) -> nn.Module:
    """Return the frozen network of a run, on the workshop's device. Raises BenchError if it is not stored."""
    if run.spec is not None:
        return freeze(load_run(run.spec, workshop).classifier)
    path = workshop.store.network_path(run)
    if run.source is None or not path.exists():
        raise not_stored(run, workshop.store.root)
    return freeze(ExternalModel(rebuild(run.source, path, workshop.device), run.source.notes))


def not_stored(run: RunRecord, root: object) -> BenchError:
    name = f"run {run.run_id} ({run.model}:{run.variant}:{run.seed})"
    return BenchError(f"{name} has no weights in {root}; the command that made it computes what is missing.")

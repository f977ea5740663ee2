"""Which stored baseline stands beside a run when its audit shows it images made on another. No torch."""

from __future__ import annotations

from bench.core.records import RunRecord
from bench.core.specs import TrainSpec
from bench.core.vocabulary import BASELINE
from bench.store import Store


def twin_run(spec: TrainSpec, store: Store) -> RunRecord | None:
    """The finished baseline of the same data, backbone, recipe and seed; None for a baseline or without one."""
    if spec.variant == BASELINE:
        return None
    for record in store.runs():
        theirs = record.spec
        like = theirs is not None and theirs.variant == BASELINE and theirs.is_like(spec)
        if like and store.finished_run(record.run_id) is not None:  # last, as it reads the weights
            return record
    return None

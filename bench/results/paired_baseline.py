"""Pair runs with a reference that differs only in the variant. Does not import torch."""

from __future__ import annotations

import dataclasses

from bench.core.records import RunRecord
from bench.core.sources import EXTERNAL
from bench.core.vocabulary import BASELINE
from bench.results.store import Store


def is_paired(run: RunRecord, reference: RunRecord) -> bool:
    """Check whether two runs differ at most in the variant and the seed.

    For networks that were trained elsewhere, the training is unknown. Two such networks are paired if the user gave
    them the same name, declared a variant for both, and if data set, image size and number of classes are equal.
    """
    if run.spec is None or reference.spec is None:
        declared = EXTERNAL not in (run.variant, reference.variant)
        classes = [record.source.num_classes if record.source else None for record in (run, reference)]
        identity = [(record.model, record.dataset, record.native_size) for record in (run, reference)]
        return run.spec is reference.spec and declared and identity[0] == identity[1] and classes[0] == classes[1]
    return dataclasses.replace(reference.spec, seed=run.spec.seed).is_like(run.spec)


def paired_baseline(run: RunRecord, store: Store) -> RunRecord | None:
    """Return the finished paired baseline with the same seed; None if there is none or if ``run`` is a baseline."""
    if run.variant == BASELINE:
        return None
    for record in store.runs():
        matches = record.variant == BASELINE and record.seed == run.seed and is_paired(run, record)
        if matches and store.finished_run(record.run_id) is not None:  # checked last because it reads the weights
            return record
    return None

"""Pair runs with their reference, which differs only in the variant. Does not import torch."""

from __future__ import annotations

import dataclasses

from bench.core.records import RunRecord
from bench.core.sources import EXTERNAL
from bench.core.vocabulary import BASELINE
from bench.results.store import Store


def is_paired(ours: RunRecord, theirs: RunRecord) -> bool:
    """Check whether two runs differ at most in the variant and the seed.

    For networks that were trained elsewhere the training is unknown. They are paired if the user gave them the same
    name and declared a variant for both, and if data set, image size and number of classes are equal.
    """
    if ours.spec is None or theirs.spec is None:
        declared = EXTERNAL not in (ours.variant, theirs.variant)
        classes = [run.source.num_classes if run.source else None for run in (ours, theirs)]
        same = [(run.model, run.dataset, run.native_size) for run in (ours, theirs)]
        return ours.spec is theirs.spec and declared and same[0] == same[1] and classes[0] == classes[1]
    return dataclasses.replace(theirs.spec, seed=ours.spec.seed).is_like(ours.spec)


def paired_baseline(run: RunRecord, store: Store) -> RunRecord | None:
    """Return the finished paired baseline of the same seed; None if ``run`` is a baseline itself or has none."""
    if run.variant == BASELINE:
        return None
    for record in store.runs():
        like = record.variant == BASELINE and record.seed == run.seed and is_paired(run, record)
        if like and store.finished_run(record.run_id) is not None:  # checked last because it reads the weights
            return record
    return None

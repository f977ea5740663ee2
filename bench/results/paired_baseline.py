"""Pair runs of a variant with those of its reference: everything but the variant is equal. Does not import torch."""

from __future__ import annotations

import dataclasses

from bench.core.records import RunRecord
from bench.core.sources import EXTERNAL
from bench.core.vocabulary import BASELINE
from bench.results.store import Store


def is_paired(ours: RunRecord, theirs: RunRecord) -> bool:
    """Whether two runs differ in the variant, and perhaps the seed, alone.

    Networks that were trained elsewhere are paired if the user gave them one name and both a variant: how they were
    trained is not known.
    """
    if ours.spec is None or theirs.spec is None:
        declared = EXTERNAL not in (ours.variant, theirs.variant)
        classes = [run.source.num_classes if run.source else None for run in (ours, theirs)]
        same = [(run.model, run.dataset, run.native_size) for run in (ours, theirs)]
        return ours.spec is theirs.spec and declared and same[0] == same[1] and classes[0] == classes[1]
    return dataclasses.replace(theirs.spec, seed=ours.spec.seed).is_like(ours.spec)


def paired_baseline(run: RunRecord, store: Store) -> RunRecord | None:
    """Return the finished baseline of the same seed; None for a baseline, or without one whose network is stored."""
    if run.variant == BASELINE:
        return None
    for record in store.runs():
        like = record.variant == BASELINE and record.seed == run.seed and is_paired(run, record)
        if like and store.finished_run(record.run_id) is not None:  # last, as it reads the weights
            return record
    return None

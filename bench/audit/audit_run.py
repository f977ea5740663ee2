"""Audits of stored runs: which baseline stands beside them, and what is done with the result."""

from __future__ import annotations

from torch import nn

from bench.audit.audit import Audited, Twin, audit
from bench.audit.levels import LevelName
from bench.context import Workshop
from bench.core.errors import BenchError
from bench.core.records import AuditRecord, RunRecord
from bench.evaluation.load_run import load_network
from bench.planning.resume import Tally
from bench.results.audit_summary import sentence
from bench.results.paired_baseline import paired_baseline
from bench.results.results_csv import run_at_chance


def audit_run(
    run: RunRecord, num_classes: int, model: nn.Module, workshop: Workshop, *, batch_size: int, level: LevelName
) -> AuditRecord:
    """Audit a network beside its baseline, if that is stored. ``model`` is frozen and in evaluation mode."""
    audited = Audited(
        run=run,
        model=model,
        num_classes=num_classes,
        batch_size=batch_size,
        twin=_baseline(run, workshop),
        level=level,
    )
    return audit(audited, workshop)


def report_audit(run: RunRecord, record: AuditRecord, workshop: Workshop, tally: Tally) -> None:
    """Print the result of an audit in a sentence, and count it."""
    said = sentence(run, record, at_chance=run_at_chance(run, record.data_sha, workshop.store))
    workshop.progress.line(f"audit: {said} {record.time_s:.1f} s")
    if record.status == "ok":
        tally.audited += 1
    else:
        tally.bad.append(said)


def _baseline(run: RunRecord, workshop: Workshop) -> Twin | None:
    record = paired_baseline(run, workshop.store)
    if record is None:
        return None
    try:
        return Twin(run_id=record.run_id, model=load_network(record, workshop))
    except BenchError as error:  # the audit of one network does not hang on the file of another
        workshop.progress.line(f"audit without the baseline's images: {error}")
        return None

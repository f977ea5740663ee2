"""Audit a stored run together with its paired baseline, and report the result."""

from __future__ import annotations

from torch import nn

from bench.audit.audit import Audited, PairedModel, audit
from bench.audit.levels import LevelName
from bench.context import RunContext
from bench.core.errors import BenchError
from bench.core.records import AuditRecord, RunRecord
from bench.evaluation.load_run import load_network
from bench.planning.resume import RunSummary
from bench.results.audit_summary import audit_sentence
from bench.results.paired_baseline import paired_baseline
from bench.results.results_csv import run_at_chance


def audit_run(
    run: RunRecord, num_classes: int, model: nn.Module, context: RunContext, *, batch_size: int, level: LevelName
) -> AuditRecord:
    """Audit a network, with its paired baseline if it is stored. ``model`` is frozen and in evaluation mode."""
    audited = Audited(
        run=run,
        model=model,
        num_classes=num_classes,
        batch_size=batch_size,
        paired=_baseline(run, context),
        level=level,
    )
    return audit(audited, context)


def report_audit(run: RunRecord, record: AuditRecord, context: RunContext, summary: RunSummary) -> None:
    """Print the result of an audit in one sentence, and add it to ``summary``."""
    text = audit_sentence(run, record, at_chance=run_at_chance(run, record.data_sha, context.store))
    context.progress.line(f"audit: {text} {record.time_s:.1f} s")
    if record.status == "ok":
        summary.audited += 1
    else:
        summary.bad.append(text)


def _baseline(run: RunRecord, context: RunContext) -> PairedModel | None:
    record = paired_baseline(run, context.store)
    if record is None:
        return None
    try:
        return PairedModel(run_id=record.run_id, model=load_network(record, context))
    except BenchError as error:  # the audit is possible without the baseline
        context.progress.line(f"audit without transfer from the paired baseline: {error}")
        return None

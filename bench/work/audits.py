"""Audits of stored runs: which baseline stands beside them, and what is done with the result."""

from __future__ import annotations

from bench.auditing.audit import Audited, Twin, audit
from bench.auditing.levels import LevelName
from bench.core.records import AuditRecord, RunRecord
from bench.core.specs import TrainSpec
from bench.models.classifier import Classifier, freeze
from bench.twin_run import twin_run
from bench.work.runs import load_run
from bench.work.workshop import Workshop


def audit_run(
    run: RunRecord, spec: TrainSpec, model: Classifier, workshop: Workshop, *, batch_size: int, level: LevelName
) -> AuditRecord:
    """Audit a network that was trained here. ``model`` is frozen and in evaluation mode."""
    audited = Audited(
        run=run,
        model=model,
        num_classes=spec.data.num_classes,
        batch_size=batch_size,
        twin=_twin(spec, workshop),
        level=level,
    )
    return audit(audited, workshop)


def _twin(spec: TrainSpec, workshop: Workshop) -> Twin | None:
    record = twin_run(spec, workshop.store)
    if record is None or record.spec is None:
        return None
    return Twin(run_id=record.run_id, model=freeze(load_run(record.spec, workshop).classifier))

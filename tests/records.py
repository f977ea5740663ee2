"""Hand-made records for tests of everything behind the store."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from bench.core.records import (
    AUDIT_VERSION,
    DIAGNOSIS_VERSION,
    AuditRecord,
    BudgetAudit,
    DiagnosisRecord,
    Environment,
    EvalRecord,
    Finding,
    RunRecord,
)
from bench.core.seals import sealed, sha_of
from bench.core.specs import AttackSpec, DataSpec, EvalSpec, ModelSpec, Norm, Recipe, TrainSpec, VariantSpec
from bench.results.per_image import Sample, dump_samples
from bench.results.record_files import dump_record
from bench.results.store import Store

ENVIRONMENT = Environment(
    device="cpu", hardware="h", python="3", torch="2", torchvision="0", timm="1", bench="0", git_sha="abc"
)


def run_record(variant: str = "baseline", seed: int = 0, *, num_classes: int = 1000) -> RunRecord:
    spec = TrainSpec(
        data=DataSpec(name="digits", train_sha="t", num_classes=num_classes, image_size=8),
        model=ModelSpec(name="tiny"),
        variant=variant,
        variant_spec=VariantSpec(head="none" if variant == "baseline" else "linear"),
        recipe=Recipe(epochs=1),
        seed=seed,
    )
    return RunRecord(
        run_id=spec.run_id, dataset="digits", model="tiny", variant=variant, seed=seed, spec=spec, status="ok",
        reason="", message="", config_sha=spec.config_sha, train_sha="t", weights_sha=f"of {variant} {seed}",
        n_train=10, epochs=1, img_size=8, native_size=8, stem="native", latent_dim=4, param_count=123456, gamma=0.0,
        gamma_per_sample=0.0, history=(), time_s=1.5, created="2026-01-01T00:00:00+00:00", environment=ENVIRONMENT,
    )  # fmt: skip


def cell_record(run: RunRecord, attack: str, correct: list[bool]) -> EvalRecord:
    """An ok cell; its images are called 0, 1, 2 …."""
    spec = EvalSpec(
        run_id=run.run_id,
        data_sha="d",
        attack=None if attack == "clean" else AttackSpec(name=attack, norm="linf", eps=0.1),
        protocol="standard",
        limit=None,
        batch_size=8,
        seed=run.seed,
    )
    return EvalRecord(
        cell_id=spec.cell_id, spec=spec, weights_sha=run.weights_sha, status="ok", reason="", message="",
        n=len(correct), n_test=max(10, len(correct)), n_attacked=len(correct), n_correct=sum(correct),
        max_distance=None, n_forwards=1, n_backwards=1, batch_size=8, time_s=1.5, created="2026-01-01T00:00:00+00:00",
        official=True, dtype="float32", backend="b", backend_version="1", notes=("a note",), environment=ENVIRONMENT,
    )  # fmt: skip


def samples_of(correct: list[bool], majority: int | None = None) -> list[Sample]:
    """Outcomes of an attack; the first ``majority`` images, by default all, are of class 1, the others of their own."""
    labels = [1 if majority is None or i < majority else i + 2 for i in range(len(correct))]
    return [
        Sample(str(i), label, label, label if right else 0, None if right else 0.1)
        for i, (label, right) in enumerate(zip(labels, correct, strict=True))
    ]


def audit_record(
    run: RunRecord, *, norm: Norm = "linf", cells: tuple[str, ...] | None = None, **points: float
) -> AuditRecord:
    """An audit at one budget that found the flags ``points``, each with what it takes away; of ``fgsm`` by default."""
    audited = (cell_record(run, "fgsm", [True]).cell_id,) if cells is None else cells
    found = tuple(Finding(flag=flag, points=fall, note=f"{flag} is here") for flag, fall in points.items())
    budget = BudgetAudit(
        norm=norm, eps=0.1, n=10, n_correct=9, suite=("fgsm@linf-0.1",), baseline_run="",
        figures={"acc_suite": 40.0, "mde": 10.0},
        findings=found,
    )  # fmt: skip
    return AuditRecord(
        run_id=run.run_id, weights_sha=run.weights_sha, data_sha="d", version=AUDIT_VERSION, level="default",
        cells=audited, status="ok", reason="", message="", figures={"softmax_one": 0.5}, findings=(), budgets=(budget,),
        n_forwards=700, n_backwards=300, time_s=1.5, created="2026-01-01T00:00:00+00:00", environment=ENVIRONMENT,
    )  # fmt: skip


def diagnosis_record(run: RunRecord) -> DiagnosisRecord:
    """A diagnosis with a few values, one of them undefined."""
    return DiagnosisRecord(
        run_id=run.run_id, weights_sha=run.weights_sha, version=DIAGNOSIS_VERSION, status="ok", reason="", message="",
        images={"diag_n": 10}, values={"collapse_nc1": 0.5, "collapse_nc3": None},
        undefined={"collapse_nc3": "one class"}, time_s=1.5, created="2026-01-01T00:00:00+00:00",
        environment=ENVIRONMENT,
    )  # fmt: skip


def store_with(folder: Path, verdicts: dict[tuple[str, int], dict[str, list[bool]]]) -> Store:
    """A store of runs (variant, seed) whose attacks left these images standing."""
    store = Store(folder)
    for (variant, seed), cells in verdicts.items():
        run = run_record(variant=variant, seed=seed)
        store.write_run(run, None)
        for attack, correct in cells.items():
            record = cell_record(run, attack, correct)
            store.write_cell(record, samples_of(correct))
    return store


def limited(record: EvalRecord, limit: int, sampling: int) -> EvalRecord:
    """The cell on a sample of its test split, drawn by this version of the sampling."""
    spec = dataclasses.replace(record.spec, limit=limit, sampling=sampling)
    return dataclasses.replace(record, spec=spec, cell_id=spec.cell_id)


def remove_images(store: Store) -> None:
    """Rewrite the files of every cell as ok on no image, which the store itself refuses to write."""
    for run in store.runs():
        for cell in store.cells(run.run_id):
            path = store.samples_path(run.run_id, cell.cell_id)
            path.write_bytes(dump_samples([]))
            sha = sha_of(dump_samples([]))
            record = dataclasses.replace(cell, n=0, n_correct=0, n_attacked=0, samples_sha=sha)
            path.with_name(f"{cell.cell_id}.json").write_bytes(dump_record(record))


def repeat_an_image(store: Store) -> None:
    """Rewrite the outcomes of every cell so that its counts hold but every correct image is a copy of the first."""
    for run in store.runs():
        for cell in store.cells(run.run_id):
            samples = store.read_samples(cell)
            first = next(sample for sample in samples if sample.correct)
            repeated = [first if sample.correct else sample for sample in samples]
            replace_outcomes(store, cell, dump_samples(repeated))


def replace_outcomes(store: Store, record: EvalRecord, content: bytes) -> EvalRecord:
    """Write other outcomes for a cell, and seal its record again, as a forger would."""
    path = store.samples_path(record.spec.run_id, record.cell_id)
    path.write_bytes(content)
    forged = dataclasses.replace(record, samples_sha=sha_of(content))
    path.with_name(f"{record.cell_id}.json").write_bytes(dump_record(forged))
    return forged


def resealed(content: bytes) -> bytes:
    """An edited record with a new seal, as of a forger or of an earlier version."""
    return json.dumps(sealed(json.loads(content))).encode()

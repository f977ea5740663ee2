"""Results folders with complete runs, for tests of what is deleted from them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from records import audit_record, cell_record, run_record, samples_of

from bench.core.records import EvalRecord, RunRecord
from bench.core.specs import CorruptionSpec
from bench.results.garbage import find_unused
from bench.results.store import Store

WEIGHTS = b"weights"


def stored(store: Store, variant: str = "baseline", weights: bytes = WEIGHTS) -> RunRecord:
    """A run with its weights, a clean cell, an attack and an audit."""
    run = dataclasses.replace(run_record(variant), weights_sha=hashlib.sha256(weights).hexdigest())
    store.write_run(run, weights)
    for attack in ("clean", "fgsm"):
        store.write_cell(cell_record(run, attack, [True, False]), samples_of([True, False]))
    store.write_audit(audit_record(run))
    return run


def corrupted_cell(run: RunRecord, kind: str = "fog", **changes: Any) -> EvalRecord:
    cell = cell_record(run, "clean", [True, False])
    spec = CorruptionSpec(kind=kind, severity=1, source="generated", profile="cifar", **changes)
    cell_spec = dataclasses.replace(cell.spec, corruption=spec)
    return dataclasses.replace(cell, spec=cell_spec, cell_id=cell_spec.cell_id)


def corrupted_set(folder: Path, images: int = 2, **entry: Any) -> list[str]:
    folder.mkdir(parents=True)
    for name in ("fog.npy", "snow.npy", "labels.npy"):
        (folder / name).write_bytes(name.encode())
    files = {name: {"set": "s", "sha256": "x", "version": 1, **entry} for name in ("fog.npy", "snow.npy", "labels.npy")}
    manifest = {"files": files, "images": images, "profile": "cifar", "seed": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return sorted(path.name for path in folder.iterdir())


def age(root: Path, seconds: float = 3600) -> None:
    """Let all files be older than a process renews its claims."""
    for path in root.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2, follow_symlinks=False)


def unused(store: Store, *, aged: bool = True) -> dict[str, str]:
    if aged:
        age(store.root)
    return {str(entry.path.relative_to(store.root)): entry.reason for entry in find_unused(store).unused}


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")

"""Contract of a leaderboard metric: a value for every row, including rows with missing or failed cells.

The rows are from two runs with artificial outcomes in a temporary results folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.attacks.corruptions.severities import SEVERITY_LEVELS
from bench.contracts.check import Check, Rule, check_documented, require, run_checks
from bench.core.records import Environment, EvalRecord, RunRecord
from bench.core.specs import AttackSpec, CorruptionSpec, DataSpec, EvalSpec, ModelSpec, Recipe, TrainSpec, VariantSpec
from bench.core.vocabulary import BASELINE
from bench.leaderboard.metrics import METRICS
from bench.leaderboard.registry import MetricColumn, MetricInput, Value, metric_columns, metric_values
from bench.leaderboard.rows import board_rows
from bench.results.outcomes import Outcomes
from bench.results.per_image import Sample
from bench.results.results_csv import all_cells
from bench.results.store import Store

EPS = (0.1, 0.2)
CORRECT = {None: 80, EPS[0]: 50, EPS[1]: 30}  # number of correctly classified images, by eps of the attack
N = 100
CREATED = "2000-01-01T00:00:00+00:00"
NOWHERE = Environment(device="cpu", hardware="", python="", torch="", torchvision="", timm="", bench="", git_sha="")


def check_metric(name: str) -> Iterator[Check]:
    """Check the metric ``name`` on complete rows, on rows with failed cells, and on rows with clean images only."""
    entry, subject = METRICS.get(name), f"metric {name}"
    yield check_documented(subject, entry.meaning, entry.source)
    rules: list[Rule] = [
        ("returns a number, a text or None", partial(_complete, name)),
        ("repeatable", partial(_repeatable, name)),
        ("accepts rows whose cells failed", partial(_accepts, name, status="failed")),
        ("accepts rows with clean images only", partial(_accepts, name, attacked=False)),
    ]
    yield from run_checks(subject, rules)


def _complete(name: str) -> str:
    values = _values(name)
    return ", ".join(f"{column} {value}" for column, value in values[-1].items() if value is not None)[:200]


def _repeatable(name: str) -> None:
    first, second = _values(name), _values(name)
    require(first == second, f"two calls give {first} and {second}; compute the value from the row only")


def _accepts(name: str, *, attacked: bool = True, status: str = "ok") -> None:
    _values(name, attacked=attacked, status=status)


def _values(name: str, *, attacked: bool = True, status: str = "ok") -> list[dict[str, Value]]:
    """Return the values of a metric for the rows of a baseline and of a variant."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for variant in (BASELINE, "variant"):
            _write(store, _run(variant), attacked=attacked, status=status)
        cells = all_cells(store)
        rows, outcomes = board_rows(cells), Outcomes(store, cells)
        columns = [column for column in metric_columns(rows) if column.name == name]
        columns = columns or [MetricColumn(name)] * (METRICS.get(name).scope == "row")
        return [metric_values(columns, MetricInput(row, outcomes, rows[0])) for row in rows]


def _run(variant: str) -> RunRecord:
    spec = TrainSpec(
        data=DataSpec(name="data", train_sha="train", num_classes=10, image_size=8),
        model=ModelSpec(name="model"),
        variant=variant,
        variant_spec=VariantSpec(head="none"),
        recipe=Recipe(epochs=1),
        seed=0,
    )
    return RunRecord(
        run_id=spec.run_id, dataset="data", model="model", variant=variant, seed=0, spec=spec, status="ok", reason="",
        message="", config_sha=spec.config_sha, train_sha="train", weights_sha=variant, n_train=N, epochs=1, img_size=8,
        native_size=8, stem="native", latent_dim=4, param_count=1000, gamma=None, gamma_per_sample=None, history=(),
        time_s=1.0, created=CREATED, environment=NOWHERE,
    )  # fmt: skip


def _write(store: Store, run: RunRecord, *, attacked: bool, status: str) -> None:
    """Store the run and its cells: clean images, one attack at two budgets, and one corruption."""
    store.write_run(run, None)
    _write_cell(store, run, _spec(run), CORRECT[None], "ok")
    for eps in EPS if attacked else ():
        attack = AttackSpec(name="pgd", norm="linf", eps=eps)
        _write_cell(store, run, _spec(run, attack=attack), CORRECT[eps], status)
    for level in SEVERITY_LEVELS if attacked else ():
        corruption = CorruptionSpec(kind="fog", severity=level, source="generated", profile="cifar")
        _write_cell(store, run, _spec(run, corruption=corruption), CORRECT[None] - 10 * level, status)


def _spec(run: RunRecord, *, attack: AttackSpec | None = None, corruption: CorruptionSpec | None = None) -> EvalSpec:
    return EvalSpec(
        run_id=run.run_id, data_sha="data", attack=attack, corruption=corruption, protocol="standard", limit=None,
        batch_size=8, seed=0,
    )  # fmt: skip


def _write_cell(store: Store, run: RunRecord, spec: EvalSpec, correct: int, status: str) -> None:
    ok = status == "ok"
    record = EvalRecord(
        cell_id=spec.cell_id, spec=spec, weights_sha=run.weights_sha, status="ok" if ok else "failed",
        reason="" if ok else "attack_error", message="" if ok else "the attack failed", n=N, n_test=N, n_attacked=N,
        n_correct=correct if ok else None, max_distance=None, n_forwards=1, n_backwards=1, batch_size=8, time_s=1.0,
        created=CREATED, official=False, dtype="float32", backend="native", backend_version="", notes=(),
        environment=NOWHERE,
    )  # fmt: skip
    store.write_cell(record, _samples(spec, correct) if ok else None)


def _samples(spec: EvalSpec, correct: int) -> list[Sample]:
    """Return outcomes with the first ``correct`` images correct. Without an attack, the first 80 images are correct."""
    eps = spec.attack.eps if spec.attack else 0.0
    distances = [None if i < correct else eps if i < CORRECT[None] else 0.0 for i in range(N)]
    return [Sample(str(i), 1, 1 if i < CORRECT[None] else 0, int(i < correct), distances[i]) for i in range(N)]

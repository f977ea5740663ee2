"""Build results.csv, one row per cell, with values computed from the stored counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from bench.core.columns import AUDIT_COLUMNS, COUNT_COLUMNS, DIAGNOSTIC_COLUMNS, LOWEST, RESULT_COLUMNS
from bench.core.epsilon import format_eps
from bench.core.inert import csv_cell
from bench.core.records import AuditRecord, DiagnosisRecord, EvalRecord, PluginCode, RunRecord, StageCount
from bench.core.specs import CorruptionSpec, ModelSpec, Norm
from bench.core.vocabulary import CLEAN
from bench.results.audit_verdict import audit_values
from bench.results.chance_level import CHANCE
from bench.results.precedence import runs_at_chance
from bench.results.store import Store
from bench.statistics.intervals import CI_METHOD, wilson_interval

Cell = tuple[RunRecord, EvalRecord]
Audits = Mapping[tuple[str, str], AuditRecord]  # by run id and hash of the test split


class Budget(NamedTuple):
    """Norm and eps of an attack. eps is in units of [0, 1] pixels."""

    norm: Norm
    eps: float

    @property
    def column(self) -> str:
        """Name of the column with the lowest known robust accuracy at this budget."""
        return f"{LOWEST}@{self.norm}-{format_eps(self.eps)}"


class Known(NamedTuple):
    """Lowest known robust accuracy of one run at one budget, as a fraction of ``n`` images."""

    accuracy: float
    n: int
    broken_by: str


LowestKnown = Mapping[tuple[str, str, Budget], Known]  # by run id, hash of the test split and budget
INTEGERS = (
    "robust_acc_lowest_n",
    "severity",
    "n_correct",
    "n_broken_8bit",
    "n_truncated",
    "leaked",
    "attack_version",
    "corruption_version",
    "corruption_seed",
    "n_train",
    "epochs",
    "img_size",
    "latent_dim",
    "param_count",
    "train_batch_size",
    "audit_n",
    "audit_n_correct",
    *COUNT_COLUMNS,
)
RECIPE_COLUMNS = (
    "optimizer", "lr", "lr_schedule", "train_batch_size", "weight_decay", "ema", "train_precision", "train_norm",
    "train_eps", "schedule", "normalization",
)  # fmt: skip
CORRUPTION_FIELDS = {
    "corruption": "kind",
    "severity": "severity",
    "profile": "profile",
    "source": "source",
    "corruption_version": "version",
    "corruption_seed": "seed",
    "files_sha": "files_sha",
}


def all_cells(store: Store) -> list[Cell]:
    """Return the cells of all runs, with any status. Cells of replaced weights are excluded."""
    return [(run, cell) for run in store.runs() for cell in current_cells(run, store)]


def current_cells(run: RunRecord, store: Store) -> list[EvalRecord]:
    """Return the cells of the current weights of a run, with any status."""
    return [cell for cell in store.cells(run.run_id) if cell.weights_sha == run.weights_sha]


def run_at_chance(run: RunRecord, data_sha: str, store: Store) -> bool:
    """Check whether the clean accuracy of the current weights of a run on this test split is no better than chance."""
    return (run.run_id, data_sha) in runs_at_chance((run, cell) for cell in current_cells(run, store))


def result_row(
    run: RunRecord, cell: EvalRecord, *, at_chance: bool = False, lowest: Known | None = None
) -> dict[str, Any]:
    """Return the RESULT_COLUMNS of one row of results.csv: stored values, and values computed from them."""
    attack, ok = cell.spec.attack, cell.status == "ok"
    low, high = wilson_interval(cell.n_correct, cell.n) if ok and cell.n_correct is not None else (None, None)
    derived = {
        "attack": attack.label if attack else CLEAN if cell.spec.is_clean else None,
        "norm": attack.norm if attack else None,
        "eps": attack.eps if attack else None,
        "attack_version": attack.version if attack else None,
        "attack_precision": attack.precision if attack else None,
        **_corruption(cell.spec.corruption),
        "protocol": cell.spec.protocol,
        "acc": cell.n_correct / cell.n if ok and cell.n_correct is not None else None,
        "acc_lo": low,
        "acc_hi": high,
        "robust_acc_lowest": lowest.accuracy if lowest else None,
        "robust_acc_lowest_n": lowest.n if lowest else None,
        "broken_by": lowest.broken_by if lowest else None,
        "ci_method": CI_METHOD if ok else None,
        "flags": ";".join(cell.flags),
        "stages": "; ".join(map(_stage, cell.stages)),
        "notes": "; ".join(cell.notes if ok else (cell.message, *cell.notes)),
        "chance": CHANCE if at_chance else None,
        "adversarials": None if cell.adversarials == "none" else cell.adversarials,
        "seed": cell.spec.seed,
        "data_sha": cell.spec.data_sha,
        **_training(run),
        "train_time_s": run.time_s,
    }
    sources = (derived, vars(cell), vars(cell.environment), vars(run))
    return {column: next(s[column] for s in sources if column in s) for column in RESULT_COLUMNS}


def _stage(stage: StageCount) -> str:
    passes = f"{stage.n_forwards}+{stage.n_backwards}"
    return f"{stage.name} {stage.n_broken}/{stage.n_attacked} ({passes})"


def _corruption(spec: CorruptionSpec | None) -> dict[str, Any]:
    """Return the columns of a corruption. Version and seed are None for official files, because they are unknown."""
    fields = {} if spec is None else vars(spec)
    unknown = ("version", "seed") if spec is not None and spec.source == "official" else ()
    return {column: None if name in unknown else fields.get(name) for column, name in CORRUPTION_FIELDS.items()}


def _training(run: RunRecord) -> dict[str, Any]:
    """Return the columns of recipe and variant; for a model that was trained elsewhere, only the normalization."""
    spec = run.spec
    if spec is None:
        declared = run.source.normalization if run.source else None
        return dict.fromkeys(RECIPE_COLUMNS) | {"normalization": declared}
    decay, adversary = spec.variant_spec.weight_decay, spec.variant_spec.adversary
    return {
        "optimizer": spec.recipe.optimizer,
        "lr": spec.recipe.lr,
        "lr_schedule": spec.recipe.lr_schedule,
        "train_batch_size": spec.recipe.batch_size,
        "weight_decay": spec.recipe.weight_decay if decay is None else decay,
        "ema": spec.ema,
        "train_precision": spec.recipe.precision,
        "train_norm": adversary.norm if adversary else None,
        "train_eps": adversary.eps if adversary else None,
        "schedule": spec.variant_spec.schedule,
        "normalization": normalization(spec.model),
    }


def normalization(model: ModelSpec) -> str:
    """Format the mean and std with which the first layer of a network normalises its input."""
    if model.mean is None or model.std is None:
        return "data set"
    mean, std = (", ".join(str(value) for value in values) for values in (model.mean, model.std))
    return f"timm pretrained_cfg: mean ({mean}), std ({std})"


def results_table(
    cells: Iterable[Cell], diagnoses: Mapping[str, DiagnosisRecord], audits: Audits, lowest: LowestKnown
) -> pd.DataFrame:
    """Return results.csv as a DataFrame with one row per cell. Rows are sorted, so that equal cells give equal files.

    ``diagnoses`` are by run id. Columns of diagnostics from plug-ins follow the built-in ones.
    """
    cells = list(cells)
    at_chance, rows = runs_at_chance(cells), []
    for run, cell in cells:
        key = run.run_id, cell.spec.data_sha
        known = lowest_accuracy_at(cell, lowest)
        row = result_row(run, cell, at_chance=key in at_chance, lowest=known) | _diagnosis(diagnoses.get(run.run_id))
        rows.append(row | audit_values(audits.get(key), cell, at_chance=key in at_chance))
    plugins = sorted({column for record in diagnoses.values() for column in record.values} - DIAGNOSTIC_COLUMNS.keys())
    table = pd.DataFrame(rows, columns=[*RESULT_COLUMNS, *DIAGNOSTIC_COLUMNS, *plugins, *AUDIT_COLUMNS])
    identity = ["dataset", "model", "variant", "config_sha", "seed"]
    keys = [*identity, "attack", "norm", "eps", "corruption", "severity", "source", "protocol", "n", "cell_id"]
    table = table.astype(dict.fromkeys(INTEGERS, "Int64"))
    return table.sort_values(keys, kind="stable", ignore_index=True)


def lowest_accuracy_at(cell: EvalRecord, lowest: LowestKnown) -> Known | None:
    """Return the lowest known robust accuracy at the budget of the cell; None for a cell without an attack."""
    attack = cell.spec.attack
    if attack is None:
        return None
    return lowest.get((cell.spec.run_id, cell.spec.data_sha, Budget(attack.norm, attack.eps)))


def _diagnosis(record: DiagnosisRecord | None) -> dict[str, float | None]:
    return {**record.values, **record.images} if record else {}


UNKNOWN = PluginCode("", "")  # code of a plug-in column in an older record


def all_diagnoses(store: Store) -> dict[str, DiagnosisRecord]:
    """Return the diagnoses of the current weights, by run id.

    All values of a plug-in column are from the same version of the plug-in code: the version that was used last.
    """
    by_run = {run.run_id: store.read_diagnosis(run.run_id) for run in store.runs()}
    records = {run_id: record for run_id, record in by_run.items() if record is not None}
    newest: dict[str, PluginCode] = {}
    for record in records.values():
        for column in record.values.keys() - DIAGNOSTIC_COLUMNS.keys():
            newest[column] = max(newest.get(column, UNKNOWN), _code(record, column), key=lambda code: code.created)
    return {run_id: _of_code(record, newest) for run_id, record in records.items()}


def _code(record: DiagnosisRecord, column: str) -> PluginCode:
    return record.plugins.get(column, UNKNOWN)


def _of_code(record: DiagnosisRecord, codes: Mapping[str, PluginCode]) -> DiagnosisRecord:
    """Return ``record`` without values that were computed by another version of the code than in ``codes``."""
    values = {c: v for c, v in record.values.items() if c not in codes or _code(record, c).sha == codes[c].sha}
    return replace(record, values=values)


def all_audits(store: Store) -> dict[tuple[str, str], AuditRecord]:
    """Return the audits of the current weights, by run id and test split hash."""
    return {(run.run_id, record.data_sha): record for run in store.runs() for record in store.audits(run.run_id)}


def to_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV with LF line ends, without an index, and with floats in their shortest exact form.

    Texts and names of columns are written by :func:`bench.core.inert.csv_cell`.
    """
    return inert_table(table).to_csv(index=False, lineterminator="\n").encode()


def inert_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with texts and names of columns as cells of a CSV file, see :mod:`bench.core.inert`."""
    result = table.copy(deep=False)
    result.columns = result.columns.map(lambda name: csv_cell(str(name)))
    for position, (_, column) in enumerate(table.items()):
        texts = {value for value in column.unique() if isinstance(value, str)} if _has_texts(column) else set()
        cells = {text: cell for text in texts if (cell := csv_cell(text)) != text}
        if cells:
            result.isetitem(position, [cells.get(value, value) for value in column])
    return result


def _has_texts(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(column)

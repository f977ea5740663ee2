"""Registry of leaderboard metrics. Each entry declares the columns of one metric and the function that computes them.

The accuracies, which are compared and ranked, and their intervals are computed in
:mod:`bench.leaderboard.accuracies`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal, get_args

from bench.config import TableConfig
from bench.core.epsilon import format_eps
from bench.core.errors import BenchError, first_line
from bench.core.registry import Registry
from bench.core.specs import Norm
from bench.leaderboard.corruption_cells import corruptions_of
from bench.leaderboard.distances import attack_budgets
from bench.leaderboard.lowest_known import budgets_of
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcomes
from bench.results.results_csv import Budget
from bench.runtime.foreign_code import foreign_code

Value = float | int | str | None
Unit = Literal["percent", "distance", "ratio", "text"]
Scope = Literal["row", "corruptions", "kind", "norm", "budget"]

LARGEST_INTEGER = 2**63 - 1  # largest whole number that a column of integers holds

NORM, EPS, KIND = "<norm>", "<eps>", "<kind>"  # placeholders in the name of a column

#: Required placeholders in the name of a column, by scope.
PLACEHOLDERS: dict[Scope, tuple[str, ...]] = {
    "row": (),
    "corruptions": (),
    "kind": (KIND,),
    "norm": (NORM,),
    "budget": (NORM, EPS),
}
BUILTIN = "bench.leaderboard"  # origin of the built-in metrics


@dataclass(frozen=True)
class MetricInput:
    """Input of a metric's function: one leaderboard row, and the norm, budget or kind of corruption of the column."""

    row: BoardRow
    outcomes: Outcomes  # per-image outcomes of all cells
    baseline: BoardRow | None = None  # paired baseline, or the row itself if it is a baseline
    config: TableConfig = field(default_factory=TableConfig)
    norm: Norm = "linf"  # norm of the column, for the scopes norm and budget
    eps: float = 0.0  # eps of the column for pixels in [0, 1], for the scope budget
    kind: str = ""  # kind of corruption of the column, for the scope kind

    @property
    def budget(self) -> Budget:
        """Norm and eps of the column."""
        return Budget(self.norm, self.eps)


@dataclass(frozen=True, kw_only=True)
class MetricEntry:
    """Declaration of a leaderboard metric.

    ``function`` returns the value. If the metric has further columns, it returns a mapping from suffix to value, with
    the suffix "" for the main column. A value is a finite number, a text, or None for an empty table entry. Accuracies
    are in percent. In the main column, a text is allowed only for the unit "text". Columns with a suffix that ends with
    ``_n`` contain whole numbers.

    ``scope`` determines the number of columns: one column (``row``), one column if any corruption was evaluated
    (``corruptions``), one per ``kind`` of corruption, one per ``norm`` of the attacks, or one per ``budget``. The entry
    is registered under the name of the column, with the placeholders ``<norm>``, ``<eps>`` and ``<kind>``.
    """

    unit: Unit  # determines the rounding: 2 decimals for percent, 5 for a distance, 4 significant digits for a ratio
    meaning: str  # description for `bench list metrics` and results/README.md
    function: Callable[[MetricInput], Value | Mapping[str, Value]]
    scope: Scope = "row"
    suffixes: Mapping[str, str] = field(default_factory=dict)  # meanings of further columns, by suffix
    source: str = "this project"


METRICS: Registry[MetricEntry] = Registry("metric")


def register_metric(name: str, entry: MetricEntry, origin: str = BUILTIN) -> None:
    """Register a metric. Raises BenchError if the placeholders in ``name`` do not match the scope."""
    placeholders = {placeholder for placeholder in (NORM, EPS, KIND) if placeholder in name}
    if placeholders != set(PLACEHOLDERS[entry.scope]):
        needed = " and ".join(PLACEHOLDERS[entry.scope]) or "no placeholder"
        raise BenchError(
            f"metric {name!r} (from {origin}) has scope {entry.scope!r}; its name needs {needed}. Names of built-in "
            "metrics are in 'bench list metrics'."
        )
    if "" in entry.suffixes:
        raise BenchError(f"metric {name!r} (from {origin}) declares an empty suffix; remove this suffix.")
    METRICS.register(name, entry, origin=origin)


def metric_meanings(*scopes: Scope) -> dict[str, str]:
    """Return the meanings of the columns of built-in metrics of ``scopes``, by name with placeholders."""
    return {
        name + suffix: meaning
        for name in METRICS.in_order()
        if METRICS.get(name).scope in scopes and METRICS.origin(name) == BUILTIN
        for suffix, meaning in {"": METRICS.get(name).meaning, **METRICS.get(name).suffixes}.items()
    }


def is_count(suffix: str) -> bool:
    """Return whether columns with this suffix contain whole numbers, such as numbers of images."""
    return suffix.endswith("_n")


@dataclass(frozen=True)
class MetricColumn:
    """Metric at one norm, budget or kind of corruption."""

    name: str  # name of the registry entry
    norm: Norm = "linf"
    eps: float = 0.0
    kind: str = ""

    @property
    def entry(self) -> MetricEntry:
        """Declaration of the metric."""
        return METRICS.get(self.name)

    @property
    def column(self) -> str:
        """Name of the column without a suffix."""
        name = self.name.replace(NORM, self.norm).replace(KIND, self.kind)
        return name.replace(EPS, format_eps(self.eps)) if EPS in name else name

    @property
    def columns(self) -> list[str]:
        """Names of all columns of the metric."""
        return [self.column + suffix for suffix in ("", *self.entry.suffixes)]


def column_units(metrics: Sequence[MetricColumn]) -> dict[str, Unit]:
    """Return the unit by column of ``metrics``. Columns of whole numbers have no unit; see :func:`is_count`."""
    return {
        metric.column + suffix: metric.entry.unit
        for metric in metrics
        for suffix in ("", *metric.entry.suffixes)
        if not is_count(suffix)
    }


def metric_columns(rows: Sequence[BoardRow]) -> list[MetricColumn]:
    """Return the metrics of the leaderboard, grouped by scope, and then by norm, budget or kind of corruption."""
    columns: list[MetricColumn] = []
    for scope, names in groupby(METRICS.in_order(), key=lambda name: METRICS.get(name).scope):
        group = list(names)
        columns += [MetricColumn(name, **fields) for fields in _column_fields(scope, rows) for name in group]
    return columns


def _column_fields(scope: Scope, rows: Sequence[BoardRow]) -> list[dict[str, Any]]:
    """Return the norms, budgets or kinds of the columns of ``scope``, as fields of MetricColumn."""
    kinds = sorted({spec.kind for row in rows for spec in corruptions_of(row)})
    match scope:
        case "corruptions":
            return [{}] if kinds else []
        case "kind":
            return [{"kind": kind} for kind in kinds]
        case "norm":
            return [{"norm": norm} for norm in get_args(Norm) if any(attack_budgets(row, norm) for row in rows)]
        case "budget":
            return [{"norm": budget.norm, "eps": budget.eps} for budget in budgets_of(rows)]
    return [{}]


def metric_values(columns: Sequence[MetricColumn], row_input: MetricInput) -> dict[str, Value]:
    """Return the values of one row, by column. Raises BenchError if a metric's function fails."""
    values: dict[str, Value] = {}
    for column in columns:
        column_input = replace(row_input, norm=column.norm, eps=column.eps, kind=column.kind)
        by_suffix = _call(column, column_input)
        values |= {column.column + suffix: value for suffix, value in by_suffix.items()}
    return values


def _call(column: MetricColumn, metric_input: MetricInput) -> dict[str, Value]:
    """Call the function of a metric and check its return value."""
    entry, where = column.entry, f"metric {column.name!r} (from {METRICS.origin(column.name)})"
    try:
        with foreign_code():
            returned = entry.function(metric_input)
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"{where} raised {type(error).__name__}: {first_line(error)}; correct its function. All cells are stored."
        ) from error
    values = dict(returned) if isinstance(returned, Mapping) else {"": returned}
    if unknown := sorted(values.keys() - {"", *entry.suffixes}):
        raise BenchError(f"{where} returned the suffix {unknown[0]!r}; declare it in suffixes. All cells are stored.")
    for suffix, value in values.items():
        if problem := _problem(suffix, value, entry.unit):
            raise BenchError(f"{where} returned {problem}. All cells are stored.")
    return {suffix: _finite(value) for suffix, value in values.items()}


def _problem(suffix: str, value: object, unit: Unit) -> str:
    """Describe an invalid value of a suffix and the allowed values; return "" for a valid value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | None):
        return f"{type(value).__name__}; return a number, a text or None"
    if isinstance(value, float) and math.isinf(value):
        return f"{value}; return a finite number or None"
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return f"a whole number of {len(str(abs(value)))} digits; return at most {LARGEST_INTEGER}, or a float"
    if is_count(suffix) and not isinstance(value, int | None):
        return f"{value!r} for the suffix {suffix!r}; return a whole number or None"
    if isinstance(value, str) and not suffix and unit != "text":
        return f"the text {value!r}; return a number in the unit {unit!r}, or None"
    return ""


def _finite(value: Value) -> Value:
    """Return ``value``, or None for NaN. None is written as an empty entry of a CSV file."""
    return None if isinstance(value, float) and math.isnan(value) else value

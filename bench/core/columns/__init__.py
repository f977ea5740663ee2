"""The columns of every table and what they mean; results/README.md says the same, word for word."""

from bench.core.columns.audits import AUDIT_COLUMNS, AUDIT_FIGURES
from bench.core.columns.beside import COMPARE_COLUMNS, COMPARISON_COLUMNS
from bench.core.columns.board import (
    ALWAYS_BESIDE,
    CORRUPTION_COLUMNS,
    CORRUPTIONS_ACC,
    DECIMALS,
    DISTANCE_COLUMNS,
    DISTANCE_DECIMALS,
    LEADERBOARD_COLUMNS,
    METRIC_SUFFIXES,
    NOT_OK,
    P_DIGITS,
)
from bench.core.columns.diagnoses import (
    COLLAPSE_COLUMNS,
    COUNT_COLUMNS,
    DIAGNOSTIC_COLUMNS,
    INTERVAL_COLUMNS,
    INTERVAL_SUFFIXES,
    STEEPNESS_COLUMNS,
    TRAIN_SUFFIX,
)
from bench.core.columns.results import RESULT_COLUMNS, SAMPLE_COLUMNS, TIME_COLUMNS

__all__ = [
    "ALWAYS_BESIDE",
    "AUDIT_COLUMNS",
    "AUDIT_FIGURES",
    "COLLAPSE_COLUMNS",
    "COMPARE_COLUMNS",
    "COMPARISON_COLUMNS",
    "CORRUPTIONS_ACC",
    "CORRUPTION_COLUMNS",
    "COUNT_COLUMNS",
    "DECIMALS",
    "DIAGNOSTIC_COLUMNS",
    "DISTANCE_COLUMNS",
    "DISTANCE_DECIMALS",
    "INTERVAL_COLUMNS",
    "INTERVAL_SUFFIXES",
    "LEADERBOARD_COLUMNS",
    "METRIC_SUFFIXES",
    "NOT_OK",
    "P_DIGITS",
    "RESULT_COLUMNS",
    "SAMPLE_COLUMNS",
    "STEEPNESS_COLUMNS",
    "TIME_COLUMNS",
    "TRAIN_SUFFIX",
]

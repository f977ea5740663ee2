"""Columns of all tables with their meanings. tools/column_tables.py writes them to results/README.md."""

from bench.core.columns.audits import AUDIT_COLUMNS, AUDIT_FIGURES
from bench.core.columns.board import (
    ACCURACY_COLUMNS,
    CORRUPTIONS_ACC,
    DECIMALS,
    DEFAULT_SUFFIXES,
    DISTANCE_DECIMALS,
    LEADERBOARD_COLUMNS,
    LOWEST,
    METRIC_SUFFIXES,
    NOT_OK,
    P_DIGITS,
    RATIO_COLUMNS,
)
from bench.core.columns.compared import COMPARE_COLUMNS, COMPARISON_COLUMNS
from bench.core.columns.diagnoses import (
    COLLAPSE_COLUMNS,
    COUNT_COLUMNS,
    DIAGNOSTIC_COLUMNS,
    INTERVAL_COLUMNS,
    INTERVAL_SUFFIXES,
    TEST_IMAGE_COLUMNS,
    TRAIN_SUFFIX,
    TRAINING_COLUMNS,
)
from bench.core.columns.results import RESULT_COLUMNS, SAMPLE_COLUMNS, TIME_COLUMNS

__all__ = [
    "ACCURACY_COLUMNS",
    "AUDIT_COLUMNS",
    "AUDIT_FIGURES",
    "COLLAPSE_COLUMNS",
    "COMPARE_COLUMNS",
    "COMPARISON_COLUMNS",
    "CORRUPTIONS_ACC",
    "COUNT_COLUMNS",
    "DECIMALS",
    "DEFAULT_SUFFIXES",
    "DIAGNOSTIC_COLUMNS",
    "DISTANCE_DECIMALS",
    "INTERVAL_COLUMNS",
    "INTERVAL_SUFFIXES",
    "LEADERBOARD_COLUMNS",
    "LOWEST",
    "METRIC_SUFFIXES",
    "NOT_OK",
    "P_DIGITS",
    "RATIO_COLUMNS",
    "RESULT_COLUMNS",
    "SAMPLE_COLUMNS",
    "TEST_IMAGE_COLUMNS",
    "TIME_COLUMNS",
    "TRAINING_COLUMNS",
    "TRAIN_SUFFIX",
]

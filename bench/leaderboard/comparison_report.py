"""Report the comparison with the paired reference as findings in words and as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from bench.core.columns import LOWEST
from bench.core.inert import markdown, markdown_code
from bench.core.vocabulary import marks
from bench.leaderboard.report import bound
from bench.results.chance_level import CHANCE
from bench.results.collapse_status import NOT_COLLAPSED, NOT_MEASURED
from bench.statistics.multiple_testing import ALPHA

UNTESTED = "untested: too few trainings"
NOT_COMPARED = "not compared: measured otherwise"
AT_CHANCE = f"not compared: {CHANCE}"
NO_COLLAPSE = f"no conclusion: {NOT_COLLAPSED}"
UNKNOWN_COLLAPSE = f"no conclusion: {NOT_MEASURED}"


def deciding(record: Mapping[str, Any], level: float) -> str | None:
    """Return the column of the p-value that determines the finding: ``p_variant``, ``p_checkpoint`` or None.

    ``p_variant`` is used if the number of seeds is large enough to reach ``level``, and otherwise ``p_checkpoint``. The
    choice depends on the number of seeds, not on measured accuracies. Therefore each row has exactly one test, and all
    tests of the table form one family. None if neither p-value was computed, or if a network with a collapse penalty
    has not collapsed. If collapse was not measured, ``p_variant`` is not used.
    """
    collapse = collapse_word(record)
    if collapse == NOT_COLLAPSED:
        return None
    if record["p_variant"] is not None and record["p_variant_smallest"] <= level and collapse != NOT_MEASURED:
        return "p_variant"
    return None if record["p_checkpoint"] is None else "p_checkpoint"


def collapse_word(record: Mapping[str, Any]) -> str:
    """Return the worse collapse status of both rows: ``not collapsed``, ``collapse not measured`` or empty."""
    statuses = [record.get(column) or "" for column in ("collapse", "collapse_reference")]
    return next((word for word in (NOT_COLLAPSED, NOT_MEASURED) if any(s.startswith(word) for s in statuses)), "")


def finding(record: Mapping[str, Any], test: str | None, seeds: Sequence[int]) -> str:
    """Return the finding in words, based on the corrected p-value of ``test``.

    McNemar's test compares only the weights of the lowest of ``seeds``. The finding then names this seed.
    """
    collapse = collapse_word(record)
    if collapse == NOT_COLLAPSED:
        return NO_COLLAPSE
    if test is None:
        return UNKNOWN_COLLAPSE if collapse else UNTESTED
    if test == "p_variant":
        return _words(record, record["p_variant_holm"], record["diff"], record["mde_seeds"])
    direction = record["n_improved"] - record["n_regressed"]
    weights = "these weights" if len(seeds) == 1 else f"these weights (seed {min(seeds)})"
    words = _words(record, record["p_checkpoint_holm"], direction, record["mde"])
    return f"{words}, {weights}" + (f"; {collapse}" if collapse else "")


def _words(record: Mapping[str, Any], p: float, direction: float, mde: float | None) -> str:
    if p <= ALPHA:
        return f"higher{_caveat(record, 'flags')}" if direction > 0 else f"lower{_caveat(record, 'flags_reference')}"
    if mde is None:
        return "no difference found; none would have been"
    return f"no difference found; {mde:.1f} points would have been"


def _caveat(record: Mapping[str, Any], flags: str) -> str:
    """Return a note if the higher accuracy is only an upper bound. ``flags`` is the name of its flags column."""
    names = record[flags].split(";") if record[flags] else []
    prefix = "" if flags == "flags" else f"{record['reference']}: "
    return f" ({prefix}upper bound)" if bound(record["metric"], names) else ""


#: The third header is the name of the reference. "lowest known" contains the values of the reference and the variant.
HEADERS = (
    "variant", "metric", "{}", "accuracy", "difference", "lowest known", "p (checkpoint)", "p (variant)", "finding",
    "audit",
)  # fmt: skip
FEW_SEEDS = 8  # with fewer seeds, the smallest possible p-value is also shown
CAPTION = (
    "Differences from {} in points, with 95 % intervals over seeds and images, or over images only with one seed. "
    "The p-values are uncorrected. A finding is based on one of them, at 0.05 after Holm's correction for the table. "
    "Lowest known: robust accuracy of the reference → of the variant at this budget over all attacks, including those "
    "of the audit."
)


def comparison_markdown(comparison: pd.DataFrame) -> str:
    """Return the comparison as a Markdown table with a caption; empty if ``comparison`` is empty."""
    if comparison.empty:
        return ""
    identifying, reference = _identifying_columns(comparison), "/".join(comparison["reference"].unique())
    rows = [_cells(row, identifying) for _, row in comparison.iterrows()]
    headers = [header.format(markdown(reference)) for header in HEADERS]
    table: str = tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)
    return f"{table}\n\n{CAPTION.format(markdown_code(reference))}"


def _identifying_columns(comparison: pd.DataFrame) -> list[str]:
    """Return the columns that identify the rows of one metric: model and variant, and further columns if needed."""
    names = ["model", "variant"]
    for column in ("dataset", "data_sha", "config_sha"):
        if comparison.duplicated([*names, "metric"]).any() and comparison[column].nunique() > 1:
            names.append(column)
    return names


def _cells(row: pd.Series[Any], names: list[str]) -> list[str]:
    return [
        markdown(":".join(str(row[name]) for name in names)),
        markdown(row["metric"]),
        markdown(_accuracy(row["acc_reference"], row["flags_reference"], row["metric"])),
        markdown(_accuracy(row["acc"], row["flags"], row["metric"])),
        "" if pd.isna(row["diff"]) else f"{row['diff']:+.1f} [{row['diff_lo']:+.1f}, {row['diff_hi']:+.1f}]",
        _lowest(row),
        _p(row["p_checkpoint"]),
        _p_variant(row),
        markdown(_finding(row)),
        "" if pd.isna(row["audit"]) else markdown(row["audit"]),
    ]


def _finding(row: pd.Series[Any]) -> str:
    """Return the finding, with the reason if there is no conclusion."""
    statuses = [row[column] for column in ("collapse", "collapse_reference") if not pd.isna(row[column])]
    collapse = "; ".join(statuses)
    short = str(row["finding"])
    with_reason = {
        NOT_COMPARED: f"{NOT_COMPARED} ({row['note']})",
        AT_CHANCE: f"not compared: {row['chance']}",
        NO_COLLAPSE: f"no conclusion: {collapse}",
        UNKNOWN_COLLAPSE: f"no conclusion: {collapse}",
    }
    return with_reason.get(short, short)


def _lowest(row: pd.Series[Any]) -> str:
    return "" if pd.isna(row[LOWEST]) else f"{row[f'{LOWEST}_reference']:.1f} → {row[LOWEST]:.1f}"


def _accuracy(value: float, flags: Any, metric: str) -> str:
    names = [] if pd.isna(flags) else flags.split(";")
    if pd.isna(value):
        return marks(names).strip()
    return f"{bound(metric, names)}{value:.1f}{marks(names)}"


def _p(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2g}"


def _p_variant(row: pd.Series[Any]) -> str:
    if pd.isna(row["p_variant"]) or row["seeds"] >= FEW_SEEDS:
        return _p(row["p_variant"])
    return f"{_p(row['p_variant'])} (≥ {_p(row['p_variant_smallest'])})"

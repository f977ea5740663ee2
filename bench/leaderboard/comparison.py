"""Build comparison.csv: metrics of each variant and of its paired reference, and tests of their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.core.columns import COMPARISON_COLUMNS, CORRUPTIONS_ACC, LOWEST
from bench.core.seeds import derive_seed
from bench.core.vocabulary import BASELINE
from bench.leaderboard.collapse import collapse_values
from bench.leaderboard.comparison_report import AT_CHANCE, NOT_COMPARED, deciding, finding
from bench.leaderboard.lowest_known import lowest_known, suite_images
from bench.leaderboard.references import Pairs, pairs_of, parts_of, reference_of, same_split, unlike
from bench.leaderboard.rows import BoardRow
from bench.results.outcomes import Outcomes, common_ids
from bench.results.results_csv import Budget
from bench.statistics.multiple_testing import ALPHA, holm
from bench.statistics.paired import Paired, compare
from bench.statistics.power import detectable_by_mcnemar, detectable_difference
from bench.statistics.seed_power import detectable_by_sign_flips
from bench.statistics.seeds import one_more_each, sign_flip_p, smallest_p, spread, two_level_interval

WHOLE = ("n", "seeds", "leaked", "n_regressed", "n_improved", f"{LOWEST}_n", f"{LOWEST}_audit_n")
POINTS = 100  # factor from fractions to percentage points
NO_VERDICTS = "no p_checkpoint: McNemar's test is of verdicts, not of means over cells"
ONE_SEED = "no p_variant: there is one seed"
SAME_WEIGHTS = "no p_variant: the seeds have the same weights"


def comparison_table(
    rows: Sequence[BoardRow], metrics: Sequence[str], outcomes: Outcomes, against: str = BASELINE
) -> pd.DataFrame:
    """Return one row per variant and metric, if the paired reference has the same metric.

    The reference is the paired row of the variant ``against``. Accuracies are in percent, differences in points. The
    table is empty if no row has a reference.
    """
    comparisons: list[tuple[dict[str, Any], Pairs | None]] = []
    for row in sorted(rows, key=_order):
        group = same_split(row, rows)
        reference = reference_of(row, group, against)
        if reference is not None:
            comparisons += _of_row(row, reference, group, metrics, outcomes)
    _decide([(record, pair) for record, pair in comparisons if pair and not record["chance"]])
    table = [record for record, pair in comparisons if pair or record["note"]]
    return pd.DataFrame(table, columns=list(COMPARISON_COLUMNS)).astype(dict.fromkeys(WHOLE, "Int64"))


def _of_row(
    row: BoardRow, reference: BoardRow, group: Sequence[BoardRow], metrics: Sequence[str], outcomes: Outcomes
) -> list[tuple[dict[str, Any], Pairs | None]]:
    """Return one record and its paired outcomes per metric, without values that depend on the number of tests."""
    collapse = collapse_values(row, group) | collapse_values(reference, group, "_reference")
    comparisons = []
    for metric in metrics:
        pair = pairs_of(row, reference, metric, outcomes)
        record = _names(row, reference, metric) | _qualifiers(row, reference, metric) | collapse
        record |= _lowest(row, reference, metric, outcomes)
        if pair is None:
            record |= _not_comparable(unlike(row, reference, metric))
        else:
            record |= _at_chance(pair) if record["chance"] else _values(record, pair)
        comparisons.append((record, pair))
    return comparisons


def _not_comparable(reason: str) -> dict[str, Any]:
    """Return the columns of a metric that was measured differently for both rows: a finding without a difference."""
    return {"finding": NOT_COMPARED, "note": f"no difference: {reason}" if reason else None}


def _at_chance(pair: Pairs) -> dict[str, Any]:
    """Return the columns of a pair at chance level: both accuracies, without a difference."""
    return {**_accuracies(pair), "finding": AT_CHANCE, "note": "no difference: see chance"}


def _decide(records: Sequence[tuple[dict[str, Any], Pairs]]) -> None:
    """Add values that depend on the number of tests: corrected p-values, minimum detectable differences and findings.

    Each row has at most one test. All tests of the table form one family, which is corrected by Holm's method.
    """
    n_tests = sum(deciding(record, 1.0) is not None for record, _ in records)
    level = ALPHA / max(1, n_tests)
    tests = [deciding(record, level) for record, _ in records]
    corrected = holm([record[test] if test else None for (record, _), test in zip(records, tests, strict=True)])
    for (record, pair), test, p in zip(records, tests, corrected, strict=True):
        record |= {f"{column}_holm": p if column == test else None for column in ("p_checkpoint", "p_variant")}
        record |= _detectable(record, pair, level)
        record["finding"] = finding(record, test, pair.seeds)


def _order(row: BoardRow) -> tuple[str, ...]:
    run = row.run
    return run.dataset, row.data_sha, run.model, run.variant, run.config_sha


def _names(row: BoardRow, reference: BoardRow, metric: str) -> dict[str, Any]:
    run = row.run
    return {
        "dataset": run.dataset,
        "model": run.model,
        "variant": run.variant,
        "reference": reference.run.variant,
        "config_sha": run.config_sha,
        "data_sha": row.data_sha,
        "metric": metric,
    }


def _qualifiers(row: BoardRow, reference: BoardRow, metric: str) -> dict[str, Any]:
    """Return the columns that limit the validity of the accuracies: flags, audit, chance level and leaked images."""
    parts = parts_of(row, metric)
    flags = [";".join(sorted({flag for part in parts for flag in r.flags(part)})) or None for r in (row, reference)]
    at_chance = [f"{side} {found}" for side, r in (("variant", row), ("reference", reference)) if (found := r.chance())]
    chance = "; ".join(at_chance) or None
    qualifiers = {"audit": row.verdict(), "chance": chance, "leaked": _leaked(row, reference)}
    return {"flags": flags[0], "flags_reference": flags[1], **qualifiers}


def _leaked(row: BoardRow, reference: BoardRow) -> int | None:
    return max((n for r in (row, reference) if (n := r.leaked()) is not None), default=None)


def _lowest(row: BoardRow, reference: BoardRow, metric: str, outcomes: Outcomes) -> dict[str, Any]:
    """Return the columns of the lowest known robust accuracy, on the common images of all attacks of both rows.

    Empty unless ``metric`` is an attack and both rows have common images.
    """
    attack = next((cell.spec.attack for cell in row.cells.get(metric, {}).values()), None)
    if attack is None:
        return {}
    budget = Budget(attack.norm, attack.eps)
    ids = common_ids(suite_images(r, budget, outcomes) for r in (row, reference))
    lowest_of_rows = [lowest_known(r, budget, outcomes, ids) for r in (row, reference)]
    if lowest_of_rows[0] is None or lowest_of_rows[1] is None:
        return {}
    audited = [lowest.n_audited for lowest in lowest_of_rows if lowest is not None and lowest.n_audited is not None]
    return {
        LOWEST: lowest_of_rows[0].percent,
        f"{LOWEST}_reference": lowest_of_rows[1].percent,
        f"{LOWEST}_n": len(ids),
        f"{LOWEST}_audit_n": min(audited) if len(audited) == len(lowest_of_rows) else None,
        "broken_by": lowest_of_rows[0].broken_by() or None,
        "broken_by_reference": lowest_of_rows[1].broken_by() or None,
    }


def _accuracies(pair: Pairs) -> dict[str, Any]:
    seeds, n = pair.differences.shape
    return {
        "n": n,
        "seeds": seeds,
        "acc": POINTS * float(pair.ours.mean()),
        "acc_reference": POINTS * float(pair.theirs.mean()),
    }


def _values(names: Mapping[str, Any], pair: Pairs) -> dict[str, Any]:
    """Return the columns of one comparison that do not depend on the number of tests."""
    seeds = len(pair.seeds)
    by_seed = pair.differences.mean(axis=1)
    checkpoint = _checkpoint(pair) if names["metric"] != CORRUPTIONS_ACC else None
    low, high = _interval(names, pair, checkpoint)
    return {
        **_accuracies(pair),
        "diff": POINTS * float(by_seed.mean()),
        "diff_lo": POINTS * low,
        "diff_hi": POINTS * high,
        "interval": "images" if seeds == 1 else "seeds+images",
        "n_regressed": None if checkpoint is None else checkpoint.n_regressed,
        "n_improved": None if checkpoint is None else checkpoint.n_improved,
        "p_checkpoint": None if checkpoint is None else checkpoint.p,
        "p_variant": sign_flip_p(by_seed) if seeds > 1 and pair.trainings else None,
        "p_variant_smallest": smallest_p(seeds),
        "std_seeds": POINTS * spread(by_seed).std if seeds > 1 else None,
        "note": "; ".join(_notes(checkpoint, pair)) or None,
    }


def _interval(names: Mapping[str, Any], pair: Pairs, checkpoint: Paired | None) -> tuple[float, float]:
    if checkpoint is not None and len(pair.seeds) == 1:
        return checkpoint.low, checkpoint.high
    seed = derive_seed("comparison", names["config_sha"], names["data_sha"], names["metric"])
    return two_level_interval(one_more_each(pair.differences), np.random.default_rng(seed))


def _notes(checkpoint: Paired | None, pair: Pairs) -> list[str]:
    """Return the notes that explain missing p-values."""
    notes = [NO_VERDICTS] if checkpoint is None else []
    if len(pair.seeds) == 1:
        return [*notes, ONE_SEED]
    return notes if pair.trainings else [*notes, SAME_WEIGHTS]


def _checkpoint(pair: Pairs) -> Paired:
    """Compare the two trained networks of the lowest seed."""
    return compare(pair.theirs[0] == 1, pair.ours[0] == 1)


def _detectable(record: Mapping[str, Any], pair: Pairs, level: float) -> dict[str, float | None]:
    """Return the minimum detectable differences over images and over seeds, in points.

    ``level`` is the level of the smallest p-value in Holm's correction of the table.
    """
    seeds, n = pair.differences.shape
    of_images = of_seeds = None
    if n > 1 and record["p_checkpoint"] is not None:
        of_images = detectable_by_mcnemar(n, (record["n_regressed"] + record["n_improved"]) / n, level)
    elif n > 1 and (std := float(pair.differences[0].std(ddof=1))):
        of_images = detectable_difference(n, std, level)
    if record["p_variant"] is not None:
        of_seeds = detectable_by_sign_flips(seeds, record["std_seeds"] / POINTS, n, level)
    points = {"mde": of_images, "mde_seeds": of_seeds}
    return {column: None if value is None else POINTS * value for column, value in points.items()}

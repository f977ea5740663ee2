"""comparison.csv: every metric of every variant beside its baseline's, with what says whether they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.core.columns import COMPARISON_COLUMNS, CORRUPTIONS_ACC
from bench.core.seeds import derive_seed
from bench.statistics.paired import Paired, compare
from bench.statistics.power import detectable_by_mcnemar, detectable_difference
from bench.statistics.seed_power import detectable_by_sign_flips
from bench.statistics.seeds import one_more_each, sign_flip_p, smallest_p, spread, two_level_interval
from bench.statistics.several import ALPHA, holm
from bench.tables.board import BoardRow
from bench.tables.findings import NOT_COMPARED, deciding, finding
from bench.tables.outcomes import Outcomes
from bench.tables.twins import Twins, parts_of, twin_of, twins, unlike

WHOLE = ("n", "seeds", "lost", "gained")
POINTS = 100  # in a fraction of 1
NO_VERDICTS = "no p_checkpoint: McNemar's test is of verdicts, not of means over cells"
ONE_SEED = "no p_variant: there is one seed"
SAME_WEIGHTS = "no p_variant: the seeds have the same weights"


def comparison_table(rows: Sequence[BoardRow], metrics: Sequence[str], outcomes: Outcomes) -> pd.DataFrame:
    """One row a variant and metric that its baseline has, too, in percent and points; empty without any."""
    found = [
        (_names(row, metric) | _beside(row, twin, metric), pair, "" if pair else unlike(row, twin, metric))
        for row in sorted(rows, key=_order)
        if (twin := twin_of(row, [r for r in rows if (r.run.dataset, r.data_sha) == (row.run.dataset, row.data_sha)]))
        for metric in metrics
        for pair in [twins(row, twin, metric, outcomes)]
    ]
    records = [(names | _values(names, pair) if pair else _apart(names, why), pair) for names, pair, why in found]
    _decide([(record, pair) for record, pair in records if pair])
    table = [record for record, _ in records if record["note"] or "diff" in record]
    return pd.DataFrame(table, columns=list(COMPARISON_COLUMNS)).astype(dict.fromkeys(WHOLE, "Int64"))


def _apart(names: Mapping[str, Any], why: str) -> dict[str, Any]:
    """What both have, and no difference: it would be that of two attacks."""
    return {**names, "finding": NOT_COMPARED, "note": f"no difference: {why}" if why else None}


def _decide(records: Sequence[tuple[dict[str, Any], Twins]]) -> None:
    """Add what depends on how many others there are. Every row has one test: one family, Holm's of the whole table."""
    made = sum(record["p_checkpoint"] is not None or record["p_variant"] is not None for record, _ in records)
    level = ALPHA / max(1, made)
    tests = [deciding(record, level) for record, _ in records]
    corrected = holm([record[test] if test else None for (record, _), test in zip(records, tests, strict=True)])
    for (record, pair), test, p in zip(records, tests, corrected, strict=True):
        record |= {f"{column}_holm": p if column == test else None for column in ("p_checkpoint", "p_variant")}
        record |= _detectable(record, pair, level)
        record["finding"] = finding(record, test, pair.seeds)


def _order(row: BoardRow) -> tuple[str, ...]:
    run = row.run
    return run.dataset, row.data_sha, run.model, run.variant, run.config_sha


def _names(row: BoardRow, metric: str) -> dict[str, Any]:
    run = row.run
    return {
        "dataset": run.dataset,
        "model": run.model,
        "variant": run.variant,
        "config_sha": run.config_sha,
        "data_sha": row.data_sha,
        "metric": metric,
    }


def _beside(row: BoardRow, twin: BoardRow, metric: str) -> dict[str, Any]:
    """What speaks against the two accuracies."""
    parts = parts_of(row, metric)
    flags = [";".join(sorted({flag for part in parts for flag in r.flags(part)})) or None for r in (row, twin)]
    return {"flags": flags[0], "flags_baseline": flags[1], "audit": row.verdict()}


def _values(names: Mapping[str, Any], pair: Twins) -> dict[str, Any]:
    """The numbers of one comparison; without those that depend on how many others there are."""
    seeds, n = pair.differences.shape
    by_seed = pair.differences.mean(axis=1)
    checkpoint = _checkpoint(pair) if names["metric"] != CORRUPTIONS_ACC else None
    low, high = _interval(names, pair, checkpoint)
    return {
        "n": n,
        "seeds": seeds,
        "acc": POINTS * float(pair.ours.mean()),
        "acc_baseline": POINTS * float(pair.theirs.mean()),
        "diff": POINTS * float(by_seed.mean()),
        "diff_lo": POINTS * low,
        "diff_hi": POINTS * high,
        "interval": "images" if seeds == 1 else "seeds+images",
        "lost": None if checkpoint is None else checkpoint.lost,
        "gained": None if checkpoint is None else checkpoint.gained,
        "p_checkpoint": None if checkpoint is None else checkpoint.p,
        "p_variant": sign_flip_p(by_seed) if seeds > 1 and pair.trainings else None,
        "p_variant_smallest": smallest_p(seeds),
        "std_seeds": POINTS * spread(by_seed).std if seeds > 1 else None,
        "note": "; ".join(_notes(checkpoint, pair)) or None,
    }


def _interval(names: Mapping[str, Any], pair: Twins, checkpoint: Paired | None) -> tuple[float, float]:
    if checkpoint is not None and len(pair.seeds) == 1:
        return checkpoint.low, checkpoint.high
    seed = derive_seed("comparison", names["config_sha"], names["data_sha"], names["metric"])
    return two_level_interval(one_more_each(pair.differences), np.random.default_rng(seed))


def _notes(checkpoint: Paired | None, pair: Twins) -> list[str]:
    """Which p there is not, and why."""
    found = [NO_VERDICTS] if checkpoint is None else []
    if len(pair.seeds) == 1:
        return [*found, ONE_SEED]
    return found if pair.trainings else [*found, SAME_WEIGHTS]


def _checkpoint(pair: Twins) -> Paired:
    """Two trained networks: those of the lowest seed, alone."""
    return compare(pair.theirs[0] == 1, pair.ours[0] == 1)


def _detectable(record: Mapping[str, Any], pair: Twins, level: float) -> dict[str, float | None]:
    """In points, at the level that a correction for the whole table asks of the smallest p."""
    seeds, n = pair.differences.shape
    of_images = of_seeds = None
    if n > 1 and record["p_checkpoint"] is not None:
        of_images = detectable_by_mcnemar(n, (record["lost"] + record["gained"]) / n, level)
    elif n > 1 and (std := float(pair.differences[0].std(ddof=1))):
        of_images = detectable_difference(n, std, level)
    if record["p_variant"] is not None:
        of_seeds = detectable_by_sign_flips(seeds, record["std_seeds"] / POINTS, n, level)
    points = {"detectable": of_images, "detectable_seeds": of_seeds}
    return {column: None if value is None else POINTS * value for column, value in points.items()}

"""comparison.csv: every metric of every variant beside its baseline's, with what says whether they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.board import BoardRow
from bench.core.columns import COMPARISON_COLUMNS, CORRUPTIONS_ACC
from bench.core.seeds import derive_seed
from bench.findings import finding
from bench.outcomes import Outcomes
from bench.statistics.paired import compare
from bench.statistics.power import detectable_by_mcnemar, detectable_difference
from bench.statistics.seeds import sign_flip_p, smallest_p, spread, two_level_interval
from bench.statistics.several import ALPHA, holm
from bench.twins import Twins, parts_of, twin_of, twins

WHOLE = ("n", "seeds", "lost", "gained")
POINTS = 100  # in a fraction of 1
NO_VERDICTS = "no p_checkpoint: McNemar's test is of verdicts, not of means over cells"
ONE_SEED = "no p_variant: there is one seed"


def comparison_table(rows: Sequence[BoardRow], metrics: Sequence[str], outcomes: Outcomes) -> pd.DataFrame:
    """One row a variant and metric that can be compared with its baseline, in percent and points; empty without any.

    """
    found = [
        (_names(row, metric) | _beside(row, twin, metric), pair)
        for row in sorted(rows, key=_order)
        if (twin := twin_of(row, [r for r in rows if (r.run.dataset, r.data_sha) == (row.run.dataset, row.data_sha)]))
        for metric in metrics
        if (pair := twins(row, twin, metric, outcomes))
    ]
    records = [names | _values(names, pair) for names, pair in found]
    for column in ("p_checkpoint", "p_variant"):
        for record, p in zip(records, holm([record[column] for record in records]), strict=True):
            record[f"{column}_holm"] = p
    reach = holm([None if r["p_variant"] is None else r["p_variant_smallest"] for r in records])
    levels = {column: ALPHA / max(1, _made(records, column)) for column in ("p_checkpoint", "p_variant")}
    for record, (_, pair), smallest in zip(records, found, reach, strict=True):
        record |= _detectable(record, pair, levels)
        record["finding"] = finding(record, smallest, pair.seeds)
    return pd.DataFrame(records, columns=list(COMPARISON_COLUMNS)).astype(dict.fromkeys(WHOLE, "Int64"))


def _order(row: BoardRow) -> tuple[str, ...]:
    run = row.run
    return run.dataset, row.data_sha, run.model, run.variant, run.config_sha


def _made(records: Sequence[Mapping[str, Any]], column: str) -> int:
    """The number of tests in a column."""
    return sum(record[column] is not None for record in records)


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
    if checkpoint is not None and seeds == 1:
        low, high = checkpoint.low, checkpoint.high
    else:
        seed = derive_seed("comparison", names["config_sha"], names["data_sha"], names["metric"])
        low, high = two_level_interval(pair.differences, np.random.default_rng(seed))
    notes = [NO_VERDICTS] * (checkpoint is None) + [ONE_SEED] * (seeds == 1)
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
        "p_variant": sign_flip_p(by_seed) if seeds > 1 else None,
        "p_variant_smallest": smallest_p(seeds),
        "std_seeds": POINTS * spread(by_seed).std if seeds > 1 else None,
        "note": "; ".join(notes) or None,
    }


def _checkpoint(pair: Twins) -> Any:
    """Two trained networks: those of the lowest seed, alone."""
    return compare(pair.theirs[0] == 1, pair.ours[0] == 1)


def _detectable(record: Mapping[str, Any], pair: Twins, levels: Mapping[str, float]) -> dict[str, float | None]:
    """In points, at the levels that Holm's correction asks of the smallest p."""
    seeds, n = pair.differences.shape
    of_images = of_seeds = None
    if n > 1 and record["p_checkpoint"] is not None:
        of_images = detectable_by_mcnemar(n, (record["lost"] + record["gained"]) / n, levels["p_checkpoint"])
    elif n > 1:
        of_images = detectable_difference(n, float(pair.differences[0].std(ddof=1)), levels["p_checkpoint"])
    if seeds > 1:
        of_seeds = detectable_difference(seeds, record["std_seeds"] / POINTS, levels["p_variant"])
    points = {"detectable": of_images, "detectable_seeds": of_seeds}
    return {column: None if value is None else POINTS * value for column, value in points.items()}

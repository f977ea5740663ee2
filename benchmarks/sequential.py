"""Simulate how many images ``bench check --sequential`` uses, and how many other bets would use.

    python benchmarks/sequential.py --out sequential.csv

Test sets of 1,000 images in random orders, a tolerance of one point. Of each set, a share of images is gained by
chance, and the same share plus the true drop is lost. One row per level, share gained and true drop: the median number
of images used by the sequential check (all 1,000 if it stays undecided), the shares of sets that fail and pass, the
share of independently drawn sets of 1,000 images that the check of a fixed number fails, and the median number of
images used by alternatives. It takes two minutes on an idle core.

The alternatives replace the bets of :func:`bench.statistics.betting.log_wealth` by a single rate, by aGRAPA, or by the
predictable plug-in of the empirical Bernstein sequence (Waudby-Smith and Ramdas 2024).
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.gate.sequential import decisions
from bench.statistics import betting
from bench.statistics.accuracy_drop import verdict_bounds

Floats = NDArray[np.float64]
N, TOLERANCE = 1_000, 0.01
LEVELS, CHANCE, DROPS = (0.01, 0.05), (0.0, 0.01, 0.03), (0.02, 0.03, 0.05, 0.10)
CAP = 0.75  # truncation of the adaptive bets, as in the paper


def test_sets(drop: float, gained: float, count: int) -> Floats:
    """Return paired differences of ``count`` test sets with exactly this drop, each in its own random order."""
    n_improved = round(gained * N)
    n_regressed = round(drop * N) + n_improved
    values = np.array([1.0] * n_regressed + [-1.0] * n_improved + [0.0] * (N - n_regressed - n_improved))
    return np.random.default_rng(0).permuted(np.tile(values, (count, 1)), axis=1)


def adaptive_log_wealth(
    differences: Floats, mean: float, population: int | None = None, *, kind: str, alpha: float
) -> Floats:
    """Return the log wealth of bets that estimate mean and variance from the images before."""
    n = differences.shape[-1]
    counts, sums = np.arange(1, n + 1), differences.cumsum(axis=-1)
    left = population - np.arange(n) if population else np.ones(n)
    remaining = (population * mean - (sums - differences)) / left if population else np.full_like(differences, mean)
    means = sums / (counts + 1)
    variances = (0.25 + ((differences - means) ** 2).cumsum(axis=-1)) / (counts + 1)
    means = np.concatenate([np.zeros_like(means[:, :1]), means[:, :-1]], axis=1)
    variances = np.concatenate([np.full_like(variances[:, :1], 0.25), variances[:, :-1]], axis=1)
    if kind == "agrapa":
        bets = (means - remaining) / (variances + (means - remaining) ** 2)
    else:
        bets = np.sqrt(2 * math.log(1 / alpha) / (variances * counts * np.log1p(counts)))
    bets = bets.clip(0, CAP / np.maximum(1 + remaining, 1e-12))
    total = np.log1p(bets * (differences - remaining)).cumsum(axis=-1)
    if population:
        total[population * mean < sums - (left - 1) - 1e-9] = np.inf
    return np.asarray(total)


def median_used(differences: Floats, alpha: float, bets: Callable[..., Floats] | float | None) -> tuple[float, Floats]:
    """Return the median number of images used, and the shares of FAIL and PASS."""
    changes = (
        {"RATES": (bets,)} if isinstance(bets, float) else {"log_wealth": bets} if bets else {"RATES": betting.RATES}
    )
    with mock.patch.multiple(betting, **changes):
        fails, passes = decisions(differences, 1, alpha=alpha, tolerance=TOLERANCE)
    decided = fails | passes
    used = np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, N)
    first = used - 1, np.arange(len(used))
    return float(np.median(used)), np.array([side[first[1], first[0]].mean() for side in (fails, passes)])


@cache
def _fails(n_regressed: int, n_improved: int, alpha: float) -> bool:
    drop = (n_regressed - n_improved) / N
    return drop > TOLERANCE and verdict_bounds(n_regressed, n_improved, N, alpha).low > 0


def fixed_share(drop: float, gained: float, alpha: float, count: int = 10_000) -> float:
    """Return the share of sets of N independent images that the check of a fixed number fails."""
    shares = [drop + gained, gained, 1 - drop - 2 * gained]
    table = np.random.default_rng(1).multinomial(N, shares, count)
    return float(np.mean([_fails(int(lost), int(won), alpha) for lost, won, _ in table]))


def main() -> None:
    """Print one row per case, and write all rows to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("sequential.csv"))
    parser.add_argument("--sets", type=int, default=500, help="test sets per case")
    options = parser.parse_args()
    rows = []
    for alpha in LEVELS:
        others = {f"rate {rate:g}": rate for rate in betting.RATES} | {
            kind: partial(adaptive_log_wealth, kind=kind, alpha=alpha) for kind in ("agrapa", "plug-in")
        }
        for gained in CHANCE:
            for drop in DROPS:
                x = test_sets(drop, gained, options.sets)
                used, (failed, passed) = median_used(x, alpha, None)
                row = {
                    "alpha": alpha,
                    "gained": gained,
                    "drop": drop,
                    "median_used": f"{used:g}",
                    "fail": f"{failed:.3f}",
                    "pass": f"{passed:.3f}",
                    "fixed_fail": f"{fixed_share(drop, gained, alpha):.3f}",
                    **{name: f"{median_used(x, alpha, bets)[0]:g}" for name, bets in others.items()},
                }
                print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
                rows.append(row)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

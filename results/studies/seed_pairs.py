r"""Count significant differences between seeds of one recipe by McNemar's exact test, over all pairs of seeds.

    bench run --models resnet10t --variants baseline --seeds 0,1,2,3,4,5,6,7,8,9,10,11 --epochs 10 --attacks fgsm,pgd \
        --eps 0.1 --corruptions none --audit none --no-diagnose --results RESULTS
    python results/studies/seed_pairs.py RESULTS

The results of such a run are not stored here, so that no counts are quoted.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from bench.results.store import Store
from bench.statistics.paired import compare

LEVEL = 0.01


def main(folder: Path) -> None:
    """Print, for every column of the leaderboard, the number of pairs of seeds with p below ``LEVEL``."""
    store = Store(folder)
    columns: dict[tuple[str, str, str, int], list[np.ndarray]] = {}
    for run in store.runs():
        for cell in store.cells(run.run_id):
            if cell.status == "ok":
                correct = np.array([sample.correct for sample in store.read_samples(cell)])
                columns.setdefault((run.config_sha, run.variant, cell.spec.name, cell.n), []).append(correct)
    rows = []
    for (_, variant, column, n), seeds in columns.items():
        p_values = [compare(first, second).p for first, second in itertools.combinations(seeds, 2)]
        rows.append((variant, column, n, len(seeds), len(p_values), sum(p < LEVEL for p in p_values)))
    table = pd.DataFrame(rows, columns=["variant", "column", "n", "seeds", "pairs", "below"])
    print(table.to_string(index=False))
    print(f"{table.below.sum()} of {table.pairs.sum()} pairs have p < {LEVEL}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

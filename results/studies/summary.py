"""Summarise a results.csv as mean and standard deviation over seeds.

    python results/studies/summary.py FOLDER COLUMN ...

Writes FOLDER/summary.csv, one row per configuration, and prints the named columns as Markdown.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

KEYS = [
    "dataset",
    "model",
    "variant",
    "schedule",
    "latent_dim",
    "epochs",
    "lr",
    "train_batch_size",
    "n_train",
    "train_precision",
    "config_sha",
]
NAMES = KEYS[:7]  # columns that identify a row of the printed table
PREFIXES = ("collapse_", "lipschitz_", "deepfool_")


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row per configuration: seeds, accuracies in percent, diagnoses and γ, with mean and sample std."""
    ok = results[results["status"] == "ok"].copy()
    if "corruption" in ok:
        ok = ok[ok["corruption"].isna()].copy()
    clean = ok["attack"] == "clean"
    budget = ok["norm"] + "-" + ok["eps"].astype(float).map("{:.4g}".format)
    ok["metric"] = ok["attack"].where(clean, ok["attack"] + "@" + budget)
    ok["metric"] = ok["metric"].where(clean, ok["metric"] + " n=" + ok["n"].astype(str))
    ok["metric"] = ok["metric"].where(ok["protocol"] == "standard", ok["metric"] + " " + ok["protocol"])
    accuracy = ok.pivot(index="run_id", columns="metric", values="acc") * 100  # raises for two cells of one metric
    runs = ok.drop_duplicates("run_id").set_index("run_id")
    diagnoses = [column for column in results.columns if column.startswith(PREFIXES)]
    numbers = accuracy.join(runs[["gamma", "gamma_per_sample", *diagnoses]])
    grouped = numbers.join(runs[KEYS]).groupby(KEYS, dropna=False)
    table = grouped[list(numbers.columns)].agg(["mean", "std"])
    pairs: Any = table.columns
    table.columns = pd.Index([name if kind == "mean" else f"{name}_std" for name, kind in pairs])
    table.insert(0, "seeds", grouped.size())
    return table.reset_index()


def as_markdown(table: pd.DataFrame, columns: list[str]) -> str:
    """Format the columns of ``NAMES`` that differ between rows, and then ``columns`` with standard deviations."""
    names = [name for name in NAMES if name == "variant" or table[name].nunique(dropna=False) > 1]
    shown = table[names].fillna("")
    for column in columns:
        spread = table[f"{column}_std"]
        texts = [
            "" if pd.isna(m) else f"{m:.3g}" if pd.isna(s) else f"{m:.3g} ± {s:.2g}"
            for m, s in zip(table[column], spread, strict=True)
        ]
        shown[column] = texts
    return str(shown.to_markdown(index=False))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    summary = summarise(pd.read_csv(folder / "results.csv", keep_default_na=True))
    summary.to_csv(folder / "summary.csv", index=False, float_format="%.5g", lineterminator="\n")
    print(as_markdown(summary, sys.argv[2:]))

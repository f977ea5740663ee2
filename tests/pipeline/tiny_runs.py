"""Runs of the plug-in's tiny model, and their rows."""

from __future__ import annotations

import csv
from pathlib import Path

FINISHED = ("--attacks", "fgsm,pgd-5", "--eps", "0.05,0.1")  # options of the shared results folder `finished`
LEARNED = ("--train-limit", "all", "--epochs", "4")  # enough for most images to be right


def rows(results: Path) -> list[dict[str, str]]:
    with (results / "results.csv").open() as file:
        return list(csv.DictReader(file))

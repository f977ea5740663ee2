"""``bench show duplicates``: list test images that are equal to training images or to other test images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from bench.core.errors import BenchError
from bench.core.inert import one_line
from bench.core.vocabulary import Exit
from bench.data import load_dataset
from bench.data.duplicates import Duplicates, find_duplicates
from bench.data.registry import DataRequest
from bench.runtime.console import say


def show_duplicates(*, dataset: str | None, data_dir: Path | None, image_size: int | None, as_json: bool) -> int:
    """Print one row per image for every group of equal images. Raises BenchError if no data set is given."""
    if dataset is None:
        raise BenchError("no data set given; write --dataset, for example --dataset digits.")
    data = load_dataset(dataset, DataRequest(data_dir, image_size))
    duplicates = find_duplicates(data)
    if as_json:
        print(json.dumps(_as_data(duplicates, data.test.ids), indent=2))
        return Exit.OK
    rows = [
        (number, split, one_line(copy.sample_id), copy.label, "yes" if group.contradicts else "")
        for number, group in enumerate(duplicates.groups, start=1)
        for split in ("test", "train")
        for copy in (group.test if split == "test" else group.train)
    ]
    headers = ("group", "split", "image", "label", "labels differ")
    if rows:
        print(tabulate(rows, headers, tablefmt="plain", disable_numparse=True))
    for name in duplicates.unread:
        say(f"could not be read: {name}")
    say(f"{data.name}: {_summary(duplicates, data.test.ids)}")
    return Exit.OK


def _summary(duplicates: Duplicates, ids: Sequence[str]) -> str:
    leaked = duplicates.leaked(ids)
    return (
        f"of {len(ids)} test images {'an unknown number' if leaked is None else leaked} are in the training split, "
        f"{duplicates.repeated(ids)} repeat other test images, {len(duplicates.contradicted)} have a copy with another "
        f"label (equal {duplicates.method})"
    )


def _as_data(duplicates: Duplicates, ids: Sequence[str]) -> dict[str, object]:
    groups = [
        {
            "test": [copy._asdict() for copy in group.test],
            "train": [copy._asdict() for copy in group.train],
            "labels_differ": group.contradicts,
        }
        for group in duplicates.groups
    ]
    return {
        "n_test": len(ids),
        "leaked": duplicates.leaked(ids),
        "repeated": duplicates.repeated(ids),
        "contradicted": len(duplicates.contradicted),
        "compared": duplicates.method,
        "unread": list(duplicates.unread),
        "groups": groups,
    }

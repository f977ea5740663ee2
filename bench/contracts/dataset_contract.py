"""Contract of a data set: declared defaults, valid images and labels, and repeatable reads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bench.contracts.check import Check, Rule, check_documented, require, run_check, run_checks
from bench.core.epsilon import parse_eps
from bench.core.errors import BenchError
from bench.core.vocabulary import NORMS
from bench.data.pixel_checks import check_range, check_repeatable
from bench.data.registry import DATASETS, DataRequest, DatasetEntry
from bench.data.split import Dataset, check_dataset, read_checked, take

READ = 500  # number of images per split whose pixels are checked, proportional to class


def check_dataset_entry(name: str, *, data_dir: Path | None = None, image_size: int | None = None) -> Iterator[Check]:
    """Check the data set ``name``. Its images are checked only if it can be loaded, because files may be missing."""
    entry, subject = DATASETS.get(name), f"dataset {name}"
    yield check_documented(subject, entry.summary, entry.source)
    yield run_check(subject, "declares what a run needs", partial(_declares, entry))
    loads: list[Dataset] = []
    request = DataRequest(data_dir, image_size)
    first = _check_loads(subject, entry, request, loads)
    yield first
    if first.problem or first.skipped:
        return
    (data,) = loads
    rules: list[Rule] = [
        ("ids are unique and labels are classes", partial(_valid, data)),
        ("has the declared number of classes and image size", partial(_as_declared, entry, data)),
        ("pixels are images in [0, 1]", partial(_pixels, data)),
        ("two reads give the same images", partial(_repeatable, data)),
        ("two loads give the same images", partial(_same_again, entry, request, data)),
    ]
    yield from run_checks(subject, rules)


def _check_loads(subject: str, entry: DatasetEntry, request: DataRequest, loads: list[Dataset]) -> Check:
    """Load the data set and append it to ``loads``. Skip the check if the loader needs a folder and none is given."""
    rule = "loads"
    try:
        data = entry.load(request)
    except BenchError as error:
        if request.data_dir is None:
            return Check(subject=subject, rule=rule, skipped=f"without --data-dir: {str(error).rstrip('.')}")
        return Check(subject=subject, rule=rule, problem=str(error).rstrip("."))
    except Exception as error:  # noqa: BLE001 - a plug-in loader may raise any exception
        return Check(subject=subject, rule=rule, problem=f"its loader raised {type(error).__name__}: {error}")
    if not isinstance(data, Dataset):
        returned_type = type(data).__name__
        return Check(
            subject=subject, rule=rule, problem=f"its loader returned {returned_type}; return a bench.data.Dataset"
        )
    loads.append(data)
    return Check(subject=subject, rule=rule, note=f"{len(data.train)} training and {len(data.test)} test images")


def _declares(entry: DatasetEntry) -> None:
    require(bool(entry.eps), "it declares no budgets; give eps={'linf': ('8/255',)}")
    for norm, texts in entry.eps.items():
        require(norm in NORMS, f"it declares budgets for norm {norm!r}; the norms are {', '.join(NORMS)}")
        budgets = [parse_eps(text, norm) for text in texts]
        require(bool(budgets), f"it declares no budget for {norm}; give at least one, or remove the norm")
        require(
            budgets == sorted(set(budgets)),
            f"its {norm} budgets are {', '.join(texts)}; give each budget once, in increasing order",
        )
    require(entry.recipe.epochs > 0, f"its recipe has {entry.recipe.epochs} epochs; give at least 1")
    require(entry.recipe.lr > 0, f"its recipe has learning rate {entry.recipe.lr}; give a number above 0")
    require(entry.costly_limit > 0, f"its costly_limit is {entry.costly_limit}; give at least 1 image")
    require(
        (entry.num_classes is None) == (entry.image_size is None),
        f"it declares num_classes={entry.num_classes} and image_size={entry.image_size}; declare both or neither",
    )


def _valid(data: Dataset) -> None:
    check_dataset(data)


def _as_declared(entry: DatasetEntry, data: Dataset) -> None:
    for field in ("num_classes", "image_size"):
        declared, actual = getattr(entry, field), getattr(data, field)
        require(
            declared in (None, actual),
            f"its entry declares {field}={declared}, but its images have {actual}; correct the entry",
        )


def _pixels(data: Dataset) -> str:
    for split in (data.train, data.test):
        read_checked(split, take(split, READ), dataset=data.name, size=data.image_size)
    return "; ".join(check_range(data).notes[len(data.notes) :])


def _repeatable(data: Dataset) -> None:
    check_repeatable(data)


def _same_again(entry: DatasetEntry, request: DataRequest, data: Dataset) -> None:
    reloaded = entry.load(request)
    for first, second in ((data.train, reloaded.train), (data.test, reloaded.test)):
        indices = take(first, READ)
        same = first.sha == second.sha and np.array_equal(first.read(indices), second.read(indices))
        require(same, f"its {first.name} images differ between two loads; seed all random generators of its loader")

"""The data sets by name: what each declares before a single file is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.core.registry import Registry
from bench.core.specs import Fitting, Recipe
from bench.data.split import Dataset


class DataRequest(NamedTuple):
    """Data request of the user: folder, image size, and the name and class order of an image folder."""

    data_dir: Path | None = None
    image_size: int | None = None
    name: str | None = None  # what to call an image folder in the rows
    class_order: str | None = None  # of an image folder, one of class_order.CLASS_ORDERS; None: by the names
    fitting: Fitting | None = None  # of an image folder, in place of image_size
    default_fitting: Fitting | None = None  # without either, unless all images have one size that is no larger


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """A declaration: nothing is imported or read until ``load`` is called."""

    summary: str
    source: str
    load: Callable[[DataRequest], Dataset]
    num_classes: int | None  # None: found in the files
    image_size: int | None
    eps: Mapping[str, tuple[str, ...]]  # default budgets for each norm, as the user would write them
    recipe: Recipe  # its horizontal_flip says whether a mirrored image is still the same class
    costly_limit: int  # images that attacks of thousands of passes get by default
    limit: int | None = None  # images that the other attacks get by default


DATASETS: Registry[DatasetEntry] = Registry("dataset")

"""Registry of data sets, with the properties of each data set that are needed before files are read."""

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
    name: str | None = None  # name of an image folder in the rows
    class_order: str | None = None  # order for an image folder, one of class_order.CLASS_ORDERS; None: automatic
    fitting: Fitting | None = None  # resize and crop of an image folder, instead of image_size
    default_fitting: Fitting | None = None  # used if image_size and fitting are None, but never to enlarge images


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """Declaration of a data set. Nothing is imported or read before ``load`` is called."""

    summary: str
    source: str
    load: Callable[[DataRequest], Dataset]
    num_classes: int | None  # None: read from the files
    image_size: int | None  # side in pixels; None: read from the files
    eps: Mapping[str, tuple[str, ...]]  # default budgets per norm, in the notation of --eps
    recipe: Recipe  # set horizontal_flip only if mirrored images keep their class
    costly_limit: int  # default number of images for attacks of thousands of passes
    limit: int | None = None  # default number of images for all other attacks; None: all


DATASETS: Registry[DatasetEntry] = Registry("dataset")

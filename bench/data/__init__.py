"""Data sets as [0, 1] NCHW images with stable sample ids and a content hash.

Importing this package registers the data sets. No data is read, and neither torch nor PIL is imported.
"""

import logging

from bench.core.inert import one_line
from bench.data import builtin as builtin
from bench.data.duplicates import notes_on_files
from bench.data.pixel_checks import check_range, check_repeatable
from bench.data.registry import DATASETS, DataRequest
from bench.data.split import Dataset, as_user_errors, check_dataset

LOG = logging.getLogger(__name__)

__all__ = ["DATASETS", "DataRequest", "Dataset", "accept", "load_dataset"]


def load_dataset(name: str, request: DataRequest) -> Dataset:
    """Load the data set called ``name``, check it, and log its notes as warnings.

    Raises BenchError for an unknown name, for files that cannot be read, and for data that cannot be evaluated.
    """
    entry = DATASETS.get(name)
    with as_user_errors(f"data set {name!r} could not be loaded"):
        data = entry.load(request)
        if not isinstance(data, Dataset):
            raise TypeError(f"its loader returned {type(data).__name__}, not a Dataset")
    return accept(data, trust_reader=DATASETS.origin(name).startswith("bench."))


def accept(data: Dataset, *, trust_reader: bool = False) -> Dataset:
    """Check a data set, add notes on its pixels, and log all notes as warnings.

    ``trust_reader`` skips the check that two reads return the same pixels. Raises BenchError with the first reason why
    the data set cannot be evaluated.
    """
    data = check_dataset(data)
    if not trust_reader:
        check_repeatable(data)
    data = check_range(data)
    for note in (*data.notes, *notes_on_files(data)):
        LOG.warning("%s", one_line(f"{data.name}: {note}"))
    return data

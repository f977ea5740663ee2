"""Data sets as [0, 1] NCHW images with stable sample ids and a content hash.

Importing this package registers the data sets and reads none of them; it imports neither torch nor PIL.
"""

import logging

from bench.data import builtin as builtin
from bench.data.duplicates import notes_on_files
from bench.data.registry import DATASETS, DataRequest
from bench.data.split import Dataset, check_dataset, check_repeatable, told_as_mistakes

LOG = logging.getLogger(__name__)

__all__ = ["DATASETS", "DataRequest", "Dataset", "load_dataset"]


def load_dataset(name: str, request: DataRequest) -> Dataset:
    """Find the data set called ``name`` on disk and check it. What is to be noted of it is logged as a warning.

    Raises BenchError for any mistake of the user.
    """
    entry = DATASETS.get(name)
    with told_as_mistakes(f"data set {name!r} could not be loaded"):
        data = entry.load(request)
        if not isinstance(data, Dataset):
            raise TypeError(f"its loader returned {type(data).__name__}, not a Dataset")
    data = check_dataset(data)
    if not DATASETS.origin(name).startswith("bench."):
        check_repeatable(data)
    for note in (*data.notes, *notes_on_files(data)):
        LOG.warning("%s: %s", data.name, note)
    return data

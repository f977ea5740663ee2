"""Load the 1,797 handwritten digits of 8×8 pixels that scikit-learn contains; no download is needed."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import BenchError
from bench.data.class_names import DIGITS
from bench.data.registry import DataRequest
from bench.data.sampling import id_hashes, ranks
from bench.data.source import refuse_options
from bench.data.split import Dataset, Moments, Pixels, Split, split_sha

SIDE = 8
CLASSES = 10
N_TEST = 500
OFFICIAL_SHA = "0157acbdcc4c28c6"  # hash of all images in scikit-learn's order
MOMENTS = Moments((0.3054,), (0.3761,))


def load_digits(request: DataRequest) -> Dataset:
    """Load the digits as float32 with values k/16. The test split has the 50 images per digit with the smallest hashes.

    The hashes are computed from the ids, ``digits/<index in scikit-learn's order>``. The split therefore does not
    depend on the random generator of any library. Raises BenchError if scikit-learn's file is missing or altered.
    """
    refuse_options("digits", SIDE, request)
    table = read_table()
    pixels = (table[:, :-1].reshape(-1, 1, SIDE, SIDE) / 16).astype(np.float32)
    complete = _subset("all", pixels, table[:, -1].astype(np.int64), np.arange(len(table)))
    rank = ranks(id_hashes(complete.ids), complete.labels)
    chosen = np.flatnonzero(rank < N_TEST // CLASSES)
    remaining = np.setdiff1d(np.arange(len(complete)), chosen)
    train, test = (
        _subset(name, pixels, complete.labels, part) for name, part in (("train", remaining), ("test", chosen))
    )
    official = complete.sha == OFFICIAL_SHA
    return Dataset("digits", train, test, CLASSES, SIDE, official, MOMENTS, class_names=DIGITS)


def _subset(name: str, pixels: Pixels, labels: NDArray[np.int64], chosen: NDArray[np.int64]) -> Split:
    ids = [f"digits/{index:05d}" for index in chosen]
    selected = pixels[chosen]
    sha = split_sha(ids, labels[chosen], np.ascontiguousarray(selected, dtype="<f4").tobytes())
    return Split(name, ids, labels[chosen], sha, lambda indices: selected[indices])


def read_table() -> NDArray[np.float64]:
    """Read the table (1797, 65): 64 values in 0…16 and the class. Raises BenchError for any other table."""
    path = bundled_file()
    table = read_csv(path) if path.is_file() else _load_from_sklearn()
    if table.shape != (1797, SIDE * SIDE + 1) or table.min() < 0 or table[:, :-1].max() > 16:
        raise BenchError("scikit-learn's handwritten digits are not the known 1797×65 table; reinstall scikit-learn.")
    return table


def bundled_file() -> Path:
    """Return the path of the file that ``sklearn.datasets.load_digits`` reads.

    Reading it directly avoids the import of scikit-learn, which takes about a second.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise BenchError("digits come with scikit-learn, which is not installed; run 'pip install scikit-learn'.")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def read_csv(path: Path) -> NDArray[np.float64]:
    """Read the numbers of a compressed CSV file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return np.loadtxt(file, delimiter=",")


def _load_from_sklearn() -> NDArray[np.float64]:
    from sklearn.datasets import load_digits as bundled

    digits: Any = bundled()
    return np.column_stack([digits.data, digits.target])

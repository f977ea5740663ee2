"""Read and write per-image outcomes as CSV, with one line per image."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from bench.core.columns import SAMPLE_COLUMNS
from bench.core.errors import BenchError
from bench.core.inert import csv_id, from_csv_id
from bench.core.number_text import parse_integer, parse_number


class Sample(NamedTuple):
    """Outcome of one image; ``distance`` is None if it is correctly classified under the attack."""

    sample_id: str
    label: int
    clean_pred: int
    adv_pred: int
    distance: float | None

    @property
    def correct(self) -> bool:
        """True if the image is correctly classified under the attack."""
        return self.adv_pred == self.label


def dump_samples(samples: Sequence[Sample]) -> bytes:
    """Return the content of the CSV file of ``samples``, with the columns SAMPLE_COLUMNS.

    Ids are written by :func:`bench.core.inert.csv_id`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SAMPLE_COLUMNS)
    for sample in samples:
        writer.writerow([csv_id(sample.sample_id), *("" if value is None else value for value in sample[1:])])
    return text.getvalue().encode()


def parse_samples(content: bytes, *, where: str) -> list[Sample]:
    """Parse a file written by :func:`dump_samples`.

    Raises BenchError, with the file name ``where``, for other columns, an invalid line, or a repeated image.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BenchError(f"{where} is not readable as CSV in UTF-8: {error}; {WAY_OUT}") from None
    if not rows or rows[0] != list(SAMPLE_COLUMNS):
        raise BenchError(f"{where} does not have the columns {', '.join(SAMPLE_COLUMNS)}; {WAY_OUT}")
    try:
        samples = _parse(rows[1:], escaped=b"\\" in content or b"'" in content)
    except ValueError as error:
        raise BenchError(f"{where} has an invalid line: {error}; {WAY_OUT}") from None
    if len({sample.sample_id for sample in samples}) < len(samples):
        raise BenchError(f"{where} contains an image twice; {WAY_OUT}")
    return samples


WAY_OUT = "delete it together with the .json file of the same name, and run again."


def _parse(rows: Sequence[Sequence[str]], *, escaped: bool) -> list[Sample]:
    """Parse all lines by columns, because a file has few different classes but many lines.

    ``escaped`` is False if no id can have an escape. Raises ValueError for an invalid field.
    """
    if not rows:
        return []
    wrong = next((row for row in rows if len(row) != len(SAMPLE_COLUMNS)), None)
    if wrong is not None:
        raise ValueError(f"it has {len(wrong)} fields, not {len(SAMPLE_COLUMNS)}")
    ids, *classes, distances = zip(*rows, strict=True)
    names = map(from_csv_id, ids) if escaped else ids
    values = [parse_number(text) if text else None for text in distances]
    if min((value for value in values if value is not None), default=0.0) < 0:
        raise ValueError("a distance is below 0")
    numbers = {text: parse_integer(text) for column in classes for text in set(column)}
    label, clean, attacked = (map(numbers.__getitem__, column) for column in classes)
    return list(map(Sample._make, zip(names, label, clean, attacked, values, strict=True)))

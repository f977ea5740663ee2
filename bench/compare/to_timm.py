"""Export the clean accuracy of a run as a row of results/*.csv of timm.

Accuracies are percent with three decimals. Parameters are millions with two decimals. Columns that are not measured,
such as top5, are empty. The file has no column for the number of images, chance level, collapse or leaked images. A
model is therefore rejected if it was evaluated on a part of its test split, tested on training images, or is at chance
level. A model that was trained to collapse but has not collapsed is also rejected. With ``allow_protocol_mismatch``,
these properties are added to the name of the model.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from bench.compare.rows import leaked_text
from bench.core.errors import BenchError
from bench.core.inert import csv_cell
from bench.core.vocabulary import CLEAN
from bench.leaderboard.collapse import row_collapse
from bench.leaderboard.rows import BoardRow
from bench.results.chance_level import CHANCE
from bench.results.collapse_status import NOT_COLLAPSED

COLUMNS = ("model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation")


def timm_csv(row: BoardRow, group: Sequence[BoardRow], *, allow_protocol_mismatch: bool) -> str:
    """Return the CSV file with a header and one row.

    ``group`` are all rows of the split, including the collapse references. Raises BenchError if there is no clean
    accuracy, and for a mismatch unless ``allow_protocol_mismatch`` is set.
    """
    run, clean, n = row.run, row.mean(CLEAN), row.images(CLEAN)
    if clean is None:
        raise BenchError(f"{run.run_id} has no clean accuracy; evaluate it with 'bench run' or 'bench evaluate'.")
    n_test = max(cell.n_test for cell in row.cells[CLEAN].values())
    if n != n_test and not allow_protocol_mismatch:
        raise BenchError(
            f"{run.run_id} was evaluated on {n} of {n_test} test images, and the table of timm has no column for this; "
            "evaluate it on all images, or add the number to the model's name with --allow-protocol-mismatch."
        )
    if row.chance() and not allow_protocol_mismatch:
        raise BenchError(
            f"{run.run_id} is {CHANCE}, and the table of timm has no column for this; add it to the model's name with "
            "--allow-protocol-mismatch."
        )
    status, leaked = row_collapse(row, group), row.leaked()
    collapse = status.text if status and status.word == NOT_COLLAPSED else ""
    omitted = [text for text in (collapse, leaked_text(leaked)) if text]
    if omitted and not allow_protocol_mismatch:
        raise BenchError(
            f"{run.run_id}: {'; '.join(omitted)}; the table of timm has no column for this; add it to the model's "
            "name with --allow-protocol-mismatch."
        )
    departures = ("" if n == n_test else f"_n{n}") + ("_at-chance" if row.chance() else "")
    departures += "_not-collapsed" if collapse else ""
    departures += f"_leaked{leaked}" if leaked else ""
    return _text({
        "model": csv_cell(f"{run.model}.{run.variant}{departures}"),
        "top1": f"{100 * clean:.3f}",
        "top1_err": f"{100 * (1 - clean):.3f}",
        "param_count": "" if run.param_count is None else f"{run.param_count / 1e6:.2f}",
        "img_size": run.img_size,
    })  # fmt: skip


def _text(cells: dict[str, Any]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerow(cells)
    return file.getvalue()

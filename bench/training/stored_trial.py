"""Keep the outcome of a trial in the results folder, so that a repeated command makes the same choice.

The device is not part of a case: a folder may be continued on another machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.limits import RECORD
from bench.core.seals import sealed
from bench.results.record_files import parse_sealed
from bench.runtime.claims import CLAIMS
from bench.runtime.files import check_writable, write_atomic
from bench.runtime.input_files import exists, read_input
from bench.runtime.interrupt import Stopped, stop_requested

Outcome = Mapping[str, Any]  # values that JSON can hold


def stored_trial(
    path: Path, results: Path, case: Outcome, trial: Callable[[], Outcome | None], *, store: bool
) -> Outcome | None:
    """Return the outcome stored at ``path``, a file of the folder ``results``. Without one, store that of ``trial``.

    A process waits for another one that makes the same trial, and uses its outcome. Without ``store``, nothing is
    written. None, which is not stored, is returned by a trial without outcome and after a request to stop, such as the
    end of the time budget. Raises BenchError for a file that is damaged or of another case.
    """
    if exists(path):  # without a claim, so that a folder can be read without write permission
        return _read(path, case)
    if stop_requested():
        return None
    if not store:
        return trial()
    check_writable(results)
    try:
        with CLAIMS.wait_for(results / "claims", f"{path.parent.name}-{path.stem}"):
            if not exists(path):
                outcome = trial()
                if outcome is None:
                    return None
                write_atomic(path, json.dumps(sealed({**outcome, **case}), indent=1).encode())
            return _read(path, case)
    except Stopped:  # while it waited
        return None


def _read(path: Path, case: Outcome) -> Outcome:
    content: Outcome = parse_sealed(read_input(path, RECORD), where=str(path))
    if any(content.get(key) != value for key, value in case.items()):
        raise BenchError(f"{path} is the outcome of another trial; delete it to repeat the trial.")
    return content

"""Keep the outcome of a trial in the results folder, so that a repeated command makes the same choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.limits import RECORD
from bench.core.seals import seal_problem, sealed
from bench.core.strict_json import parse_json
from bench.runtime.claims import CLAIMS
from bench.runtime.files import write_atomic
from bench.runtime.input_files import exists, read_input


def stored_trial(path: Path, results: Path, trial: Callable[[], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """Return the outcome stored at ``path``, a file of the folder ``results``. Without one, store that of ``trial``.

    A process waits for another one that makes the same trial, and uses its outcome. An outcome of None is not stored.
    Raises BenchError for a damaged file.
    """
    with CLAIMS.wait_for(results / "claims", f"{path.parent.name}-{path.stem}"):
        if not exists(path):
            outcome = trial()
            if outcome is None:
                return None
            write_atomic(path, json.dumps(sealed(dict(outcome)), indent=1).encode())
        content = parse_json(read_input(path, RECORD))
    problem = seal_problem(content) if isinstance(content, dict) else "it is not an object"
    if problem:
        raise BenchError(f"{path} is damaged: {problem}. Delete it to repeat the trial.")
    stored: Mapping[str, Any] = content
    return stored

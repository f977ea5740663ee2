"""Remove compiled files of Python that do not belong to their source.

Python accepts a compiled file if size and modification time in seconds of its source are unchanged. A source that is
replaced by another one of equal size and time would therefore not be run, although its hash is recorded.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable
from importlib.util import cache_from_source
from pathlib import Path

from bench.core.errors import BenchError

HEADER = 16  # bytes before the code: magic number, flags, time and size of the source


def drop_stale(sources: Iterable[Path]) -> None:
    """Delete the compiled file of each source whose code differs. Raises BenchError if it cannot be deleted."""
    for source in sources:
        compiled = Path(cache_from_source(str(source)))
        if compiled.is_file() and not _is_current(source, compiled):
            try:
                compiled.unlink(missing_ok=True)
            except OSError as error:
                raise BenchError(
                    f"{compiled} is not the compiled form of {source} and cannot be deleted: "
                    f"{error.strerror or error}; delete it."
                ) from error


def _is_current(source: Path, compiled: Path) -> bool:
    try:
        code = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
        return bool(marshal.loads(compiled.read_bytes()[HEADER:]) == code)
    except (OSError, SyntaxError, ValueError, EOFError, TypeError):
        return False

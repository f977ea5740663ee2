"""Rows of ``bench list attacks`` for the attacks of other libraries."""

from __future__ import annotations

import fnmatch

from bench.attacks.libraries.entry import summary_of
from bench.attacks.libraries.names import LIBRARIES, LibraryName
from bench.core.names import as_text
from bench.runtime.versions import installed_version

Row = tuple[str, str, str]  # name, summary, source


def library_rows(pattern: str) -> list[Row]:
    """Return name, summary and source of what matches the shell wildcard ``pattern``.

    The attacks of a library are listed if the pattern contains its prefix. Otherwise a library has one row.
    """
    named = [prefix for prefix in LIBRARIES if prefix in pattern.casefold()]
    rows = [row for prefix in named for row in _attacks(prefix)] or [_library(prefix) for prefix in LIBRARIES]
    return [row for row in rows if fnmatch.fnmatchcase(row[0].casefold(), pattern.casefold())]


def _library(prefix: str) -> Row:
    library = LIBRARIES[prefix]
    version = installed_version(library.distribution)
    state = f"version {as_text(version)}" if version else f"not installed, pip install '{library.requirement}'"
    summary = f"one of {len(library.attacks)} attacks of {library.title} ({state}); see 'bench list attacks {prefix}'"
    return f"{prefix}:<attack>(<parameter>=<value>, …)", summary, library.source


def _attacks(prefix: str) -> list[Row]:
    library = LIBRARIES[prefix]
    found = {f"{prefix}:{attack}": summary_of(LibraryName(prefix, attack, {})) for attack in library.attacks}
    found |= {f"{prefix}:{alias}": f"the same as {target}" for alias, target in library.aliases.items()}
    return [(name, summary, library.source) for name, summary in sorted(found.items())]

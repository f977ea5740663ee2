"""Registries of named entries, with wildcards and with errors for duplicate and unknown names."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator
from typing import Generic, NamedTuple, TypeVar

from bench.core.errors import BenchError, unknown_name
from bench.core.names import check_name
from bench.core.vocabulary import KINDS

T = TypeVar("T")

WILDCARDS = frozenset("*?[")
NONE = "none"  # name that requests an empty list


class Registration(NamedTuple):
    """Kind and name of a registered entry."""

    kind: str
    name: str


#: Entries of all registries, in the order of registration.
REGISTRATIONS: list[Registration] = []


def is_pattern(name: str) -> bool:
    """Return whether ``name`` contains a shell wildcard."""
    return not WILDCARDS.isdisjoint(name)


def is_none(kind: str, names: Collection[str]) -> bool:
    """Return whether ``names`` is only "none". Raises BenchError for no names, and for "none" with other names."""
    if not names:
        raise BenchError(f"no {kind} given; name at least one, or write {NONE!r}.")
    others = [name for name in names if name != NONE]
    if NONE in names and others:
        raise BenchError(
            f"{kind}s: {NONE!r} cannot be combined with {others[0]!r}; write {NONE!r} alone, or leave it out."
        )
    return not others


class Registry(Generic[T]):
    """Mapping from names to entries. The *origin* of an entry is the module or file that registered it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str, entry: T, *, origin: str) -> None:
        """Add ``entry``. Raises BenchError for a name that is not allowed or already registered."""
        if name in self._entries:
            raise BenchError(
                f"{self.kind} {name!r} is registered twice: by {self._origins[name]} and by {origin}; "
                "rename one of them."
            )
        check_name(self.kind, name, origin=origin)
        if is_pattern(name):
            raise BenchError(
                f"{self.kind} name {name!r} (from {origin}) is a wildcard; remove the characters * ? and [."
            )
        self._entries[name] = entry
        self._origins[name] = origin
        REGISTRATIONS.append(Registration(self.kind, name))

    def remove(self, name: str) -> None:
        """Remove an entry, such as one that a test registered. Raises BenchError for an unknown name."""
        self.get(name)
        del self._entries[name], self._origins[name]

    def get(self, name: str) -> T:
        """Return the entry ``name``. Raises BenchError for an unknown name and suggests similar names."""
        try:
            return self._entries[name]
        except KeyError:
            raise self.missing(name) from None

    def missing(self, name: str) -> BenchError:
        """Return the error for an unknown name. The message refers to ``bench list`` if this command lists the kind."""
        listing = f"{self.kind}s"
        hint = f"See 'bench list {listing}'." if listing in KINDS else ""
        return unknown_name(self.kind, name, self._entries, hint=hint)

    def origin(self, name: str) -> str:
        """Return the module or file that registered the entry."""
        return self._origins[name]

    def expand(self, pattern: str) -> list[str]:
        """Return the sorted names that match a shell wildcard. Raises BenchError if no name matches."""
        names = sorted(fnmatch.filter(self._entries, pattern))
        if not names:
            raise BenchError(f"no {self.kind} matches {pattern!r}. See 'bench list {self.kind}s'.")
        return names

    def in_order(self) -> list[str]:
        """Return the names in the order of registration."""
        return list(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __contains__(self, name: str) -> bool:
        return name in self._entries

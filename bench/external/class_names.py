"""Class order of an externally trained network, determined by the names of its classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.limits import CLASS_NAMES
from bench.core.strict_json import parse_json
from bench.core.words import join, pluralize
from bench.data.class_order import natural_key
from bench.runtime.input_files import read_input

LONGEST = 1000  # maximum number of characters of a class name
SHOWN = 3  # maximum number of missing names in a message


def order_from_names(names_of_checkpoint: Sequence[str], names_of_dataset: Sequence[str]) -> tuple[int, ...] | None:
    """Return the class of the data set for each output of the network, or None if every output k is class k.

    Names are normalised to NFC (Unicode's composed form) and compared in three ways: exactly, without case, and by
    letters and digits only. A comparison succeeds if the names of each side are distinct and both sets of names are
    equal. The first successful comparison is used. If all names of the checkpoint are numbers and the names of the data
    set are not, the numbers are folder names in natural order: the smallest number is class 0.

    Raise BenchError if a name has no counterpart.
    """
    checkpoint_names, dataset_names = (
        [unicodedata.normalize("NFC", name) for name in names]
        for names in _checked_names(names_of_checkpoint, names_of_dataset)
    )
    if all(map(_is_number, checkpoint_names)) and not all(map(_is_number, dataset_names)):
        checkpoint_names, dataset_names = checkpoint_names, sorted(checkpoint_names, key=natural_key)
    for spell in (str, str.casefold, _letters):
        order = _match(checkpoint_names, dataset_names, spell)
        if order is not None:
            return None if order == tuple(range(len(order))) else order
    raise _mismatch(checkpoint_names, dataset_names)


def _checked_names(
    checkpoint_names: Sequence[str], dataset_names: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return both lists of names. Raise BenchError for repeated names, and for a data set without names."""
    if not dataset_names:
        raise BenchError(
            "the classes of this data set have no names, so class names cannot be matched; omit --class-names."
        )
    longest = max(checkpoint_names, key=len, default="")
    if len(longest) > LONGEST:
        raise BenchError(f"a class name has {len(longest)} characters, above {LONGEST}; give the names of the classes.")
    repeated = [name for name, count in Counter(checkpoint_names).items() if count > 1]
    if repeated:
        raise BenchError(f"class name {repeated[0]!r} is given twice; every output of the network needs its own name.")
    return checkpoint_names, dataset_names


def _match(
    checkpoint_names: Sequence[str], dataset_names: Sequence[str], spell: Callable[[str], str]
) -> tuple[int, ...] | None:
    index = {spell(name): k for k, name in enumerate(dataset_names)}
    spelled = [spell(name) for name in checkpoint_names]
    distinct = len(index) == len(dataset_names) and len(set(spelled)) == len(spelled)
    return tuple(index[name] for name in spelled) if distinct and index.keys() == set(spelled) else None


def _letters(name: str) -> str:
    """Return the letters and digits of a name without case; numbers without leading zeros.

    >>> _letters("Aquarium fish") == _letters("aquarium_fish"), _letters("007")
    (True, '7')
    """
    text = re.sub(r"[\W_]+", "", name.casefold())
    return str(int(text)) if text.isdecimal() else text


def _is_number(name: str) -> bool:
    return re.fullmatch("[0-9]+", name) is not None


def _mismatch(checkpoint_names: Sequence[str], dataset_names: Sequence[str]) -> BenchError:
    classes = pluralize(len(dataset_names), "class", "classes")
    counts = f"{pluralize(len(checkpoint_names), 'class name')} given for {classes}"
    normalised = {_letters(name) for name in checkpoint_names}
    missing = [n for n in dataset_names if _letters(n) not in normalised] or [
        n for n in dataset_names if n not in checkpoint_names
    ]
    if not missing:
        return BenchError(f"{counts}; give one name per output of the network, in the order of its outputs.")
    names = join([*map(repr, missing[:SHOWN]), *([f"{len(missing) - SHOWN} more"] if len(missing) > SHOWN else [])])
    return BenchError(f"{counts}, without {names}; --class-names FILE must name the classes as the data set does.")


def _names_in(value: Any) -> tuple[str, ...] | None:
    """Return names from a list of names, or from a mapping between names and indices 0…K−1. None for other values."""
    if isinstance(value, Mapping):
        return _names_of_mapping(value)
    if isinstance(value, list | tuple) and value and len({type(name) for name in value}) == 1:
        return tuple(map(str, value)) if type(value[0]) in (str, int) else None
    return None


def _names_of_mapping(value: Mapping[Any, Any]) -> tuple[str, ...] | None:
    pairs = list(value.items())
    if not all(type(index) is int for _, index in pairs):  # index → name
        pairs = [(name, _index(index)) for index, name in pairs]
    by_index = {index: str(name) for name, index in pairs}
    complete = by_index and by_index.keys() == set(range(len(pairs)))
    return tuple(by_index[k] for k in range(len(pairs))) if complete else None


def _index(value: Any) -> int | None:
    """Return an index from a number or from text, because JSON stores the keys of a mapping as text."""
    return int(value) if type(value) is int or (type(value) is str and _is_number(value)) else None


def read_class_names(path: Path) -> tuple[str, ...]:
    """Read class names in the order of the network's outputs: one name per line, a JSON list, or JSON name → index.

    Raise BenchError if the file cannot be read or has no names, and for an empty line between names.
    """
    try:
        text = read_input(path, CLASS_NAMES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"--class-names {path} is not text in UTF-8; save it in that encoding.") from error
    names = _from_json(text, path) if text.lstrip()[:1] in ("[", "{") else _from_lines(text)
    if not names or not all(names):
        raise BenchError(
            f"--class-names {path} has {'an empty line between names' if names else 'no names'}; write one name per "
            "line, in the order of the network's outputs."
        )
    return names


def _from_lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in re.split("\r\n|\n|\r", text.strip())) if text.strip() else ()


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        names = _names_in(parse_json(text))
    except ValueError as error:
        raise BenchError(f"--class-names {path} is not valid JSON: {error}.") from error
    if names is None:
        raise BenchError(
            f"--class-names {path} must be a JSON list of names, or an object with the indices 0…K−1, one per name."
        )
    return names

"""Check names and quote free text so that CSV readers and spreadsheets return them unchanged.

Names that users choose (for models, variants, attacks and data sets) are written to CSV files. ``pandas.read_csv``
parses some texts as missing values, numbers or booleans. Many readers start a new row at a line break. Spreadsheets
evaluate a text that begins with ``=`` as a formula. Such names are rejected. Free text, such as an error message, is
quoted if a CSV reader would change it; :func:`bench.core.inert.csv_cell` writes a formula as a text.
"""

from __future__ import annotations

import re

from bench.core.errors import BenchError
from bench.core.inert import FORMULA, one_line, shortened

#: Texts that pandas.read_csv parses as missing values by default, in addition to the empty text.
MISSING = frozenset({
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
BOOLEANS = frozenset({"true", "false"})  # compared without regard to case
SEPARATORS = ",:"  # separate the names of a list, and the parts of model:variant:seed

LONGEST_FILE_NAME = 100  # bytes; most file systems allow 255, and suffixes are added
#: Names that Windows reserves for devices, compared in upper case and without a suffix.
DEVICES = frozenset({
    "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"),
})  # fmt: skip

_NO_FILE_NAME = re.compile(r'[/\\<>:"|?*]')
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def is_number(text: str) -> bool:
    """Return whether a CSV reader parses ``text`` as a number.

    >>> is_number("007"), is_number("1e5"), is_number("Infinity"), is_number("v7")
    (True, True, True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def changed_by_readers(text: str) -> str:
    """Describe how a CSV reader or a spreadsheet would change ``text`` in a cell; empty if it would be unchanged.

    >>> changed_by_readers("NA"), changed_by_readers("resnet18")
    ('a CSV reader parses it as a missing value', '')
    """
    if text.startswith(tuple(FORMULA)) and not is_number(text) and text not in MISSING:
        return f"a spreadsheet evaluates a text that begins with {text[0]!r} as a formula"
    return _changed_by_csv_readers(text)


def _changed_by_csv_readers(text: str) -> str:
    if text in MISSING:
        return "a CSV reader parses it as a missing value"
    if text.lower() in BOOLEANS:
        return "a CSV reader parses it as a boolean"
    return "a CSV reader parses it as a number" if is_number(text) else ""


def file_name_problem(name: str) -> str:
    """Describe why no file can have ``name`` on every system; empty if it is a file name.

    >>> file_name_problem("../fog"), file_name_problem("aux"), file_name_problem("fog-2")
    ("it contains '/'", 'Windows reserves it for a device', '')
    """
    found = _NO_FILE_NAME.search(name)
    if found:
        return f"it contains {found[0]!r}"
    if name.startswith(".") or name.endswith("."):
        return "it begins or ends with a dot"
    if name.partition(".")[0].rstrip().upper() in DEVICES:
        return "Windows reserves it for a device"
    size = len(name.encode("utf-8", "surrogateescape"))
    return f"it has {size} bytes, and at most {LONGEST_FILE_NAME} are allowed" if size > LONGEST_FILE_NAME else ""


def check_name(kind: str, name: object, *, origin: str = "") -> str:
    """Return ``name`` if it is allowed. Otherwise raise BenchError with a suggestion for an allowed name.

    The message contains ``kind``, such as "model", and ``origin``, the file or option that contains the name.
    """
    where = f" (from {origin})" if origin else ""
    if not isinstance(name, str):
        raise BenchError(f"{kind} name {name!r}{where} is of type {type(name).__name__}; give a string.")
    problem = _problem(name)
    if problem:
        suggestion = f"call it {allowed_name(name, kind.replace(' ', '-'))!r}"
        raise BenchError(f"{kind} name {name!r}{where} cannot be used: {problem}; {suggestion}.")
    return name


def allowed_name(text: str, prefix: str) -> str:
    """Convert ``text`` to an allowed name with few changes. ``prefix`` is added only if needed.

    >>> allowed_name("my,model", "model"), allowed_name("007", "model"), allowed_name("=1", "data-set")
    ('my-model', 'model-007', 'data-set-1')
    """
    allowed = "".join(
        character if character.isprintable() and character not in SEPARATORS else "-" for character in text
    )
    name = allowed.lstrip(FORMULA + " ").rstrip("- ")
    return name if not _problem(name) else f"{prefix}-{name}" if name else prefix


def _problem(name: str) -> str:
    if not name:
        return "it is empty"
    if not name.isprintable():
        unprintable = next(character for character in name if not character.isprintable())
        return f"it contains {unprintable!a}, but names must consist of printable characters on one line"
    if name != name.strip():
        return "it begins or ends with a space"
    separator = next((character for character in name if character in SEPARATORS), "")
    return f"it contains {separator!r}, which separates names" if separator else changed_by_readers(name)


def as_text(text: str) -> str:
    r"""Convert free text to one line of printable characters, and quote it if a CSV reader would change it.

    Line breaks and control characters become spaces, other characters without a shape become escapes. A text of more
    than :data:`bench.core.inert.LONGEST` characters is cut.

    >>> as_text("two\r\nlines"), as_text("NA"), as_text("all is well")
    ('two lines', "'NA'", 'all is well')
    """
    line = shortened(one_line(_BREAKS.sub(" ", text)).strip())
    return f"'{line}'" if _changed_by_csv_readers(line) else line


def text_part(digest: str, length: int) -> str:
    """Return the first ``length`` consecutive hex digits that a CSV reader does not parse as a number.

    >>> text_part("12e456789012ab", 12), text_part("0a0000000000ab", 12)
    ('2e456789012a', '0a0000000000')
    """
    parts = (digest[start : start + length] for start in range(len(digest) - length + 1))
    return next(part for part in parts if not is_number(part))

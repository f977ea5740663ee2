"""Check names and quote free text so that CSV readers and spreadsheets return them unchanged.

Names that users choose (for models, variants, attacks and data sets) are written to CSV files. ``pandas.read_csv``
parses some texts as missing values, numbers or booleans, many readers start a new row at a line break, and spreadsheets
evaluate a text that begins with ``=`` as a formula. Such names are refused. Free text, such as an error message, is put
in quotes.
"""

from __future__ import annotations

import re

from bench.core.errors import BenchError

#: Texts that pandas.read_csv parses as missing values by default, in addition to the empty text.
MISSING = frozenset({
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL",
    "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip
BOOLEANS = frozenset({"true", "false"})  # in any case
FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # characters that begin a formula, and their full-width forms
SEPARATORS = ",:"  # between the names of a list, and between the parts of model:variant:seed

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
    """Describe how a CSV reader or a spreadsheet would change ``text`` as a cell; empty if none would.

    >>> changed_by_readers("NA"), changed_by_readers("resnet18")
    ('a CSV reader parses it as a missing value', '')
    """
    if text in MISSING:
        return "a CSV reader parses it as a missing value"
    if text.lower() in BOOLEANS:
        return "a CSV reader parses it as a boolean"
    if is_number(text):
        return "a CSV reader parses it as a number"
    if text.startswith(tuple(FORMULA)):
        return f"a spreadsheet evaluates a text that begins with {text[0]!r} as a formula"
    return ""


def check_name(kind: str, name: object, *, origin: str = "") -> str:
    """Return ``name`` if it is allowed. Otherwise raise BenchError, which suggests an allowed name.

    ``kind``, such as "model", and ``origin``, the place where the name was given, appear in the message.
    """
    where = f" (from {origin})" if origin else ""
    if not isinstance(name, str):
        raise BenchError(f"{kind} name {name!r}{where} is of type {type(name).__name__}; give a string.")
    problem = _problem(name)
    if problem:
        way_out = f"call it {allowed_name(name, kind.replace(' ', '-'))!r}"
        raise BenchError(f"{kind} name {name!r}{where} cannot be used: {problem}; {way_out}.")
    return name


def allowed_name(text: str, prefix: str) -> str:
    """Turn ``text`` into an allowed name with few changes; ``prefix`` is added only if needed.

    >>> allowed_name("my,model", "model"), allowed_name("007", "model"), allowed_name("=1", "data-set")
    ('my-model', 'model-007', 'data-set-1')
    """
    kept = "".join(sign if sign.isprintable() and sign not in SEPARATORS else "-" for sign in text)
    name = kept.lstrip(FORMULA + " ").rstrip("- ")
    return name if not _problem(name) else f"{prefix}-{name}" if name else prefix


def _problem(name: str) -> str:
    if not name:
        return "it is empty"
    if not name.isprintable():
        odd = next(sign for sign in name if not sign.isprintable())
        return f"it contains {odd!a}, but names must consist of printable characters on one line"
    if name != name.strip():
        return "it begins or ends with a space"
    separator = next((sign for sign in name if sign in SEPARATORS), "")
    return f"it contains {separator!r}, which separates names" if separator else changed_by_readers(name)


def as_text(text: str) -> str:
    r"""Turn free text into one line of UTF-8, in single quotes if readers would change it otherwise.

    >>> as_text("two\r\nlines"), as_text("=1+1"), as_text("NA"), as_text("all is well")
    ('two lines', "'=1+1'", "'NA'", 'all is well')
    """
    encoded = text.encode("utf-8", "backslashreplace").decode()  # escapes surrogates, which UTF-8 cannot encode
    line = _BREAKS.sub(" ", encoded).strip()
    return f"'{line}'" if changed_by_readers(line) else line


def text_part(digest: str, length: int) -> str:
    """Return the first ``length`` consecutive hex digits that are not a number such as 123456789012 or 12e456789012.

    >>> text_part("12e456789012ab", 12), text_part("0a0000000000ab", 12)
    ('2e456789012a', '0a0000000000')
    """
    parts = (digest[start : start + length] for start in range(len(digest) - length + 1))
    return next(part for part in parts if not is_number(part))

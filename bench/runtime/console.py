"""Make stdout and stderr robust: encoding errors, closed pipes and full disks do not change the exit code.

All text is made inert: escape sequences and other characters that a terminal obeys are printed as their escapes, see
:mod:`bench.core.inert`. Only progress bars write escape sequences, through :func:`bars_stream`. Characters that the
encoding of the console lacks are transliterated (``ε`` as ``eps``). Output to a closed pipe is discarded, so that
``bench check … | head -1`` ends with the exit code of the check.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
import unicodedata
from typing import TextIO, cast

from bench.core.inert import LONGEST, one_line, shortened, terminal

ERRORS = "bench_transliterate"
MESSAGE = 4 * LONGEST  # maximum number of characters of a line on stderr

#: ASCII replacements of printed symbols. Other characters lose their accents or become "?".
ASCII = {
    "✓": "+", "✗": "x", "⚑": "!", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "±": "+/-", "×": "x", "·": "*",
    "√": "sqrt", "∞": "inf", "∇": "grad ", "‖": "||", "∈": "in", "−": "-", "–": "-", "—": "-", "→": "->", "←": "<-",
    "…": "...", "²": "^2", "³": "^3", "½": "1/2", "°": " deg", "§": "section ", "“": "'", "”": "'", "‘": "'", "’": "'",
    "•": "*",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "eps", "ϵ": "eps", "η": "eta", "θ": "theta",
    "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "ψ": "psi",
    "Δ": "Delta", "Σ": "sum ", "Π": "prod ", "∂": "d", "ß": "ss", "æ": "ae", "ø": "o", "ł": "l",
}  # fmt: skip


def plain(text: str, encoding: str) -> str:
    """Transliterate every character of ``text`` that ``encoding`` cannot represent to ASCII.

    >>> plain("ε ≤ 8/255, ⚑ order", "cp1252"), plain("naïve ✓", "ascii"), plain("ε ✓", "utf-8")
    ('eps <= 8/255, ! order', 'naive +', 'ε ✓')
    """
    return text.encode(encoding, ERRORS).decode(encoding)


def say(text: str) -> None:
    """Print one line to stderr. Line breaks are printed as escapes, and a very long text is cut."""
    print(shortened(one_line(text), MESSAGE), file=sys.stderr, flush=True)


def harden() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that do not fail for encoding errors or closed pipes.

    Descriptors that are closed are opened on the null device, because the next opened file would get their numbers, and
    with them the messages of C libraries.
    """
    for descriptor in range(3):
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    sys.stdout, sys.stderr = _hardened(sys.stdout), _hardened(sys.stderr)


def flush() -> None:
    """Flush both streams. Call this before the process ends, because Python would report a closed pipe."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


class Output(io.TextIOWrapper):
    """Inert text stream that transliterates, does not raise OSError, and discards all text after a failed write."""

    def write(self, text: str, /) -> int:
        """Write ``text``, inert, or discard it if the stream cannot be written. Return its length."""
        self.write_bars(terminal(text))
        return len(text)

    def write_bars(self, text: str) -> None:
        """Write ``text`` with its escape sequences, or discard it if the stream cannot be written."""
        try:
            super().write(text)
        except OSError as error:
            self._discard(error)

    def flush(self) -> None:
        """Flush the stream, or discard its text if it cannot be written."""
        try:
            super().flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        """Redirect this and all later text to the null device. Warn once, unless the pipe was closed."""
        with contextlib.suppress(OSError), open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), self.fileno())
        if error.errno != errno.EPIPE and self is not sys.stderr:
            print(f"warning: the output cannot be written: {error.strerror or error}.", file=sys.stderr)


class _Bars:
    """The stream ``output`` for a library that draws with escape sequences, and writes no text of others."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, text: str) -> int:
        self._output.write_bars(text)
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._output, name)


def bars_stream() -> TextIO:
    """Return stderr for progress bars: escape sequences reach the terminal."""
    return cast("TextIO", _Bars(sys.stderr)) if isinstance(sys.stderr, Output) else sys.stderr


def _hardened(stream: object) -> Output | None:
    if stream is None:  # closed; print(file=None) would write to stdout
        return Output(open(os.devnull, "wb"), encoding="utf-8", errors=ERRORS)
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # type: ignore[return-value]
    stream.flush()
    return Output(stream.buffer, encoding=stream.encoding, errors=ERRORS, line_buffering=stream.line_buffering)


def _transliterate(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_to_ascii, error.object[error.start : error.end])), error.end


def _to_ascii(character: str) -> str:
    if 0xDC80 <= ord(character) <= 0xDCFF:  # an undecodable byte in a file name
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character in ASCII:
        return ASCII[character]
    parts = unicodedata.normalize("NFKD", character)
    simple = "".join(part if part.isascii() else ASCII.get(part, "") for part in parts)
    return simple or ("" if unicodedata.combining(character) else "?")


codecs.register_error(ERRORS, _transliterate)

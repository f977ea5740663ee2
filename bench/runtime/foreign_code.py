"""Run code of plug-ins, models and libraries so that it can neither end the command nor change its working folder."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bench.runtime.interrupt import Stopped


class ExitedError(Exception):
    """Error of code that called sys.exit, or that raised an exception without a text or not of class Exception."""


@contextmanager
def foreign_code() -> Iterator[None]:
    """Raise ExitedError if the block calls sys.exit or raises such an exception. Restore the working folder on exit.

    Without this, ``sys.exit(0)`` in a plug-in would end the command with the exit code of success. KeyboardInterrupt
    and Stopped, by which the user ends the command, are not converted. An exception whose text cannot be computed
    becomes an ExitedError, too, because a message needs its text.
    """
    folder = _working_folder()
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        raise
    except SystemExit as error:
        code = _text_of(repr, error.code)
        raise ExitedError(
            f"it called sys.exit({code}), which would end the command; let it raise an exception, or return"
        ) from error
    except Exception as error:
        if _text_of(str, error) is None:
            raise ExitedError(f"it raised {type(error).__name__}, whose text cannot be computed") from None
        raise
    except BaseException as error:
        if isinstance(error, GeneratorExit) and _closes_a_generator(error):
            raise
        text = ((_text_of(str, error) or "").splitlines() or [""])[0]
        raise ExitedError(f"it raised {type(error).__name__} ({text}), which is not a subclass of Exception") from error
    finally:
        if folder and _working_folder() != folder:
            with suppress(OSError):  # the folder was deleted
                os.chdir(folder)


def _text_of(convert: Callable[[Any], str], value: object) -> str | None:
    """Return the text of an object of other code; None if its own method raises an exception."""
    try:
        return convert(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - code of others, also sys.exit
        return None


def _closes_a_generator(error: BaseException) -> bool:
    """Return whether the exception was raised where a generator waits, so that it closes a generator of the harness."""
    frames = inspect.getinnerframes(error.__traceback__, context=0) if error.__traceback__ else []
    return bool(frames) and bool(frames[-1].frame.f_code.co_flags & inspect.CO_GENERATOR)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""

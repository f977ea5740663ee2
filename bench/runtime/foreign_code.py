"""Run code of plug-ins, models and libraries so that it can neither end the command nor change its working folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bench.runtime.interrupt import Stopped


class ExitedError(Exception):
    """Error of code that called sys.exit, or that raised an exception that is not a subclass of Exception."""


@contextmanager
def foreign_code() -> Iterator[None]:
    """Raise ExitedError if the block calls sys.exit or raises such an exception. Restore the working folder on exit.

    Without this, ``sys.exit(0)`` in a plug-in would end the command with the exit code of success. KeyboardInterrupt
    and Stopped, by which the user ends the command, are not converted.
    """
    folder = _working_folder()
    try:
        yield
    except (Exception, KeyboardInterrupt, GeneratorExit, Stopped):
        raise
    except SystemExit as error:
        raise ExitedError(
            f"it called sys.exit({error.code!r}), which would end the command; let it raise an exception, or return"
        ) from error
    except BaseException as error:
        text = (str(error).splitlines() or [""])[0]
        raise ExitedError(f"it raised {type(error).__name__} ({text}), which is not a subclass of Exception") from error
    finally:
        if folder and _working_folder() != folder:
            with suppress(OSError):  # the folder was deleted
                os.chdir(folder)


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""

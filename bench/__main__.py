"""Entry point of ``python -m bench`` and of the console script ``bench``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.core.vocabulary import Exit

PATIENCE_S = 5.0


def main() -> None:
    """Run the command line and exit with its exit code. For invalid input, print one sentence and exit with code 2."""
    restart_in_utf8()
    os.environ.setdefault("TQDM_MININTERVAL", "5")  # bars of downloads are printed as lines: see bench.runtime.console
    from bench.runtime.console import flush, harden, say
    from bench.runtime.interrupt import Terminated, terminate

    harden()
    try:
        signal.signal(signal.SIGTERM, terminate)
        from bench.cli import invoke
    except KeyboardInterrupt as error:
        say("interrupted before the command began.")
        sys.exit(143 if isinstance(error, Terminated) else 130)
    except Exception as error:  # noqa: BLE001 - a damaged library may raise any error
        sys.exit(without_click(error, sys.argv[1:]))
    try:
        code = invoke(sys.argv[1:])
        flush()
        leave_threads(code)
    except KeyboardInterrupt as error:  # a signal before the command begins, or when everything is stored
        code = 143 if isinstance(error, Terminated) else 130
    sys.exit(code)


def without_click(error: Exception, arguments: Sequence[str]) -> int:
    """Return the exit code of a command line that cannot be read, because importing ``click`` raised ``error``.

    ``doctor`` makes its checks, also of the folder after ``--results``. All other commands are one sentence.
    """
    from bench.runtime.console import say

    if arguments[:1] == ["doctor"]:
        from bench.doctor.check import as_text
        from bench.doctor.examine import examine

        folder = arguments[2] if arguments[1:2] == ["--results"] and len(arguments) > 2 else "results"
        print(as_text(list(examine(Path(folder)))))
        return Exit.NOT_VERIFIED
    from bench.runtime.versions import import_problem

    problem = import_problem(error) if isinstance(error, ImportError) else ""
    if not problem:
        raise error
    say(f"error: {problem}")
    return Exit.USAGE


def leave_threads(code: int) -> None:
    """Exit at once if threads of a plug-in or of a library still run after ``PATIENCE_S``. Python would wait for them.

    Everything is stored at this point.
    """
    from bench.runtime.console import flush, say

    end = time.monotonic() + PATIENCE_S
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    for thread in others:
        thread.join(max(0.0, end - time.monotonic()))
    if any(thread.is_alive() for thread in others):
        say("warning: a thread of a plug-in or of a library still runs and is ended; all results are stored.")
        flush()
        os._exit(code)


def restart_in_utf8() -> None:
    """Restart Python in UTF-8 mode if the locale has another encoding, which would misspell arguments and file names.

    Output to a terminal keeps the encoding of the locale. Output to pipes and files is UTF-8.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    terminal = {"PYTHONIOENCODING": sys.stdout.encoding} if sys.stdout is not None and sys.stdout.isatty() else {}
    environment = {**terminal, **os.environ, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]], environment)


if __name__ == "__main__":
    main()

"""Entry point of ``python -m bench`` and of the console script ``bench``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line and exit with its exit code. For invalid input, print one sentence and exit with code 2."""
    restart_in_utf8()
    os.environ.setdefault("TQDM_MININTERVAL", "5")  # bars of downloads are printed as lines: see bench.runtime.console
    from bench.cli import invoke
    from bench.runtime.console import flush, harden
    from bench.runtime.interrupt import terminate

    harden()
    signal.signal(signal.SIGTERM, terminate)
    code = invoke(sys.argv[1:])
    flush()
    sys.exit(code)


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

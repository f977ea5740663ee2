"""``python -m bench`` and the console script ``bench``."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and exit with its code; a user's mistake is one sentence and exit 2."""
    from bench.cli import invoke
    from bench.console import flush, harden

    harden()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers interrupt by it
    code = invoke(sys.argv[1:])
    flush()
    sys.exit(code)


if __name__ == "__main__":
    main()

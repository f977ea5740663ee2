"""``python -m bench`` and the console script ``bench``."""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path

SIBLINGS = ("models", "attacks")


def shadowed(home: Path) -> str | None:
    """A sentence if a folder elsewhere hides one of our top-level packages, which lie beside ``home``."""
    for name in SIBLINGS:
        spec = importlib.util.find_spec(name)
        if spec is None:
            return f"this project's package {name!r} is not installed; install collapse-bench again."
        if spec.origin is None or Path(spec.origin).resolve().parent.parent != home.parent:
            place = spec.origin or next(iter(spec.submodule_search_locations or ()), "elsewhere")
            return (
                f"{place} hides this project's package {name!r}; run from another folder, "
                "or use the command 'bench' in place of 'python -m bench'."
            )
    return None


def main() -> None:
    """Run the command line and exit with its code; a user's mistake is one sentence and exit 2."""
    from bench.console import flush, harden

    harden()
    code = _run()
    flush()
    sys.exit(code)


def _run() -> int:
    problem = shadowed(Path(__file__).resolve().parent)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    from bench.cli import invoke

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers interrupt by it
    return invoke(sys.argv[1:])


if __name__ == "__main__":
    main()

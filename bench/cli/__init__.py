"""The command line: one module per command, imported when the command is called."""

from __future__ import annotations

import sys

import click

from bench.cli.group import cli
from bench.core.errors import BenchError
from bench.core.vocabulary import Exit

__all__ = ["cli", "invoke"]


def invoke(arguments: list[str]) -> int:
    """Run the command line and return its exit code. Print wrong input of the user as one sentence."""
    try:
        code = cli.main(arguments, prog_name="bench", standalone_mode=False)
        return int(code) if code is not None else Exit.OK
    except click.ClickException as error:
        error.show(sys.stderr)
        return Exit.USAGE
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        print(
            "interrupted; finished trainings and cells are stored, and of a longer training the state of at most about "
            "a minute ago; the same command resumes from there.",
            file=sys.stderr,
        )
        return 130

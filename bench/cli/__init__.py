"""Command line. Each command is a module, which is imported when the command is called."""

from __future__ import annotations

import sys

import click

from bench.cli.group import cli
from bench.cli.interrupted import interrupted_text
from bench.core.errors import BenchError
from bench.core.vocabulary import Exit
from bench.runtime.console import say
from bench.runtime.foreign_code import ExitedError
from bench.runtime.interrupt import Terminated
from bench.runtime.versions import import_problem

__all__ = ["cli", "invoke"]


def invoke(arguments: list[str]) -> int:
    """Run the command line and return its exit code. Invalid input is reported in one sentence on stderr."""
    try:
        code = cli.main(arguments, prog_name="bench", standalone_mode=False, obj=arguments)
        return int(code) if code is not None else Exit.OK
    except click.ClickException as error:
        error.show(sys.stderr)  # with the usage of the command, on several lines
        return Exit.USAGE
    except BenchError as error:
        say(f"error: {error}")
        return Exit.USAGE
    except OSError as error:
        if error.filename is None:
            raise
        say(f"error: {error.filename}: {error.strerror or error}; check the disk and the folder, and try again.")
        return Exit.USAGE
    except ExitedError as error:
        say(f"error: code of a plug-in or of a library ended the command: {error}.")
        return Exit.USAGE
    except ImportError as error:
        problem = import_problem(error)
        if not problem:
            raise
        say(f"error: {problem}")
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt) as error:
        say(interrupted_text(arguments))
        return 143 if isinstance(error.__cause__ or error, Terminated) else 130

"""Command group ``bench``. The module of a command is imported when the command is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from bench import __version__
from bench.cli.config_options import format_groups
from bench.core.vocabulary import COMMANDS
from bench.runtime.console import plain
from bench.runtime.foreign_code import foreign_code

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class PlainHelp(click.Command):
    """Command with grouped options and examples in its help.

    The help is converted to the encoding of the console, because click writes UTF-8 even to an ASCII console.
    """

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups."""
        format_groups(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"  {example}\n")

    def get_help(self, ctx: click.Context) -> str:
        """Return the help in the encoding of the console."""
        return plain(super().get_help(ctx), getattr(sys.stdout, "encoding", None) or "utf-8")


class LazyGroup(PlainHelp, click.Group):
    """Group of the commands ``COMMANDS``. Each command is a module of :mod:`bench.cli`."""

    command_class = PlainHelp

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, after importing the module of ``bench.cli`` that registers it."""
        if cmd_name in COMMANDS:
            importlib.import_module(f"bench.cli.{cmd_name.replace('-', '_')}")
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises ExitedError if code of a plug-in or of a library would end the process."""
        with foreign_code():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options and the list of commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="bench")
def cli() -> None:
    """Decide whether a training-time idea makes image classifiers really robust.

    Exit codes: 0 success, 1 a verification or check failed, 2 invalid usage or input, 3 some cells failed, 130 and
    143 stopped by SIGINT and SIGTERM.
    """

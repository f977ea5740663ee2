"""The group that every command belongs to."""

from __future__ import annotations

import sys

import click

from bench.runtime.console import plain

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class PlainHelp(click.Command):
    """A command whose help is spelt in the console's encoding: click writes UTF-8 to a console that is ASCII."""

    def get_help(self, ctx: click.Context) -> str:
        return plain(super().get_help(ctx), getattr(sys.stdout, "encoding", None) or "utf-8")


class PlainGroup(PlainHelp, click.Group):
    """The group; its commands are of the same kind."""

    command_class = PlainHelp


@click.group(cls=PlainGroup, context_settings=CONTEXT)
@click.version_option(package_name="collapse-bench", prog_name="bench")
def cli() -> None:
    """Decide whether a training-time idea makes image classifiers really robust.

    Exit codes: 0 done, 1 a verification or a gate that failed, 2 usage or input error, 3 some cells failed.
    """

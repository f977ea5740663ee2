"""The group that every command belongs to."""

from __future__ import annotations

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="collapse-bench", prog_name="bench")
def cli() -> None:
    """Decide whether a training-time idea makes image classifiers really robust.

    Exit codes: 0 done, 1 a verification or a gate that failed, 2 usage or input error, 3 some cells failed.
    """

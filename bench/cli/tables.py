"""The tables on stdout: the board and, where anything has a baseline, the comparison below it."""

from __future__ import annotations

from typing import Any

from bench.leaderboard.comparison_report import comparison_markdown
from bench.leaderboard.report import board_markdown, records
from bench.leaderboard.write_tables import Tables


def tables_as_text(tables: Tables) -> str:
    """Markdown."""
    return "\n\n".join(part for part in (board_markdown(tables.board), comparison_markdown(tables.comparison)) if part)


def tables_as_data(tables: Tables) -> dict[str, Any]:
    """For JSON; ``comparison`` is empty where nothing has a baseline."""
    return {"leaderboard": records(tables.board), "comparison": records(tables.comparison)}

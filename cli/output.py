"""Output to a terminal; results go to standard output, everything else to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from operations.printable import printable

WIDE = 110
"""Minimum columns to show an outcome on one line."""
PIPE_WIDTH = 130


def stdout() -> Console:
    """Return the console for results; colours only on a terminal, and not with NO_COLOR."""
    return Console(highlight=False, emoji=False, soft_wrap=True, width=_width())


def _width() -> int | None:
    """Return a fixed width for pipes and files; `None` for a terminal, which has its own."""
    return None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH


def stderr() -> Console:
    """Return the console for everything but results."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def plain_table(*columns: str, gap: int = 2) -> Table:
    """Return a table that is readable on a terminal and in a pipe."""
    table = Table(box=None, header_style="bold", padding=(0, gap, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def pairs(rows: Mapping[str, object]) -> Table:
    """Return a table of names and values."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value if isinstance(value, Text) else escape(printable(value)))
    return table


def json_line(value: object) -> str:
    """Return a value as JSON on one line, in ASCII, so that it cannot control a terminal."""
    return json.dumps(value, separators=(",", ":"))

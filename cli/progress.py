"""Show the progress of operations on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from cli import output
from operations.progress import Advance

LINE_EVERY = 10.0
"""Seconds between two lines if there is no terminal for a bar."""


class TerminalProgress:
    """Shows the progress of operations on standard error."""

    @contextmanager
    def track(self, activity: str, total: int, unit: str) -> Iterator[Advance]:
        """Show how many of `total` are done: a bar on a terminal, or else a line at intervals."""
        console = output.stderr()
        if not console.is_terminal:
            yield _lines(console, activity, total, unit)
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        with bar:
            task = bar.add_task(activity, total=total)
            yield lambda more: bar.update(task, advance=more)

    def note(self, text: str, *, warning: bool = False) -> None:
        """Print a line."""
        style = "yellow" if warning else "dim"
        output.stderr().print(output.printable(text), style=style, markup=False)


def _lines(
    console: Console, what: str, total: int, unit: str, clock: Callable[[], float] = time.monotonic
) -> Advance:
    done, printed = 0, clock()

    def advance(more: int) -> None:
        nonlocal done, printed
        done += more
        if clock() - printed >= LINE_EVERY:
            printed = clock()
            console.print(f"{what}: {done} of {total} {unit}")

    return advance

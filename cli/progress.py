"""How far a command has come, while it works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from cli import output

LINE_EVERY = 10.0
"""Seconds between two lines, where there is no terminal for a bar."""


@contextmanager
def progress(what: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
    """Show how many of `total` are done: a bar on a terminal, a line now and then elsewhere.

    Gives what is to be told how many more are done.
    """
    console = output.stderr()
    if not console.is_terminal:
        yield _lines(console, what, total, unit)
        return
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
        task = bar.add_task(what, total=total)
        yield lambda more: bar.update(task, advance=more)


def _lines(
    console: Console, what: str, total: int, unit: str, clock: Callable[[], float] = time.monotonic
) -> Callable[[int], object]:
    done, told = 0, clock()

    def tell(more: int) -> None:
        nonlocal done, told
        done += more
        if clock() - told >= LINE_EVERY:
            told = clock()
            console.print(f"{what}: {done} of {total} {unit}")

    return tell

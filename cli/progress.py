"""Show the progress of operations on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console

from cli import output
from operations.printable import printable
from operations.progress import Advance

LINE_EVERY = 10.0
"""Seconds between two lines if there is no terminal for a bar."""


class TerminalProgress:
    """Shows the progress of operations on standard error."""

    @contextmanager
    def track(self, activity: str, total: int, unit: str) -> Iterator[Advance]:
        """Show how many of `total` are done."""
        done = 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            show(done, activity)

        with display(total, unit) as show:
            show(0, activity)
            yield advance

    def note(self, text: str, *, warning: bool = False) -> None:
        """Print a line."""
        style = "yellow" if warning else "dim"
        output.stderr().print(printable(text), style=style, markup=False)


@contextmanager
def display(total: int, unit: str) -> Iterator[Callable[[int, str], object]]:
    """Yield a function that shows how many units are done, and a text.

    On a terminal it is a bar, else a line at intervals. `total` may be an estimate; 0: unknown.
    """
    console = output.stderr()
    if not console.is_terminal:
        yield _lines(console, total, unit)
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
        task = bar.add_task("", total=total or None)

        def show(done: int, text: str) -> None:
            known = max(total, done) if total else None
            bar.update(task, completed=done, total=known, description=text)

        yield show


def _lines(console: Console, total: int, unit: str) -> Callable[[int, str], object]:
    printed = monotonic()

    def show(done: int, text: str) -> None:
        nonlocal printed
        if monotonic() - printed >= LINE_EVERY:
            printed = monotonic()
            of = f" of {total}" if total else ""
            console.print(f"{text}: {done}{of} {unit}", markup=False)

    return show

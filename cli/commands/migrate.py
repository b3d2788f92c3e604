"""`user-worker migrate`: migrate all stored items to the current formats, while workers run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from cli import composition, output
from cli.commands.base import EXIT_CODES, OPERATE, Json, app
from cli.progress import LINE_EVERY
from operations.signals import stop_on_signals
from worker.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from operations.migration.counts import Counts
    from operations.migration.run import MigrationRun
    from operations.migration.scan import Progress

SHOWN: Final = 20
"""Findings printed to the terminal; `--json` prints up to a thousand."""


@app.command(epilog=EXIT_CODES, rich_help_panel=OPERATE)
def migrate(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count items by kind and format; write nothing.")
    ] = False,
    segments: Annotated[
        int, typer.Option("--segments", min=1, max=64, help="Number of segments read in parallel.")
    ] = 4,
    share: Annotated[
        float,
        typer.Option("--share", min=0.01, max=1, help="Maximum share of the table's capacity."),
    ] = 0.25,
    units: Annotated[
        float | None,
        typer.Option("--units", min=1, help="Maximum read and write units per second, instead."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state", metavar="FILE", help="Progress file (default: named after the table)."
        ),
    ] = None,
    addresses: Annotated[
        bool, typer.Option("--addresses/--no-addresses", help="Repair reservations of addresses.")
    ] = True,
    as_json: Json = False,
) -> int:
    """Migrate stored items to the current format, while workers run.

    Also adds missing reservations of addresses, and removes those without a user.
    After an interruption, run the same command again: it continues where it
    stopped. The exit code is 1 if an item must be corrected by hand.

    \b
    [bold]Examples[/bold]
      user-worker migrate --dry-run
      user-worker migrate
      user-worker migrate --units 500 --segments 8
    """
    from operations.migration.run import MigrationOptions, MigrationRun

    run = MigrationRun(
        composition.aws(),
        MigrationOptions(
            dry_run=dry_run,
            segments=segments,
            share=share,
            units=units,
            state=state,
            addresses=addresses,
        ),
    )
    progress = run.progress
    if run.resumed:
        text = f"{progress.done} of {len(progress.segments)} segments and {progress.counts.items}"
        output.stderr().print(
            f"continuing from {run.state.path}: {text} items are done", markup=False
        )
    try:
        with stop_on_signals(), _display(progress, run.expected) as report:
            run.run(report)
    except KeyboardInterrupt:
        if not dry_run:
            output.stderr().print(f"stopped: {run.summary}", markup=False)
        raise
    return _print_counts(run, dry_run=dry_run, as_json=as_json)


@contextmanager
def _display(progress: Progress, expected: int) -> Iterator[Callable[[Progress], object]]:
    """Show the progress: a bar on a terminal, or else a line at intervals.

    `expected` is the number of items as reported by DynamoDB, which may be hours old.
    """
    console = output.stderr()
    if not console.is_terminal:
        yield _lines(console, progress, expected)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.progress import (
        Progress as Bar,
    )

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TextColumn("items"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        rate = _rate(progress)
        task = bar.add_task(_so_far(progress), total=expected or None)

        def report(now: Progress) -> None:
            done = now.counts.items
            total = max(expected, done) if expected else None
            bar.update(task, completed=done, total=total, description=_so_far(now) + rate(now))

        report(progress)
        yield report


def _lines(console: Console, progress: Progress, expected: int) -> Callable[[Progress], object]:
    printed, rate = monotonic(), _rate(progress)

    def report(now: Progress) -> None:
        nonlocal printed
        if monotonic() - printed >= LINE_EVERY:
            printed = monotonic()
            of = f" of about {expected}" if expected else ""
            console.print(f"{now.counts.items}{of} items; {_so_far(now)}{rate(now)}", markup=False)

    return report


def _rate(progress: Progress) -> Callable[[Progress], str]:
    """Return a function that returns the average items per second, measured from now on."""
    began, before = monotonic(), progress.counts.items

    def rate(now: Progress) -> str:
        took = monotonic() - began
        return f", {(now.counts.items - before) / took:.0f}/s" if took >= 1 else ""

    return rate


def _so_far(now: Progress) -> str:
    text = f"segments {now.done}/{len(now.segments)}, {now.counts.changed} changed"
    for name, count in (("conflicts", now.counts.conflicts), ("not migrated", now.counts.left)):
        if count:
            text += f", {count} {name}"
    return text


def _print_counts(run: MigrationRun, *, dry_run: bool, as_json: bool) -> int:
    """Print what was done; return exit code 1 if something is left for an operator."""
    from operations.migration.state import counts_json

    counts = run.progress.counts
    code = ExitCode.NEGATIVE if counts.left else ExitCode.OK
    if as_json:
        facts = {"dry_run": dry_run, "items": counts.items, **counts_json(counts)}
        sys.stdout.write(output.json_line(facts) + "\n")
        return code
    console = output.stdout()
    console.print(_found(run))
    console.print(output.pairs(_done(counts, dry_run=dry_run)))
    errors = output.stderr()
    for finding in counts.findings[:SHOWN]:
        text = (
            f"not migrated: {finding.key}: {finding.kind} item, {finding.attribute}: {finding.rule}"
        )
        errors.print(output.printable(text), markup=False)
    if counts.left > SHOWN:
        errors.print(f"and {counts.left - SHOWN} more; --json lists up to a thousand", markup=False)
    return code


def _found(run: MigrationRun) -> Table:
    rows = output.plain_table("kind", "format", "now", "items")
    for (kind, number), count in sorted(run.progress.counts.found.items()):
        rows.add_row(kind, str(number), str(run.target[kind]), str(count))
    return rows


def _done(counts: Counts, *, dry_run: bool) -> dict[str, object]:
    would = "to be " if dry_run else ""
    rows: dict[str, object] = {
        f"{would}changed": counts.changed,
        f"{would}indexed": counts.indexed,
        f"addresses {would}reserved": counts.reserved,
        f"addresses {would}released": counts.released,
        "changed by workers meanwhile": counts.conflicts,
        "deleted meanwhile": counts.gone,
        "not migrated: address taken": counts.taken,
        "not migrated: unreadable": counts.bad,
    }
    return rows

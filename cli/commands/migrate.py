"""`user-worker migrate`: migrate all stored items to the current formats, while workers run."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli import composition, output
from cli.commands.base import EXIT_CODES, OPERATE, Json, app
from cli.layout import Rows
from cli.progress import display
from operations.printable import counted, printable
from operations.signals import stop_on_signals
from worker.errors import ExitCode

if TYPE_CHECKING:
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
        int,
        typer.Option(min=1, max=64, metavar="N", help="Number of segments read in parallel."),
    ] = 4,
    share: Annotated[
        float,
        typer.Option(min=0.01, max=1, metavar="X", help="Maximum share of the table's capacity."),
    ] = 0.25,
    units: Annotated[
        float | None,
        typer.Option(min=1, metavar="N", help="Maximum read and write units per second, instead."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Progress file (default: named after the table)."),
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
    from operations.migration.run import MigrationRun

    run = MigrationRun(
        composition.aws(),
        dry_run=dry_run,
        segments=segments,
        share=share,
        units=units,
        state=state,
        addresses=addresses,
    )
    progress = run.progress
    if run.resumed:
        segments_done = f"{progress.done} of {counted(len(progress.segments), 'segment')}"
        text = f"{segments_done} and {counted(progress.counts.items, 'item')} done"
        output.stderr().print(f"continuing from {run.state.path}: {text}", markup=False)
    try:
        with stop_on_signals(), display(run.expected, "items") as show:
            run.run(_report_to(show, progress))
    except KeyboardInterrupt:
        if not dry_run:
            output.stderr().print(f"stopped: {run.summary}", markup=False)
        raise
    return _print_counts(run, dry_run=dry_run, as_json=as_json)


def _report_to(
    show: Callable[[int, str], object], progress: Progress
) -> Callable[[Progress], object]:
    """Return a function that shows the progress, and the average items per second from now on."""
    began, before = monotonic(), progress.counts.items

    def report(now: Progress) -> None:
        took = monotonic() - began
        rate = f", {(now.counts.items - before) / took:.0f}/s" if took >= 1 else ""
        show(now.counts.items, _so_far(now) + rate)

    report(progress)
    return report


def _so_far(now: Progress) -> str:
    text = f"segments {now.done}/{len(now.segments)}, {now.counts.changed} changed"
    for name, count in (("conflicts", now.counts.conflicts), ("not migrated", now.counts.left)):
        if count:
            text += f", {count} {name}"
    return text


def _print_counts(run: MigrationRun, *, dry_run: bool, as_json: bool) -> int:
    """Print what was done; return exit code 1 if something is left for an operator."""
    from operations.migration.counts import counts_json

    counts = run.progress.counts
    code = ExitCode.NEGATIVE if counts.left else ExitCode.OK
    if as_json:
        facts = {"dry_run": dry_run, "items": counts.items, **counts_json(counts)}
        output.print_json(facts)
        return code
    console = output.stdout()
    console.print(_found(run))
    console.print(output.pairs(_done(counts, dry_run=dry_run)))
    errors = output.stderr()
    for finding in counts.findings[:SHOWN]:
        text = (
            f"not migrated: {finding.key}: {finding.kind} item, {finding.attribute}: {finding.rule}"
        )
        errors.print(printable(text), markup=False)
    if counts.left > SHOWN:
        errors.print(f"and {counts.left - SHOWN} more; --json lists up to a thousand", markup=False)
    return code


def _found(run: MigrationRun) -> Rows:
    rows = Rows(("kind", "format", "now", "items"))
    for (kind, number), count in sorted(run.progress.counts.found.items()):
        rows.add(kind, str(number), str(run.target[kind]), str(count))
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

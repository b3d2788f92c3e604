"""`user-worker migrate`: all stored items in the present formats, while workers run."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

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
from rich.table import Table

from application.ports import StoreUnavailableError
from cli import composition, output
from cli.migrate_state import Plan, StateFile, counts_json
from cli.progress import LINE_EVERY
from operations.migration import (
    Bucket,
    Counts,
    MeteredTable,
    Migration,
    PageMigration,
    Progress,
    Throughput,
    page_size,
    target,
    throughput_of,
)
from operations.migration.metered import PATIENCE
from operations.signals import stop_on_signals
from worker.errors import CliError, ExitCode

if TYPE_CHECKING:
    from rich.console import Console

SEGMENTS: Final = 4
SHOWN: Final = 20
"""Findings that the terminal shows; `--json` gives up to a thousand."""


@dataclass(frozen=True, slots=True)
class MigrateOptions:
    """What was typed."""

    dry_run: bool = False
    segments: int = SEGMENTS
    share: float = 0.25
    units: float | None = None
    """Units a second, of reads and of writes each; in place of a share."""
    state: str | None = None
    addresses: bool = True
    as_json: bool = False


def migrate(options: MigrateOptions) -> int:
    """Migrate the table of the settings; give the exit code."""
    aws = composition.aws()
    aws.require_shared_store()
    description: Any = aws.dynamodb.describe_table(TableName=aws.settings.table)["Table"]
    allowed = _allowed(options, throughput_of(description))
    table_id = description.get("TableId") or description.get("TableArn") or aws.settings.table
    plan = Plan(table_id, target(), options.addresses)
    default = f"migrate-{aws.settings.table}.state.json"
    state = StateFile(Path(options.state or default), plan)
    progress = _start(options, state)
    stop = threading.Event()

    def pause(seconds: float) -> None:
        stop.wait(seconds)

    def bucket(rate: float) -> Bucket:
        return Bucket(rate, sleep=pause)

    metered = MeteredTable(
        aws.dynamodb,
        aws.settings.table,
        bucket(allowed.read),
        bucket(allowed.write),
        replace(PATIENCE, sleep=pause),
    )
    pages = PageMigration(metered, dry_run=options.dry_run, addresses=options.addresses)
    migration = Migration(metered, pages, progress, stop, page_size(allowed.read))
    _run(options, migration, progress, state, expected=description.get("ItemCount", 0))
    return _report(options, progress.counts)


def _allowed(options: MigrateOptions, capacity: Throughput) -> Throughput:
    if options.units is not None:
        return Throughput(options.units, options.units)
    return capacity.share(options.share)


def _start(options: MigrateOptions, state: StateFile) -> Progress:
    """Go on where another run has stopped; a dry run starts anew, and leaves no state."""
    found = None if options.dry_run else state.load()
    if found is None:
        return Progress.start(options.segments)
    output.stderr().print(
        f"going on where {state.path} says: {found.done} of {len(found.segments)} segments and "
        f"{found.counts.items} items are done",
        markup=False,
    )
    return found


def _run(
    options: MigrateOptions,
    migration: Migration,
    progress: Progress,
    state: StateFile,
    *,
    expected: int,
) -> None:
    """Migrate, and save how far it has come, whatever ends it."""
    if options.dry_run:
        with stop_on_signals(), _told(progress, expected) as tell:
            migration.run(tell)
        return
    state.save(progress)  # before the work: it may be that nothing can be written there
    with stop_on_signals():
        try:
            with _told(progress, expected) as tell:

                def note(now: Progress) -> None:
                    tell(now)
                    state.note(now)

                migration.run(note)
        except BaseException as error:
            state.save(progress)
            so_far = f"{progress.counts.items} items are done; run the same command again to go on"
            if isinstance(error, KeyboardInterrupt):
                output.stderr().print(f"stopped: {so_far}", markup=False)
            elif isinstance(error, StoreUnavailableError):
                raise CliError(str(error), so_far) from error
            raise
    state.remove()


# --- what is shown ---


@contextmanager
def _told(progress: Progress, expected: int) -> Iterator[Callable[[Progress], object]]:
    """Show how far it is: a bar on a terminal, a line now and then elsewhere.

    `expected` is the number of items by DynamoDB's own count, which is hours old.
    """
    console = output.stderr()
    if not console.is_terminal:
        yield _lines(console, progress, expected)
        return
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

        def tell(now: Progress) -> None:
            done = now.counts.items
            total = max(expected, done) if expected else None
            bar.update(task, completed=done, total=total, description=_so_far(now) + rate(now))

        tell(progress)
        yield tell


def _lines(console: Console, progress: Progress, expected: int) -> Callable[[Progress], object]:
    told, rate = monotonic(), _rate(progress)

    def tell(now: Progress) -> None:
        nonlocal told
        if monotonic() - told >= LINE_EVERY:
            told = monotonic()
            of = f" of about {expected}" if expected else ""
            console.print(f"{now.counts.items}{of} items; {_so_far(now)}{rate(now)}", markup=False)

    return tell


def _rate(progress: Progress) -> Callable[[Progress], str]:
    """Give what tells items a second, on average from now on."""
    began, before = monotonic(), progress.counts.items

    def rate(now: Progress) -> str:
        took = monotonic() - began
        return f", {(now.counts.items - before) / took:.0f}/s" if took >= 1 else ""

    return rate


def _so_far(now: Progress) -> str:
    text = f"segments {now.done}/{len(now.segments)}, {now.counts.changed} changed"
    for name, count in (("conflicts", now.counts.conflicts), ("left", now.counts.left)):
        if count:
            text += f", {count} {name}"
    return text


def _report(options: MigrateOptions, counts: Counts) -> int:
    """Print what was done; the exit code says whether something is left for a person."""
    code = ExitCode.NEGATIVE if counts.left else ExitCode.OK
    if options.as_json:
        facts = {"dry_run": options.dry_run, "items": counts.items, **counts_json(counts)}
        sys.stdout.write(output.json_line(facts) + "\n")
        return code
    console = output.stdout()
    console.print(_found(counts))
    console.print(output.pairs(_done(counts, dry_run=options.dry_run)))
    talk = output.stderr()
    for finding in counts.findings[:SHOWN]:
        text = f"left: {finding.key}: {finding.kind} item, {finding.attribute}: {finding.rule}"
        talk.print(output.printable(text), markup=False)
    if counts.left > SHOWN:
        talk.print(f"and {counts.left - SHOWN} more; --json lists up to a thousand", markup=False)
    return code


def _found(counts: Counts) -> Table:
    rows = output.plain_table("kind", "format", "now", "items")
    for (kind, number), count in sorted(counts.found.items()):
        rows.add_row(kind, str(number), str(target()[kind]), str(count))
    return rows


def _done(counts: Counts, *, dry_run: bool) -> dict[str, object]:
    would = "to be " if dry_run else ""
    rows: dict[str, object] = {
        f"{would}changed": counts.changed,
        f"{would}indexed": counts.indexed,
        f"addresses {would}reserved": counts.reserved,
        f"addresses {would}released": counts.released,
        "changed by workers meanwhile": counts.conflicts,
        "removed meanwhile": counts.gone,
        "left: address taken": counts.taken,
        "left: unreadable": counts.bad,
    }
    return rows

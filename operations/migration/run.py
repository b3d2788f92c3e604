"""Migrate the configured table, and continue where an earlier run stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from application.ports import StoreUnavailableError
from operations.migration.kinds import target
from operations.migration.metered import PATIENCE, MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress, page_size
from operations.migration.state import Plan, StateFile
from operations.migration.throughput import Bucket, Throughput, throughput_of
from worker.connections import Aws
from worker.errors import CliError

SEGMENTS: Final = 4
SHARE: Final = 0.25
"""Share of the table's capacity to use."""


@dataclass(frozen=True, slots=True)
class MigrationOptions:
    """Options of a migration."""

    dry_run: bool = False
    segments: int = SEGMENTS
    share: float = SHARE
    units: float | None = None
    """Units per second, for reads and for writes each; replaces the share."""
    state: str | None = None
    """Path of the state file; the default name contains the table's name."""
    addresses: bool = True


class MigrationRun:
    """One run, which always saves its progress when it ends."""

    def __init__(self, aws: Aws, options: MigrationOptions) -> None:
        """Prepare a run; nothing is written yet.

        Raises:
            UsageError: the state file is of another migration, or damaged.
            CliError: the table is missing, or the state file cannot be read.
        """
        aws.require_shared_store()
        table = aws.settings.table
        description: Any = aws.dynamodb.describe_table(TableName=table)["Table"]
        self.expected: int = description.get("ItemCount", 0)
        """Number of items as reported by DynamoDB, which may be hours old."""
        table_id = description.get("TableId") or description.get("TableArn") or table
        self.target = target()
        """Target formats by kind of item."""
        plan = Plan(table_id, self.target, options.addresses)
        self.state = StateFile(Path(options.state or f"migrate-{table}.state.json"), plan)
        # a dry run starts from the beginning and saves no state
        found = None if options.dry_run else self.state.load()
        self.resumed = found is not None
        """Whether the run continues an earlier one."""
        self.progress = found or Progress.start(options.segments)
        self._dry_run = options.dry_run
        self._migration = self._prepare(aws, options, throughput_of(description))

    def _prepare(self, aws: Aws, options: MigrationOptions, capacity: Throughput) -> Migration:
        stop = threading.Event()

        def pause(seconds: float) -> None:
            stop.wait(seconds)

        allowed = capacity.share(options.share)
        if options.units is not None:
            allowed = Throughput(options.units, options.units)
        metered = MeteredTable(
            aws.dynamodb,
            aws.settings.table,
            Bucket(allowed.read, sleep=pause),
            Bucket(allowed.write, sleep=pause),
            replace(PATIENCE, sleep=pause),
        )
        pages = PageMigration(metered, dry_run=options.dry_run, addresses=options.addresses)
        return Migration(metered, pages, self.progress, stop, page_size(allowed.read))

    @property
    def summary(self) -> str:
        """Progress in words, and how to continue."""
        done = self.progress.counts.items
        return f"{done} items are done; run the same command again to continue"

    def run(self, report: Callable[[Progress], object]) -> None:
        """Migrate; call `report` after every page.

        Raises:
            CliError: the table is unavailable, or the state cannot be saved.
        """
        if self._dry_run:
            self._migration.run(report)
            return
        self.state.save(self.progress)  # before any work: the file may not be writable

        def note(now: Progress) -> None:
            report(now)
            self.state.note(now)

        try:
            self._migration.run(note)
        except BaseException as error:
            self.state.save(self.progress)
            if isinstance(error, StoreUnavailableError):
                raise CliError(str(error), self.summary) from error
            raise
        self.state.remove()

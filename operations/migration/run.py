"""Migrate the configured table, and continue where an earlier run stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from application.ports import StoreUnavailableError
from operations.migration.kinds import target
from operations.migration.metered import PATIENCE, MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress, page_size
from operations.migration.state import Plan, StateFile
from operations.migration.throughput import Bucket, Throughput, throughput_of
from operations.printable import counted
from worker.connections import Aws
from worker.errors import CliError


class MigrationRun:
    """One run, which always saves its progress when it ends."""

    def __init__(
        self,
        aws: Aws,
        *,
        dry_run: bool,
        segments: int,
        share: float,
        units: float | None,
        state: str | None,
        addresses: bool,
    ) -> None:
        """Prepare a run; nothing is written yet.

        Args:
            aws: the table.
            dry_run: whether to count only.
            segments: parts of the table to read at the same time, unless an earlier run continues.
            share: part of the table's capacity to use.
            units: units per second, for reads and for writes each; replaces the share.
            state: path of the state file; the default name contains the table's name.
            addresses: whether to check the reservations of addresses, too.

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
        plan = Plan(table_id, self.target, addresses)
        self.state = StateFile(Path(state or f"migrate-{table}.state.json"), plan)
        # a dry run starts from the beginning and saves no state
        found = None if dry_run else self.state.load()
        self.resumed = found is not None
        """Whether the run continues an earlier one."""
        self.progress = found or Progress.start(segments)
        self._dry_run = dry_run
        stop = threading.Event()

        def pause(seconds: float) -> None:
            stop.wait(seconds)

        allowed = throughput_of(description).share(share)
        if units is not None:
            allowed = Throughput(units, units)
        metered = MeteredTable(
            aws.dynamodb,
            table,
            Bucket(allowed.read, sleep=pause),
            Bucket(allowed.write, sleep=pause),
            replace(PATIENCE, sleep=pause),
        )
        pages = PageMigration(metered, dry_run=dry_run, addresses=addresses)
        rows = page_size(allowed.read)
        self._migration = Migration(metered, pages, self.progress, stop, rows)

    @property
    def summary(self) -> str:
        """Progress in words, and how to continue."""
        done = self.progress.counts.items
        return (
            f"{counted(done, 'item is', 'items are')} done; run the same command again to continue"
        )

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

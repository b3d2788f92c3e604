"""Scan the table, segment by segment, from the saved progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field

from adapters.dynamodb import table
from adapters.dynamodb.reads import Key, key_of
from operations.migration.counts import Counts, is_impersonal
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

PAGE: Final = 200
"""Items per Scan call: with some KB each, a segment holds less than a megabyte in memory."""
SMALLEST_PAGE: Final = 10


def page_size(reads: float) -> int:
    """Return the page size for a rate of `reads` units per second.

    Reading an item costs slightly more than half a unit, so a page takes at most about a second of
    capacity: a table with few units does not get a request that uses half a minute of them.
    """
    return max(SMALLEST_PAGE, min(PAGE, int(reads)))


@dataclass(slots=True)
class SegmentProgress:
    """Progress of a segment."""

    after: Key | None = None
    """All items up to this one are done. Never the key of an address item: it is personal data."""
    done: bool = False


@dataclass(slots=True)
class Progress:
    """Progress of a migration."""

    segments: Annotated[list[SegmentProgress], Field(min_length=1)]
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def start(cls, segments: int) -> Progress:
        """Create the initial progress with this number of segments."""
        return cls([SegmentProgress() for _ in range(segments)])

    @property
    def done(self) -> int:
        """Number of finished segments."""
        return sum(segment.done for segment in self.segments)


class Migration:
    """Migrates a table."""

    def __init__(
        self,
        metered: MeteredTable,
        pages: PageMigration,
        progress: Progress,
        stop: threading.Event,
        page_size: int = PAGE,
    ) -> None:
        """Continue from `progress`, which is updated in place.

        When `stop` is set, each segment stops after its current page.
        """
        self._table = metered
        self._pages = pages
        self._progress = progress
        self._stop = stop
        self._page_size = page_size
        self._lock = threading.Lock()

    def run(self, note: Callable[[Progress], object], threads: int | None = None) -> None:
        """Migrate all unfinished segments in parallel.

        Args:
            note: called with the progress after every page, by one thread at a time.
            threads: number of parallel segments; all of them by default.

        Raises:
            StoreUnavailableError: the table is unavailable; the progress contains what is done.
        """
        left = [n for n, segment in enumerate(self._progress.segments) if not segment.done]
        if not left:
            return
        with ThreadPoolExecutor(threads or len(left), "segment") as pool:
            futures = [pool.submit(self._segment, number, note) for number in left]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._stop.set()
                raise

    def _segment(self, number: int, note: Callable[[Progress], object]) -> None:
        segment = self._progress.segments[number]
        after = None if segment.after is None else table.key(*segment.after)
        total, without = len(self._progress.segments), self._pages.not_needed
        try:
            while not self._stop.is_set():
                page = self._table.scan(number, total, self._page_size, after, without)
                counts, after = self._pages.migrate(page.items, page.left_out), page.after
                with self._lock:
                    self._progress.counts.add(counts)
                    segment.after = resume_point(page.items, after) or segment.after
                    segment.done = after is None
                    note(self._progress)
                if segment.done:
                    return
        except BaseException:
            self._stop.set()
            raise


def resume_point(items: Sequence[Item], after: Item | None) -> Key | None:
    """Return the last key of a page, or DynamoDB's key after it, that consists of ids only.

    A run may continue there. It repeats the items after that key, which changes nothing.
    """
    keys = map(key_of, reversed([*items, *([] if after is None else [after])]))
    return next((key for key in keys if is_impersonal(key)), None)

"""Going through the table, segment by segment, from where it was left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapters.dynamodb import table
from adapters.dynamodb.reads import Key, key_of
from operations.migration.counts import Counts, is_impersonal
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item

PAGE: Final = 200
"""Items a Scan call: with some KB each, what a segment holds in memory is below a megabyte."""
SMALLEST_PAGE: Final = 10


def page_size(reads: float) -> int:
    """Give how many items a page should have where `reads` units a second may be used.

    To look at an item costs half a unit and a bit, so that a page is a second's worth or less: a
    table with few units is not asked for those of half a minute at once.
    """
    return max(SMALLEST_PAGE, min(PAGE, int(reads)))


@dataclass(slots=True)
class SegmentProgress:
    """How far a segment is."""

    after: Key | None = None
    """All up to this item is done. Never the key of an address item, which is personal."""
    done: bool = False


@dataclass(slots=True)
class Progress:
    """How far a migration is."""

    segments: list[SegmentProgress]
    counts: Counts = field(default_factory=Counts)

    @classmethod
    def start(cls, segments: int) -> Progress:
        """Begin anew, with so many segments."""
        return cls([SegmentProgress() for _ in range(segments)])

    @property
    def done(self) -> int:
        """How many segments are finished."""
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
        """Migrate from where `progress` is; it is kept up to date.

        Args:
            metered: the table to read.
            pages: what is done with each page.
            progress: where to start.
            stop: when set, each segment ends with the page in hand.
            page_size: items a page.
        """
        self._table = metered
        self._pages = pages
        self._progress = progress
        self._stop = stop
        self._page_size = page_size
        self._lock = threading.Lock()

    def run(self, note: Callable[[Progress], object], threads: int | None = None) -> None:
        """Go through all segments that are not done, at the same time.

        Args:
            note: told of the progress after every page; one call at a time.
            threads: how many segments at a time; all of them by default.

        Raises:
            StoreUnavailableError: the table does not answer; the progress is what is done.
        """
        left = [n for n, segment in enumerate(self._progress.segments) if not segment.done]
        if not left:
            return
        with ThreadPoolExecutor(threads or len(left), "segment") as pool:
            futures = [pool.submit(self._segment, number, note) for number in left]
            try:
                _raise_first(futures)
            except BaseException:
                self._stop.set()
                raise

    def _segment(self, number: int, note: Callable[[Progress], object]) -> None:
        segment = self._progress.segments[number]
        after = None if segment.after is None else table.key(*segment.after)
        total, without = len(self._progress.segments), self._pages.not_needed()
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
    """Give where a run may go on after a page, of its items and what DynamoDB names: ids alone.

    Going on there repeats what is behind it in the page, which changes nothing.
    """
    keys = map(key_of, reversed([*items, *([] if after is None else [after])]))
    return next((key for key in keys if is_impersonal(key)), None)


def _raise_first(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        future.result()

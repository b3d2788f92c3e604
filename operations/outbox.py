"""The outbox: list events that are committed but not published yet, and publish them now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from adapters.clock import SystemClock
from application.messages import render_events
from application.outbox import OutboxPosition
from application.ports import JobKind, OutboxEntry, StoreUnavailableError
from application.relay import Ending, Relay, RelayPolicy
from domain.values import render_time
from operations.progress import NO_PROGRESS, Progress
from worker.connections import Aws

logger = structlog.get_logger(__name__)

FOR_WORKERS: Final = "for_workers"
"""Scrub jobs of erased users, which only a worker runs."""
_WORDS = {
    Ending.DONE: "done",
    Ending.PARKED: "parked",
    Ending.ADVANCED: "left",
    Ending.LEFT: "left",
    Ending.UNREADABLE: "unreadable",
}


def entry_id(entry: OutboxEntry | OutboxPosition) -> str:
    """Return the id of an entry for operators: the unique part of its key."""
    return entry.sort_key.rpartition("#")[2]


def shard(entry: OutboxEntry | OutboxPosition) -> str:
    """Return the shard of an entry, or "parked"."""
    return entry.partition.rpartition("#")[2].lower()


def entry_facts(entry: OutboxEntry | OutboxPosition, now: datetime) -> dict[str, object]:
    """Return what is shown of an entry; an unreadable one has no age."""
    facts: dict[str, object] = {"id": entry_id(entry), "shard": shard(entry)}
    if not isinstance(entry, OutboxEntry):
        return facts | {"kind": "unreadable", "recorded_at": None, "commands": 0, "user_ids": []}
    return facts | {
        "kind": entry.kind.value,
        "recorded_at": render_time(entry.recorded_at),
        "age_seconds": round((now - entry.recorded_at).total_seconds(), 1),
        "commands": len(entry.commands),
        "user_ids": sorted({key.user_id for key in entry.commands if key.user_id}),
        "attempts": entry.attempts,
        "final": entry.final,
        "parked_because": entry.parked_because,
    }


def list_entries(
    aws: Aws, *, user_id: str | None = None, parked: bool = False
) -> Iterator[OutboxEntry | OutboxPosition]:
    """Yield entries, oldest first in each shard, then the parked ones.

    Args:
        aws: the store.
        user_id: if given, yield only entries that concern this user.
        parked: yield only parked entries.
    """
    for entry in _entries(aws):
        if parked and shard(entry) != "parked":
            continue
        if user_id is None or (
            isinstance(entry, OutboxEntry) and any(key.user_id == user_id for key in entry.commands)
        ):
            yield entry


def oldest_entries(
    aws: Aws, size: int, *, parked: bool = False
) -> list[OutboxEntry | OutboxPosition]:
    """Return the `size` oldest entries of each shard, or of the parked ones; unreadable ones last.

    A bounded read, for a page: at most one query for each shard.
    """
    entries: list[OutboxEntry] = []
    unreadable: list[OutboxPosition] = []
    for page in aws.outbox.oldest(size, parked=parked):
        entries += page.entries
        unreadable += page.unreadable
    entries.sort(key=lambda entry: entry.recorded_at)
    return [*entries, *unreadable]


def _entries(aws: Aws) -> Iterator[OutboxEntry | OutboxPosition]:
    for page in aws.outbox.pages():
        yield from page.entries
        yield from page.unreadable


@dataclass(frozen=True, slots=True)
class Published:
    """Result of publishing entries."""

    entries: int
    counts: Counter[str]
    """Number of entries that are "done", "parked", "left", "unreadable" and `FOR_WORKERS`."""
    unknown: Collection[str]
    """Ids that are not in the outbox."""


def publish_entries(
    aws: Aws,
    ids: Collection[str] = (),
    *,
    parked: bool = False,
    now: bool = False,
    progress: Progress = NO_PROGRESS,
) -> Published:
    """Publish now what the relay would publish later.

    An entry leaves the outbox only when it is published; otherwise it is left or parked. Only a
    worker may change users, so a scrub job is never run here: a parked one is put back into its
    shard, for the workers.

    Args:
        aws: the store and the topic.
        ids: ids of entries; without ids, all entries that are old enough.
        parked: whether to retry parked entries.
        now: whether to include entries that a worker may be publishing at this moment.
        progress: receives progress reports.
    """
    relay_age = timedelta(seconds=aws.settings.relay_age)
    before = datetime.now(UTC) - (timedelta() if now else relay_age)

    def is_due(entry: OutboxEntry | OutboxPosition) -> bool:
        if ids:
            return not _names(entry).isdisjoint(ids)
        if not isinstance(entry, OutboxEntry):
            return False  # not requested; `list` and `status` report it
        return parked if entry.parked_because is not None else entry.recorded_at < before

    due = [entry for entry in _entries(aws) if is_due(entry)]
    readable = [entry for entry in due if isinstance(entry, OutboxEntry)]
    entries = [entry for entry in readable if entry.kind is JobKind.PUBLISH]
    scrubs = [entry for entry in readable if entry.kind is JobKind.SCRUB]
    # an entry that fails now is retried, and parked, by the workers' own schedule
    relay = Relay(
        aws.outbox, aws.publisher, SystemClock(), RelayPolicy(1, relay_age), render_events
    )
    counts: Counter[str] = Counter()
    if entries:
        with progress.track("publishing", len(entries), "entries") as advance:
            endings = relay.work_off(_unparked(aws, entries), advance)
        for ending, count in endings.items():
            counts[_WORDS[ending]] += count
    counts["left"] += len(entries) - counts.total()  # not tried, since the topic is unavailable
    counts["unreadable"] += len(due) - len(readable)
    counts[FOR_WORKERS] += sum(1 for _ in _unparked(aws, scrubs))
    counts["left"] += len(scrubs) - counts[FOR_WORKERS]
    return Published(len(due), counts, set(ids).difference(*map(_names, due)))


def _names(entry: OutboxEntry | OutboxPosition) -> set[str]:
    return {entry_id(entry), entry.sort_key}


def _unparked(aws: Aws, entries: list[OutboxEntry]) -> Iterator[OutboxEntry]:
    """Yield entries; a parked one is first moved back to its shard, so that no crash can lose it.

    An entry that is no longer parked is being processed by another process, and is skipped.
    """
    for entry in entries:
        if entry.parked_because is None:
            yield entry
            continue
        try:
            back = aws.outbox.unpark(entry)
        except StoreUnavailableError as error:  # the entry stays parked
            logger.warning("outbox_pointer_left", pointer=entry.sort_key, reason=str(error))
            continue
        if back is not None:
            yield back

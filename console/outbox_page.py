"""The outbox: events that are committed and not published yet, and entries that are parked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from application.outbox import SHARDS
from application.ports import OutboxEntry
from console.web import see_other
from operations.outbox import FOR_WORKERS, entry_id, oldest_entries, publish_entries, shard
from operations.printable import age_text, counted

if TYPE_CHECKING:
    from starlette.responses import Response

    from application.outbox import OutboxPosition
    from console.jobs import Job
    from console.web import Call

SHOWN: Final = 100
"""Entries of the page."""


def page(call: Call) -> Response:
    """Show the oldest entries of all shards, or the oldest parked ones."""
    parked = call.query.get("parked") == "1"
    size = SHOWN if parked else SHOWN // SHARDS + 1
    found = oldest_entries(call.console.aws, size, parked=parked)
    now = datetime.now(UTC)
    rows = [_row(entry, now) for entry in found[:SHOWN]]
    return call.page("outbox.html", rows=rows, more=len(found) >= SHOWN, parked=parked)


def publish(call: Call) -> Response:
    """Publish entries now: all that are due, or the parked ones too."""
    parked = call.form.get("parked") == "1"

    def work(job: Job) -> str:
        done = publish_entries(call.console.aws, parked=parked, progress=job)
        words = {**done.counts, "for the workers": done.counts[FOR_WORKERS]}
        words.pop(FOR_WORKERS, None)
        parts = ", ".join(f"{count} {word}" for word, count in words.items() if count)
        tried = counted(done.entries, "entry", "entries")
        return f"{tried} tried: {parts or 'nothing to do'}"

    title = "publish parked outbox entries" if parked else "publish outbox entries"
    job = call.console.jobs.start(title, call.person, work)
    return see_other(f"/jobs/{job.job_id}")


def _row(entry: OutboxEntry | OutboxPosition, now: datetime) -> dict[str, Any]:
    row: dict[str, Any] = {"id": entry_id(entry), "shard": shard(entry)}
    if not isinstance(entry, OutboxEntry):
        return row | {"kind": "unreadable", "age": "-", "users": [], "attempts": "-", "reason": ""}
    age = (now - entry.recorded_at).total_seconds()
    return row | {
        "kind": entry.kind.value,
        "age": age_text(age) if age >= 0 else f"in {age_text(-age)}",
        "users": sorted({key.user_id for key in entry.commands if key.user_id})[:5],
        "attempts": entry.attempts,
        "reason": entry.parked_because or "",
    }

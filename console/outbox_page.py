"""The outbox: events that are committed and not published yet, and entries that are parked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from application.outbox import SHARDS
from console.jobs import Job
from console.web import Call, see_other
from operations.outbox import FOR_WORKERS, entry_facts, oldest_entries, publish_entries
from operations.printable import counted

SHOWN: Final = 100
"""Entries of the page."""


def page(call: Call) -> Response:
    """Show the oldest entries of all shards, or the oldest parked ones."""
    parked = call.query.get("parked") == "1"
    size = SHOWN if parked else SHOWN // SHARDS + 1
    found = oldest_entries(call.console.aws, size, parked=parked)
    now = datetime.now(UTC)
    rows = [entry_facts(entry, now) for entry in found[:SHOWN]]
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

"""Write outbox entries and outcomes directly into the table, as a crash would leave them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3

from adapters.dynamodb import records, table
from application.outbox import SHARDS
from application.ports import CommandKey, JobKind, OutboxEntry
from application.repository import Outcome
from domain import events as e
from tests.e2e.system import System
from tests.persistence import outcome

FULL = os.environ.get("USER_WORKER_TEST_FULL") == "1"
"""Whether tests run at the documented size, with the default settings."""
OLD = timedelta(minutes=10)
"""Older than any age at which a relay processes an entry."""
PER_CALL = 25


def tell(figure: str) -> None:
    """Print a figure of a test, which `pytest -s` shows."""
    sys.stdout.write(f"\n{figure}\n")


def decided(user_id: str) -> Outcome:
    """Return the outcome of a registration, with an event and a unique fingerprint."""
    now = datetime.now(UTC).replace(microsecond=0)
    event = e.RecordedEvent.of(e.UserRegistered(f"{user_id}@example.com"), 1)
    made = outcome(str(uuid4()), None, event)
    return replace(
        made,
        command_id=str(uuid4()),
        user_id=user_id,
        recorded_at=now,
        expires_at=now + timedelta(days=90),
    )


def entry(kind: JobKind, shard: int, *outcomes: Outcome, age: timedelta = OLD) -> OutboxEntry:
    """Return an entry in a shard that names outcomes."""
    then = datetime.now(UTC) - age
    return OutboxEntry(
        table.outbox_partition(shard % SHARDS),
        records.render_sort_key(then, str(uuid4())),
        kind,
        tuple(CommandKey(each.user_id, each.command_id) for each in outcomes),
        then,
    )


def left_behind(
    users: Iterable[str], *, age: timedelta = OLD
) -> tuple[list[Outcome], list[OutboxEntry]]:
    """Return an unpublished registration of each user, with its entry, shard after shard."""
    outcomes = [decided(user) for user in users]
    entries = [entry(JobKind.PUBLISH, shard, each, age=age) for shard, each in enumerate(outcomes)]
    return outcomes, entries


def store(system: System, outcomes: Iterable[Outcome], entries: Iterable[OutboxEntry] = ()) -> None:
    """Put items into the table with concurrent calls; outcomes before their entries."""
    client = boto3.client("dynamodb", endpoint_url=system.endpoint)
    for items in (map(records.render_outcome, outcomes), map(records.render_entry, entries)):
        requests: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        calls = [requests[n : n + PER_CALL] for n in range(0, len(requests), PER_CALL)]

        def put(call: list[Any]) -> None:
            while call:
                answer = client.batch_write_item(RequestItems={system.names.table: call})
                call = answer.get("UnprocessedItems", {}).get(system.names.table, [])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, calls))

"""How fast a table is migrated, and in how much memory: `python -m benchmarks.migration`.

Fills a table of its own at `AWS_ENDPOINT_URL`, which must be on this machine, with users and their
addresses; migrates the users to a made-up next format, which some have already (`--old` says how
many have not); deletes the table. With `--again` it migrates once more, which has nothing to do.
"""

from __future__ import annotations

import argparse
import os
import resource
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from adapters import aws
from adapters.dynamodb import mapper
from adapters.dynamodb.migration import (
    KINDS,
    Bucket,
    Counts,
    MeteredTable,
    Migration,
    PageMigration,
    Progress,
)
from adapters.dynamodb.provision import provision_table
from domain.model import User
from domain.values import EmailAddress

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BATCH = 25
LOADERS = 4
MIB = 1024  # in the unit of `ru_maxrss`
FORMAT = KINDS["user"].item_format.number


def main() -> None:
    """Load, migrate, check, and print a line for each."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--items", type=int, default=100_000)
    arguments.add_argument("--segments", type=int, default=4)
    arguments.add_argument("--units", type=float, default=1e6)
    arguments.add_argument("--old", type=float, default=1.0, help="part of the users")
    arguments.add_argument("--again", action="store_true")
    given = arguments.parse_args()
    if urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname not in {"127.0.0.1", "localhost"}:
        raise SystemExit("set AWS_ENDPOINT_URL to an emulator on this machine")
    client, name = aws.client("dynamodb"), f"migration-{uuid.uuid4().hex[:12]}"
    provision_table(client, name)
    try:
        _timed("loaded", given.items, lambda: _load(client, name, given))
        for title in ("migrated", "migrated again")[: 1 + given.again]:
            counts = Counts()
            _timed(title, given.items, lambda c=counts: _migrate(client, name, given, c))
            print(f"  {counts.changed} changed, {counts.items} looked at, {counts.left} left")
            print(f"  found: {dict(counts.found)}")
    finally:
        client.delete_table(TableName=name)


def _timed(title: str, items: int, work: Any) -> None:
    began, cpu = time.monotonic(), time.process_time()
    work()
    took, used = time.monotonic() - began, time.process_time() - cpu
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    print(
        f"{title}: {items} items in {took:.0f} s, {items / took:.0f} a second, "
        f"{used / items * 1000:.2f} ms of CPU each, RSS at most {rss:.0f} MiB",
        flush=True,
    )


def _load(client: Any, name: str, given: argparse.Namespace) -> None:
    users = given.items // 2

    def write(first: int) -> None:
        numbers = range(first, min(first + BATCH, users))
        items = [item for n in numbers for item in _user(n, old=n < users * given.old)]
        for start in range(0, len(items), BATCH):
            left = {name: [{"PutRequest": {"Item": i}} for i in items[start : start + BATCH]]}
            while left:
                left = client.batch_write_item(RequestItems=left).get("UnprocessedItems")

    with ThreadPoolExecutor(LOADERS) as pool:
        for _ in pool.map(write, range(0, users, BATCH)):
            pass


def _user(number: int, *, old: bool) -> Iterator[Any]:
    user = User(
        user_id=str(uuid.UUID(int=number + (4 << 76))),
        version=1,
        created_at=NOW,
        updated_at=NOW,
        email=EmailAddress(f"user{number}@example.com"),
        first_name="Ada",
        last_name="Lovelace",
    )
    assert user.email is not None
    item = mapper.render_user(user)
    yield item if old else _next_format(item) | {"schema": {"N": str(FORMAT + 1)}}
    yield mapper.render_address(user.email, user.user_id)


def _next_format(item: Any) -> Any:
    return {**item, "locale": {"S": "en"}}


def _migrate(client: Any, name: str, given: argparse.Namespace, counts: Counts) -> None:
    now = KINDS["user"]
    number, upcasts = FORMAT + 1, {FORMAT: _next_format}
    kinds = {
        **KINDS,
        "user": replace(now, item_format=replace(now.item_format, number=number, upcasts=upcasts)),
    }
    metered = MeteredTable(client, name, Bucket(given.units), Bucket(given.units))
    progress = Progress.start(given.segments)
    progress.counts = counts
    Migration(metered, PageMigration(metered, kinds), progress, threading.Event()).run(
        lambda _: None
    )


if __name__ == "__main__":
    main()

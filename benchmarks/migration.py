"""Measure the speed and the memory of a migration: `python -m benchmarks.migration`.

Runs AWS's DynamoDB Local, or uses the DynamoDB of AWS_ENDPOINT_URL on this machine. Fills a table
of its own with users and their addresses, migrates the users to an invented next format (`--old` is
the part of the users that are not in it yet), reads the whole table and checks each item: those
that were in the next format have a mark that an upcast would have overwritten. With `--again` it
migrates a second time, which changes nothing. The table is deleted at the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from adapters.aws import client as aws
from adapters.dynamodb import mapper, table
from adapters.dynamodb.provision import provision_table
from benchmarks.arguments import (
    BenchmarkError,
    OneLineParser,
    errors_in_one_line,
    part,
    whole_number,
)
from benchmarks.endpoints import dynamodb_alone
from domain.user import User
from domain.values import EmailAddress
from operations.migration.kinds import KINDS
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress
from operations.migration.throughput import Bucket

NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
BATCH: Final = 25
THREADS: Final = 4
PAGE: Final = 500
MIB: Final = 1024  # in the unit of `ru_maxrss`
FORMAT: Final = KINDS["user"].item_format.number
TOLD_EVERY: Final = 100_000
ID_BASE: Final = 4 << 76  # the ids are of UUID version 4
ENOUGH_UNITS: Final = 1_000_000
BROUGHT_UP, WRITTEN_SO = "en", "de"


def main() -> None:
    """Load, migrate, check, and print a line for each."""
    arguments = OneLineParser(prog="python -m benchmarks.migration", description=__doc__)
    arguments.add_argument("--items", type=whole_number(2), default=100_000, help="number of items")
    arguments.add_argument(
        "--segments", type=whole_number(1, 1_000), default=4, help="segments in parallel"
    )
    arguments.add_argument(
        "--units",
        type=whole_number(1),
        default=ENOUGH_UNITS,
        help="read and write units per second",
    )
    arguments.add_argument(
        "--old", type=part, default=1.0, help="part of the users to migrate, 0 to 1"
    )
    arguments.add_argument("--again", action="store_true", help="migrate a second time")
    given = arguments.parse_args()
    with errors_in_one_line(arguments.prog):
        _run(given)


def _run(given: argparse.Namespace) -> None:
    population = Population(given.items // 2, round(given.items // 2 * given.old))
    with _table() as (client, name):
        _timed("loaded", given.items, lambda: population.load(client, name))
        for title in ("migrated", "migrated again")[: 1 + given.again]:
            _timed(title, given.items, lambda: _migrate(client, name, given))
            _timed("checked", given.items, lambda: population.check(client, name))


@contextmanager
def _table() -> Iterator[tuple[Any, str]]:
    """Create a table on this machine, and delete it afterwards."""
    given = os.environ.get("AWS_ENDPOINT_URL", "")
    if given and urlsplit(given).hostname not in {"127.0.0.1", "localhost"}:
        raise BenchmarkError(f"AWS_ENDPOINT_URL is {given!r} and must be on this machine")
    with tempfile.TemporaryDirectory() as logs, _endpoint(given, Path(logs)) as endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.setdefault(name, "any")
        os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
        client, name = aws.client("dynamodb", read_timeout=60), f"migration-{uuid.uuid4().hex[:12]}"
        provision_table(client, name)
        try:
            yield client, name
        finally:
            client.delete_table(TableName=name)


@contextmanager
def _endpoint(given: str, logs: Path) -> Iterator[str]:
    if given:
        yield given
        return
    with dynamodb_alone(logs) as url:
        yield url


def _timed(title: str, items: int, work: Any) -> None:
    began, cpu = time.monotonic(), time.process_time()
    told = work()
    took, used = time.monotonic() - began, time.process_time() - cpu
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB
    print(
        f"{title}: {items} items in {took:.0f} s, {items / took:.0f} a second, "
        f"{used / items * 1000:.2f} ms of CPU each, RSS at most {rss:.0f} MiB; {told}",
        flush=True,
    )


# --- the users -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Population:
    """Users by number, of whom the first ones are in the older format."""

    users: int
    old: int

    def load(self, client: Any, name: str) -> str:
        """Store all users and their addresses."""

        def write(first: int) -> None:
            numbers = range(first, min(first + BATCH, self.users))
            items = [item for n in numbers for item in self._stored(n)]
            for start in range(0, len(items), BATCH):
                left = {name: [{"PutRequest": {"Item": i}} for i in items[start : start + BATCH]]}
                while left:
                    left = client.batch_write_item(RequestItems=left).get("UnprocessedItems")

        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(write, range(0, self.users, BATCH)):
                pass
        return f"{self.old} of {self.users} users to be changed"

    def check(self, client: Any, name: str) -> str:
        """Read the whole table, and compare each item with its expected content.

        Raises:
            BenchmarkError: An item differs or is missing.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            found = sum(pool.map(lambda n: self._check_segment(client, name, n), range(THREADS)))
        if found != 2 * self.users:
            raise BenchmarkError(f"there are {found} items instead of {2 * self.users}")
        return "each item is as expected"

    def _check_segment(self, client: Any, name: str, segment: int) -> int:
        pages = client.get_paginator("scan").paginate(
            TableName=name,
            Segment=segment,
            TotalSegments=THREADS,
            ConsistentRead=True,
            PaginationConfig={"PageSize": PAGE},
        )
        found = 0
        for page in pages:
            for item in page["Items"]:
                user, address = self._migrated(_number_of(item))
                if item != (user if item["sk"]["S"] == table.USER else address):
                    raise BenchmarkError(f"item {item['pk']['S']} is not as expected")
                found += 1
        return found

    def _stored(self, number: int) -> tuple[Any, Any]:
        user, address = _rendered(number)
        return (user if number < self.old else _next(user, WRITTEN_SO)), address

    def _migrated(self, number: int) -> tuple[Any, Any]:
        user, address = _rendered(number)
        return _next(user, BROUGHT_UP if number < self.old else WRITTEN_SO), address


def _rendered(number: int) -> tuple[Any, Any]:
    """Return a user's item and the address's, in the current format."""
    user = User(
        user_id=str(uuid.UUID(int=number + ID_BASE)),
        version=1,
        created_at=NOW,
        updated_at=NOW,
        email=EmailAddress(f"user{number}@example.com"),
        first_name="Ada",
        last_name="Lovelace",
    )
    assert user.email is not None
    return mapper.render_user(user), mapper.render_address(user.email, user.user_id)


def _number_of(item: Any) -> int:
    """Return the number of the user to whom an item belongs."""
    return uuid.UUID(item["user_id"]["S"]).int - ID_BASE


def _next(item: Any, locale: str) -> Any:
    return {**item, "locale": {"S": locale}, "schema": {"N": str(FORMAT + 1)}}


# --- the migration -------------------------------------------------------------------------


def _migrate(client: Any, name: str, given: argparse.Namespace) -> str:
    now = KINDS["user"]
    upcasts = {FORMAT: lambda item: _next(item, BROUGHT_UP)}
    item_format = replace(now.item_format, number=FORMAT + 1, upcasts=upcasts)
    kinds = {**KINDS, "user": replace(now, item_format=item_format)}
    reads, writes = Bucket(given.units), Bucket(given.units)
    metered = MeteredTable(client, name, reads, writes)
    progress = Progress.start(given.segments)
    told = 0

    def tell(now: Progress) -> None:
        nonlocal told
        if now.counts.items >= told + TOLD_EVERY:
            told = now.counts.items
            print(f"  {told} items, {now.counts.changed} changed", flush=True)

    Migration(metered, PageMigration(metered, kinds), progress, threading.Event()).run(tell)
    counts = progress.counts
    return (
        f"{counts.changed} changed, {counts.left} left, "
        f"{reads.spent:.0f} read units and {writes.spent:.0f} write units"
    )


if __name__ == "__main__":
    main()

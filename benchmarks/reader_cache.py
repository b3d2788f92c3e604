"""Measure the reader's cache: how many checks it answers, and what a check costs.

Sessions are checked with a Zipf distribution: the n-th most active one 1/n as often as the first.
Time is simulated, so that the hit rate does not depend on the machine. The cost of a read is
measured at AWS_ENDPOINT_URL, or at the embedded AWS.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from adapters.aws import client as aws
from adapters.dynamodb.provision import provision_table
from benchmarks.arguments import OneLineParser, errors_in_one_line, whole_number
from biome_users import LoginReader, ReadCache, RefreshToken
from biome_users.testing import FakeUserTable
from operations.embedded_aws import EmbeddedAws

NOW = datetime.now(UTC)
USERS = 20_000
CHECKS = 200_000
PER_SECOND = 500.0
ROWS = ((1_000, 5.0), (10_000, 5.0), (40_000, 5.0), (40_000, 10.0), (40_000, 60.0))
"""Sizes in entries (two for each session in use), and seconds."""


def add_session(table: FakeUserTable, number: int) -> tuple[str, str]:
    """Store a user with a session; return both ids."""
    user_id = table.add_user(f"user{number}@example.com")
    token = RefreshToken.new(user_id)
    table.add_session(token, NOW + timedelta(days=30))
    return user_id, token.session_id


def measure_hits(
    size: int, seconds: float, table: FakeUserTable, known: list[tuple[str, str]], checks: int
) -> str:
    """Check sessions for some simulated minutes; return a row of the table."""
    clock = itertools.count()
    now = [0.0]
    cache = ReadCache(size, seconds, clock=lambda: now[0])
    reader = LoginReader(client=table, cache=cache, clock=lambda: NOW)
    weights = list(itertools.accumulate(1 / n for n in range(1, len(known) + 1)))
    chance = random.Random(1)
    for user_id, session_id in chance.choices(known, cum_weights=weights, k=checks):
        now[0] = next(clock) / PER_SECOND
        assert reader.session_is_good(user_id, session_id, cached=True)
    told = cache.statistics
    return (
        f"| {size:,} | {seconds:g} | {told.hit_rate:.0%} | {told.misses:,} | {told.evictions:,} |"
    )


def microseconds(check: Callable[[], object], times: int = 500) -> float:
    """Measure the time of a check; return the median."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        check()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


def measure_costs() -> tuple[float, float]:
    """Measure the time of a check by a read and of one from the cache, in microseconds."""
    with contextlib.ExitStack() as stack:
        if "AWS_ENDPOINT_URL" not in os.environ:
            os.environ["AWS_ENDPOINT_URL"] = stack.enter_context(EmbeddedAws()).endpoint_url
        os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
        os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
        client, table = aws.client("dynamodb"), f"users-{uuid.uuid4().hex[:12]}"
        provision_table(client, table)
        stack.callback(client.delete_table, TableName=table)
        stored = FakeUserTable()
        user_id, session_id = add_session(stored, 1)
        for item in stored.items.values():
            client.put_item(TableName=table, Item=item)
        reader = LoginReader(table, client=client, cache=ReadCache(seconds=600))
        fresh = microseconds(lambda: reader.session_is_good(user_id, session_id))
        cached = microseconds(lambda: reader.session_is_good(user_id, session_id, cached=True))
        return fresh, cached


def main() -> None:
    """Print the table and the two costs."""
    parser = OneLineParser(prog="python -m benchmarks.reader_cache", description=__doc__)
    parser.add_argument(
        "--users",
        type=whole_number(1),
        default=USERS,
        help="number of users, each with one session",
    )
    parser.add_argument(
        "--checks", type=whole_number(1), default=CHECKS, help="number of checks per row"
    )
    given = parser.parse_args()
    with errors_in_one_line(parser.prog):
        _measure_all(given.users, given.checks)


def _measure_all(user_count: int, checks: int) -> None:
    table = FakeUserTable()
    known = [add_session(table, number) for number in range(user_count)]
    sys.stdout.write("| entries | seconds | hit rate | reads | evictions |\n")
    sys.stdout.write("| --: | --: | --: | --: | --: |\n")
    for size, seconds in ROWS:
        sys.stdout.write(measure_hits(size, seconds, table, known, checks) + "\n")
    fresh, cached = measure_costs()
    sys.stdout.write(f"\na check by a read: {fresh:.0f} µs; from the cache: {cached:.0f} µs\n")


if __name__ == "__main__":
    main()

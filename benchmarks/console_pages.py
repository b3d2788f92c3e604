"""Measure how long the console's pages take where there is much.

Run it with `AWS_ENDPOINT_URL=http://127.0.0.1:4566 python -m benchmarks.console_pages`, on an
emulator on this machine. It creates resources of its own, fills them, requests each page ten times
as a browser does, and deletes the resources. The table is in a DynamoDB Local of its own, in
memory, if that is installed (benchmarks/README.md): it is filled faster than through an emulator.
"""

from __future__ import annotations

import http.client
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

from adapters.dynamodb import records
from adapters.dynamodb.repository import DynamoDBUserRepository
from application.command_id import new_command_id
from application.repository import Outcome, Status, UserChange
from benchmarks.arguments import BenchmarkError, OneLineParser, errors_in_one_line, whole_number
from benchmarks.endpoints import dynamodb_alone, find_dynamodb_local
from benchmarks.population import populate
from benchmarks.workload import Command
from console.access import Access, accepted_hosts
from console.app import Console
from console.server import ServedConsole, listen
from domain.commands import RequestPasswordReset
from domain.errors import RejectionCode
from domain.events import CommandRejected, RecordedEvent
from operations.provision import provision_resources
from worker.connections import Aws
from worker.settings import load_settings

EMULATORS: Final = ("http://127.0.0.1:", "http://localhost:")
HOST: Final = "127.0.0.1"
DESCRIBING: Final = "DescribeTable alone, not a page"
NAMES: Final = (
    "COMMAND_QUEUE",
    "DEAD_LETTER_QUEUE",
    "QUARANTINE_QUEUE",
    "EVENTS_TOPIC",
    "PERSONAL_TOPIC",
    "TABLE",
)
THREADS: Final = 8


@contextmanager
def dynamodb(emulator: str) -> Iterator[str]:
    """Yield the URL of the DynamoDB to use; run one if AWS_ENDPOINT_URL_DYNAMODB names none."""
    given = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB", "")
    if given or find_dynamodb_local() is None:
        yield given or emulator
        return
    with tempfile.TemporaryDirectory() as logs, dynamodb_alone(Path(logs)) as url:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = url
        yield url


@contextmanager
def resources() -> Iterator[Aws]:
    """Create resources with names of their own; delete them at the end."""
    run = uuid4().hex[:8]
    for name in NAMES:
        os.environ[f"USER_WORKER_{name}"] = f"bench-{run}-{name.lower().replace('_', '-')}"
    os.environ["USER_WORKER_ENV"] = "dev"
    aws = Aws(load_settings())
    provision_resources(aws)
    try:
        yield aws
    finally:
        settings = aws.settings
        for queue in (
            settings.command_queue,
            settings.dead_letter_queue,
            settings.quarantine_queue,
        ):
            aws.sqs.delete_queue(QueueUrl=aws.queue_url(queue))
        for topic in (aws.topic_arn, aws.personal_topic_arn):
            aws.sns.delete_topic(TopicArn=topic)
        aws.dynamodb.update_table(TableName=settings.table, DeletionProtectionEnabled=False)
        aws.dynamodb.delete_table(TableName=settings.table)


def put_letters(aws: Aws, count: int) -> None:
    """Put dead letters of three reasons on the queue."""
    reasons = ("InvalidField", "NotJson", "Unavailable")

    def put(start: int) -> None:
        entries: list[Any] = [
            {
                "Id": str(number),
                "MessageBody": f'{{"letter": {start + number}}}',
                "MessageAttributes": {
                    "error_code": {"DataType": "String", "StringValue": reasons[number % 3]}
                },
            }
            for number in range(10)
        ]
        aws.sqs.send_message_batch(QueueUrl=aws.dead_letter_queue_url, Entries=entries)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put, range(0, count, 10)))


def put_entries(aws: Aws, count: int) -> None:
    """Commit outcomes whose events are not published, each in a transaction of its own."""
    repository = DynamoDBUserRepository(aws.dynamodb, aws.settings.table)
    now = datetime.now(UTC)

    def commit(_: int) -> None:
        repository.commit([UserChange(None, (_outcome(None, now),))], now)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(commit, range(count)))


def put_outcomes(aws: Aws, user_id: str, count: int) -> None:
    """Store outcomes of one user, a second apart."""
    now = datetime.now(UTC)
    for start in range(0, count, 25):
        outcomes = [
            _outcome(user_id, now - timedelta(seconds=number))
            for number in range(start, min(start + 25, count))
        ]
        puts: list[Any] = [
            {"PutRequest": {"Item": records.render_outcome(outcome)}} for outcome in outcomes
        ]
        aws.dynamodb.batch_write_item(RequestItems={aws.settings.table: puts})


def _outcome(user_id: str | None, at: datetime) -> Outcome:
    command_id = new_command_id()
    rejected = CommandRejected(command_id, RequestPasswordReset.type, RejectionCode.USER_NOT_FOUND)
    return Outcome(
        command_id=command_id,
        command_type=RequestPasswordReset.type,
        user_id=user_id,
        by_email=user_id is None,
        fingerprint="",
        status=Status.REJECTED,
        code=RejectionCode.USER_NOT_FOUND,
        events=(RecordedEvent.of(rejected, 0),),
        version=0,
        recorded_at=at,
        expires_at=at + timedelta(days=90),
        source="/benchmark",
    )


def measure(aws: Aws, users: Sequence[Command], requests: int) -> dict[str, list[float]]:
    """Return the milliseconds of the requests of each page."""
    listening = listen(HOST, 0)
    port = listening.getsockname()[1]
    access = Access(hosts=accepted_hosts(HOST, port), person="benchmark")
    console = Console(aws, access)
    taken: dict[str, list[float]] = {}
    with ServedConsole(console, listening):
        letter = console.letters.first(aws).letters[0].message_id
        paths = {
            "overview": "/overview/part",
            "groups of dead letters": "/dead-letters",
            "a group": f"/dead-letters/group?group={console.letters.key_of('NotJson', '-')}",
            "a letter": f"/dead-letters/{letter}",
            "outbox": "/outbox",
            "parked entries": "/outbox?parked=1",
            "a user": f"/users/{users[len(users) // 2].user_id}",
            "a user with many outcomes": f"/users/{users[0].user_id}",
            "live": "/live",
        }
        for name, path in paths.items():
            taken[name] = [
                request(port, path, f"{access.cookie}={access.session}") for _ in range(requests)
            ]
    return taken


def request(port: int, path: str, cookie: str) -> float:
    """Request a page; return the milliseconds until its end."""
    time.sleep(1.1)  # so that dead letters are read again, and not shown from the last request
    start = time.perf_counter()
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", path, headers={"cookie": cookie})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise BenchmarkError(f"{path} answered with status {answer.status}")
    return 1_000 * (time.perf_counter() - start)


def describe_table(aws: Aws) -> float:
    """Call DescribeTable; return the milliseconds until its end.

    The overview calls it. AWS updates the number of items about every six hours; DynamoDB Local
    counts them for each call.
    """
    start = time.perf_counter()
    aws.dynamodb.describe_table(TableName=aws.settings.table)
    return 1_000 * (time.perf_counter() - start)


def main() -> None:
    """Fill the resources, measure, and print a table."""
    parser = OneLineParser(prog="python -m benchmarks.console_pages", description=__doc__)
    parser.add_argument("--letters", type=whole_number(10, 100_000), default=10_000)
    parser.add_argument("--entries", type=whole_number(1, 100_000), default=5_000)
    parser.add_argument(
        "--outcomes", type=whole_number(1, 1_000_000), default=5_000, help="of one user"
    )
    parser.add_argument("--users", type=whole_number(10, 10_000_000), default=100_000)
    parser.add_argument("--requests", type=whole_number(1, 100), default=10, help="of each page")
    given = parser.parse_args()
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    with errors_in_one_line(parser.prog):
        if not endpoint.startswith(EMULATORS):
            raise BenchmarkError("set AWS_ENDPOINT_URL to an emulator on this machine")
        if not os.environ.get("AWS_ENDPOINT_URL_DYNAMODB", endpoint).startswith(EMULATORS):
            raise BenchmarkError("AWS_ENDPOINT_URL_DYNAMODB must be on this machine")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.setdefault(name, "test")
        os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
        with dynamodb(endpoint) as table_url, resources() as aws:
            began = time.monotonic()
            put_letters(aws, given.letters)
            put_entries(aws, given.entries)
            users = populate(table_url, aws.settings.table, given.users)
            put_outcomes(aws, users[0].user_id, given.outcomes)
            print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
            taken = {
                DESCRIBING: [describe_table(aws) for _ in range(given.requests)],
                **measure(aws, users, given.requests),
            }
    print(
        f"{given.letters:,} dead letters, {given.entries:,} outbox entries, {given.users:,} users,"
        f" {given.outcomes:,} outcomes of one; milliseconds of {given.requests} requests"
    )
    print("| page | median | longest |")
    print("|---|--:|--:|")
    for name, each in taken.items():
        print(f"| {name} | {median(each):.0f} | {max(each):.0f} |")


if __name__ == "__main__":
    main()

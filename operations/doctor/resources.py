"""Check that queues, topics and table exist and match what `provision` creates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from adapters.sns.subscription import OUTCOMES, RETENTION
from application.ports import StoreUnavailableError
from application.queue_port import FIFO_SUFFIX
from operations.orphaned_queues import TemporaryQueues
from operations.printable import counted
from worker.connections import Aws
from worker.errors import CliError
from worker.resources.checks import attributes, check_expiry, check_queue, check_table
from worker.resources.finding import Finding, Level, error_finding, ok, warn

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import (
        DescribeTableOutputTypeDef,
    )

T = TypeVar("T")
Checks = Generator[Finding, None, T | None]
"""Yields findings; returns the result of the lookup."""

_KEY = "KmsMasterKeyId"
_RECEIVE = "sqs:receivemessage"
_NAMES_OTHERS = frozenset({"arnnotequals", "arnnotlike", "stringnotequals", "stringnotlike"})
"""Conditions that exempt the named principals from a denial."""

_MOST_TEMPORARY = 100
"""Maximum number of queues to check: each takes a call."""


def look(check: str, action: Callable[[], T]) -> Checks[T]:
    """Return the result of an action, or yield a finding if it fails."""
    try:
        return action()
    except (CliError, ClientError, BotoCoreError, StoreUnavailableError) as error:
        yield error_finding(check, error)
        return None


def queues(aws: Aws) -> Iterator[Finding]:
    """Check the dead-letter queue, each command queue and the quarantine queue."""
    settings, dead = aws.settings, aws.settings.dead_letter_queue
    letters = yield from look(f"queue {dead}", lambda: attributes(aws, dead))
    arn = None
    if letters is not None:
        arn = letters["QueueArn"]
        yield check_queue(settings, dead, letters, None)
    for name in (*settings.queues, settings.quarantine_queue):
        stored = yield from look(f"queue {name}", lambda name=name: attributes(aws, name))  # type: ignore[misc]
        if stored is None:
            continue
        yield check_queue(settings, name, stored, arn)
        if name == settings.quarantine_queue and settings.env == "prod":
            yield from _quarantine_protection(f"queue {name}", stored, letters or {})


def _quarantine_protection(
    check: str, stored: Mapping[str, str], letters: Mapping[str, str]
) -> Iterator[Finding]:
    """Check that only a break-glass role can read the originals of dead letters."""
    advice = "protect it as deploy/resources.yaml does (docs/explanation/security.md#dead-letters)"
    key = stored.get(_KEY)
    if not key:
        yield warn(check, "not encrypted by a KMS key", advice)
    elif key == letters.get(_KEY):
        yield warn(check, "encrypted by the key of the dead-letter queue", advice)
    if not _denies_receives(stored.get("Policy")):
        yield warn(check, "its policy does not deny sqs:ReceiveMessage to other roles", advice)


def _denies_receives(policy: str | None) -> bool:
    """Return True if a statement denies receives to all principals but those that it names."""
    statements = json.loads(policy or "{}").get("Statement", [])
    return any(
        statement.get("Effect") == "Deny"
        and statement.get("Principal") in ("*", {"AWS": "*"})
        and any(fnmatchcase(_RECEIVE, each.lower()) for each in _listed(statement.get("Action")))
        and any(
            test.lower() in _NAMES_OTHERS and "aws:principalarn" in map(str.lower, values)
            for test, values in statement.get("Condition", {}).items()
        )
        for statement in _listed(statements)
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def topics(aws: Aws) -> Iterator[Finding]:
    """Check the ordinary and the personal topic."""
    lookups = {
        aws.settings.events_topic: lambda: aws.topic_arn,
        aws.settings.personal_topic: lambda: aws.personal_topic_arn,
    }
    for name, find in lookups.items():
        arn = yield from look(f"topic {name}", find)
        if arn is not None:
            yield ok(f"topic {name}", "FIFO" if arn.endswith(FIFO_SUFFIX) else "standard")


def table(aws: Aws) -> Iterator[Finding]:
    """Check the table: its keys, index, expiry and protection."""
    name = aws.settings.table
    check = f"table {name}"
    if aws.settings.repository == "memory":
        yield ok(check, "not used: users are kept in the worker's memory")
        return
    found = yield from look(check, lambda: _described(aws))
    if found is None:
        return
    verdict = check_table(name, found["Table"])
    yield verdict
    if verdict.level is Level.FAIL:
        return
    yield from _expiry(aws, check)
    if aws.settings.env == "prod":
        yield from _protection(
            aws, check, protected=found["Table"].get("DeletionProtectionEnabled")
        )
    yield from _outbox(aws)


def _described(aws: Aws) -> DescribeTableOutputTypeDef:
    aws.require_table()
    return aws.dynamodb.describe_table(TableName=aws.settings.table)


def _expiry(aws: Aws, check: str) -> Iterator[Finding]:
    answer = yield from look(
        check, lambda: aws.dynamodb.describe_time_to_live(TableName=aws.settings.table)
    )
    if answer is not None:
        yield from check_expiry(check, answer["TimeToLiveDescription"])


def _protection(aws: Aws, check: str, *, protected: bool | None) -> Iterator[Finding]:
    if not protected:
        yield warn(check, "deletion protection is off", "turn it on")
    backups = yield from look(
        check, lambda: aws.dynamodb.describe_continuous_backups(TableName=aws.settings.table)
    )
    if backups is None:
        return
    recovery = backups["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    if recovery.get("PointInTimeRecoveryStatus") != "ENABLED":
        yield warn(check, "point-in-time recovery is off", "turn it on")


def _outbox(aws: Aws) -> Iterator[Finding]:
    status = yield from look("outbox", aws.outbox.status)
    if status is None:
        return
    if status.parked or status.unreadable:
        text = f"{len(status.parked)} parked, {status.unreadable} unreadable"
        yield warn("outbox", text, "run `user-worker outbox list`, and see docs/how-to/runbook.md")
    else:
        yield ok("outbox", f"{status.pending} pending")


def temporary_queues(aws: Aws) -> Iterator[Finding]:
    """Find temporary queues of killed processes; those of running services may be old, too."""
    found = TemporaryQueues(aws.sqs, aws.sns)
    queues = yield from look("leftovers", lambda: list(found.queues(_MOST_TEMPORARY)))
    now = time.time()
    old = [queue for queue in queues or () if now - queue.made_at > RETENTION]
    forgotten = [q for q in old if q.waiting or not q.name.startswith(OUTCOMES)]
    if forgotten:
        one_or_more = counted(len(forgotten), "queue")
        text = f"{one_or_more} of `events`, `--wait` or OutcomeListener, probably"
        advice = "run `user-worker leftovers`; --remove deletes those that no process reads"
        yield warn("leftovers", f"{text} orphaned, for example {forgotten[0].name}", advice)
    elif old:
        yield ok("leftovers", f"{counted(len(old), 'temporary queue')}, older than an hour")

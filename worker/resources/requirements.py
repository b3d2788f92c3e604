"""Check queues, table and topics in AWS before a worker starts.

A fault that would break a guarantee ends the worker: a missing resource, a table with other keys, a
command queue without a redrive policy. Any other difference from the settings is a warning, because
otherwise one changed attribute would stop every worker that starts later. So is any fault of an
additional queue, because the other queues can be served. `user-worker doctor` uses the same rules
and is stricter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from worker.cli_errors import is_denial, is_refusal
from worker.connections import Aws
from worker.errors import CliError, missing
from worker.resources.checks import attributes, check_expiry, check_queue, check_table
from worker.resources.finding import Finding, Level, error_finding, warn

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TableDescriptionTypeDef

T = TypeVar("T")

FATAL: Final = ("primary key", "type of a key")
"""Required of a table; another index or billing mode can be corrected while workers run."""
LOOKS: Final = frozenset(
    {"DescribeTable", "DescribeTimeToLive", "GetQueueAttributes", "GetTopicAttributes"}
)
"""Calls that only this check makes: a role without permission for them can still work."""
NOT_CHECKED: Final = "could not be checked"


def check(aws: Aws) -> list[Finding]:
    """Check all resources that the worker needs; return the differences from the settings.

    Raises:
        CliError: the worker cannot keep its guarantees with these resources.
        ClientError, BotoCoreError: SQS or DynamoDB did not answer. An error of SNS is a finding:
            events wait in the outbox, and commands are processed meanwhile.
    """
    findings = [*_queues(aws), *_topics(aws)]
    if aws.settings.repository == "dynamodb":
        findings += _table(aws)
    return [finding for finding in findings if finding.level is not Level.OK]


def _queues(aws: Aws) -> Iterator[Finding]:
    settings, dead = aws.settings, aws.settings.dead_letter_queue
    stored: dict[str, dict[str, str]] = {}
    # command queues first: if all are missing, the error names that one
    for name in (*settings.queues, dead, settings.quarantine_queue):
        try:
            found = _allowed(partial(attributes, aws, name))
            if found is None:
                yield _denied(f"queue {name}", "sqs:GetQueueAttributes")
                continue
            if name in settings.queues:
                _require_redrive(name, found)
        except (CliError, ClientError) as error:
            of_resource = isinstance(error, CliError) or is_denial(error)
            if name not in settings.additional_queues or not of_resource:
                raise
            # the worker serves the other queues meanwhile, and this one as soon as that is possible
            yield from _as_warnings(error_finding(f"queue {name}", error))
        else:
            stored[name] = found
    if dead not in stored:
        return
    for name, found in stored.items():
        yield from _as_warnings(check_queue(settings, name, found, stored[dead]["QueueArn"]))


def _require_redrive(name: str, stored: Mapping[str, str]) -> None:
    if not stored.get("RedrivePolicy"):
        raise CliError(
            f"queue {name} has no redrive policy: failed messages are retried forever",
            "run `user-worker provision`, or add one (docs/how-to/deploy.md)",
        )


def _as_warnings(finding: Finding) -> Iterator[Finding]:
    """Yield failures as warnings; the number of waiting messages is not a warning."""
    if finding.level is Level.FAIL:
        yield replace(finding, level=Level.WARN)


def _table(aws: Aws) -> Iterator[Finding]:
    name = aws.settings.table
    found = _allowed(lambda: _described(aws, name))
    if found is None:
        yield _denied(f"table {name}", "dynamodb:DescribeTable")
        return
    verdict = check_table(name, found)
    if verdict.level is Level.FAIL and any(each in verdict.text for each in FATAL):
        raise CliError(f"{verdict.check}: {verdict.text}", verdict.advice)
    yield from [verdict] if verdict.level is Level.WARN else _as_warnings(verdict)
    expiry = _allowed(lambda: aws.dynamodb.describe_time_to_live(TableName=name))
    if expiry is None:
        yield _denied(verdict.check, "dynamodb:DescribeTimeToLive")
    else:
        yield from check_expiry(verdict.check, expiry["TimeToLiveDescription"])


def _described(aws: Aws, name: str) -> TableDescriptionTypeDef:
    try:
        return aws.dynamodb.describe_table(TableName=name)["Table"]
    except aws.dynamodb.exceptions.ResourceNotFoundException as error:
        raise missing(f"table {name}", "USER_WORKER_TABLE") from error


def _topics(aws: Aws) -> Iterator[Finding]:
    """Check that both topics exist; their names already tell whether they are FIFO."""
    yield from _topic(aws.settings.events_topic, lambda: aws.topic_arn)
    yield from _topic(aws.settings.personal_topic, lambda: aws.personal_topic_arn)


def _topic(name: str, find: Callable[[], str]) -> Iterator[Finding]:
    check = f"topic {name}"
    try:
        if _allowed(find) is None:
            yield _denied(check, "sns:GetTopicAttributes")
    except (ClientError, BotoCoreError) as error:
        if is_refusal(error):
            raise
        yield warn(
            check,
            f"{NOT_CHECKED}: {type(error).__name__}",
            "events stay in the outbox until the topic is available",
        )


def _allowed(look: Callable[[], T]) -> T | None:
    """Make a call; return `None` if it is denied, which tells nothing about the resource."""
    try:
        return look()
    except ClientError as error:
        if is_denial(error) and error.operation_name in LOOKS:
            return None
        raise


def _denied(check: str, action: str) -> Finding:
    return warn(check, NOT_CHECKED, f"allow {action}, or run `user-worker doctor`")

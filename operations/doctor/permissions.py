"""Check that each action of the worker is allowed, by calls that change nothing.

Calls to DynamoDB are valid and have conditions that are never met. Calls to queues and topics have
invalid content, which the service rejects only after it has authorized the caller. Receiving is the
only action that cannot be tested in this way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from adapters.aws.client import client
from adapters.dynamodb.table import PARTITION_KEY, key
from operations.printable import counted
from worker.cli_errors import is_denial
from worker.connections import Aws
from worker.errors import CliError
from worker.resources.finding import Finding, error_finding, fail, ok

NOWHERE = key("DOCTOR#NOBODY", "DOCTOR")
"""Key of an item that does not exist."""
IMPOSSIBLE = f"attribute_exists({PARTITION_KEY})"
"""A condition that is false for a missing item."""

Call = Callable[[], object]


def permissions(aws: Aws) -> Iterator[Finding]:
    """Try each action; yield one finding if all are allowed, else one for each denied action."""
    calls: dict[str, Call] = {**_of_queues(aws), **_of_topics(aws)}
    if aws.settings.repository == "dynamodb":
        calls |= _of_table(aws)
    denied = []
    for action, call in calls.items():
        try:
            call()
        except ClientError as error:
            if is_denial(error):
                denied.append(action)
        except (BotoCoreError, CliError) as error:
            yield error_finding("permissions", error)
            return
    for action in denied:
        advice = "allow it (docs/how-to/operations.md, In production)"
        yield fail("permissions", f"{action} is denied", advice)
    if not denied:
        text = (
            f"none of {counted(len(calls), 'action')} is denied; sqs:ReceiveMessage was not tested"
        )
        yield ok("permissions", text)


def _of_queues(aws: Aws) -> dict[str, Call]:
    names = {
        "dead letters": aws.settings.dead_letter_queue,
        "quarantine": aws.settings.quarantine_queue,
    }
    calls: dict[str, Call] = {
        f"sqs:SendMessage ({what})": partial(
            aws.sqs.send_message_batch, QueueUrl=aws.queue_url(name), Entries=[]
        )
        for what, name in names.items()
    }
    for name in aws.settings.queues:
        message = {"QueueUrl": aws.queue_url(name), "ReceiptHandle": "none"}
        calls[f"sqs:DeleteMessage ({name})"] = partial(aws.sqs.delete_message, **message)
        calls[f"sqs:ChangeMessageVisibility ({name})"] = partial(
            aws.sqs.change_message_visibility, **message, VisibilityTimeout=0
        )
    return calls


def _of_topics(aws: Aws) -> dict[str, Call]:
    once = client("sns", attempts=1)  # LocalStack answers an empty batch with a server error
    topics = {
        aws.settings.events_topic: aws.topic_arn,
        aws.settings.personal_topic: aws.personal_topic_arn,
    }
    return {
        f"sns:Publish ({name})": partial(
            once.publish_batch, TopicArn=arn, PublishBatchRequestEntries=[]
        )
        for name, arn in topics.items()
    }


def _of_table(aws: Aws) -> dict[str, Call]:
    name, dynamodb = aws.settings.table, aws.dynamodb
    to_nowhere: dict[str, Any] = {"TableName": name, "ConditionExpression": IMPOSSIBLE}
    return {
        "dynamodb:BatchGetItem": lambda: dynamodb.batch_get_item(
            RequestItems={name: {"Keys": [NOWHERE]}}
        ),
        "dynamodb:Query": lambda: dynamodb.query(
            TableName=name,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": NOWHERE[PARTITION_KEY]},
        ),
        "dynamodb:PutItem": lambda: dynamodb.put_item(Item=NOWHERE, **to_nowhere),
        "dynamodb:UpdateItem": lambda: dynamodb.update_item(
            Key=NOWHERE,
            UpdateExpression="SET doctor = :none",
            ExpressionAttributeValues={":none": {"S": ""}},
            **to_nowhere,
        ),
        "dynamodb:DeleteItem": lambda: dynamodb.delete_item(Key=NOWHERE, **to_nowhere),
        "dynamodb:BatchWriteItem": lambda: dynamodb.batch_write_item(
            RequestItems={name: [{"DeleteRequest": {"Key": NOWHERE}}]}
        ),
    }

"""Create table, queues and topics for development; production has its own templates.

Idempotent: a resource with the right attributes is left unchanged, a missing one is created, and
one with other attributes is an error and is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from adapters.aws.client import error_code
from adapters.dynamodb.provision import provision_table
from adapters.errors import ProvisioningRefusedError, ResourceMismatchError
from adapters.similar_names import (
    SimilarName,
    similar_queues,
    similar_tables,
    similar_topics,
)
from adapters.sqs.command_queue import MISSING
from application.queue_port import FIFO_SUFFIX

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

RETENTION: Final = 14 * 86_400
"""Seconds; the longest time that SQS keeps a message."""
PRODUCTION: Final = "prod"


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources to create, by name."""

    env: str
    table: str
    command_queues: tuple[str, ...]
    dead_letter_queue: str
    quarantine_queue: str
    topics: tuple[str, ...]
    """The ordinary topic, then the personal one."""
    visibility_timeout: int
    """Seconds."""
    max_receives: int
    """Receives after which the redrive policy moves a message to the dead-letter queue."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The resources that exist now."""

    queue_urls: Mapping[str, str]
    """By name, including the dead-letter queue and the quarantine queue."""
    topic_arns: tuple[str, ...]
    """The same names as in `Resources.topics`."""


def provision(
    resources: Resources,
    dynamodb: DynamoDBClient,
    sqs: SQSClient,
    sns: SNSClient,
    warn: Callable[[SimilarName], object] | None = None,
) -> Provisioned:
    """Create what is missing; wait until the table is usable.

    `warn` is called for each resource that was created although one of a similar name exists.

    Raises:
        ProvisioningRefusedError: in production.
        ResourceMismatchError: a resource exists with other attributes.
    """
    if resources.env == PRODUCTION:
        raise ProvisioningRefusedError(
            "the worker does not create resources in production: "
            "deploy a template (docs/how-to/deploy.md)"
        )
    similar = [] if warn is None else _similar(resources, dynamodb, sqs, sns)
    provision_table(dynamodb, resources.table)
    urls = _provision_queues(sqs, resources)
    arns = tuple(_provision_topic(sns, name) for name in resources.topics)
    for each in similar:
        if warn is not None:
            warn(each)
    return Provisioned(urls, arns)


def _similar(
    resources: Resources, dynamodb: DynamoDBClient, sqs: SQSClient, sns: SNSClient
) -> list[SimilarName]:
    queues = {*resources.command_queues, resources.dead_letter_queue, resources.quarantine_queue}
    return [
        *similar_tables(dynamodb, resources.table),
        *similar_queues(sqs, queues),
        *similar_topics(sns, resources.topics),
    ]


# --- queues --------------------------------------------------------------------------------


def queue_attributes(
    resources: Resources, name: str, dead_letter_arn: str | None
) -> dict[str, str]:
    """Return the wanted attributes of a queue.

    `dead_letter_arn` is `None` for the dead-letter queue and the quarantine queue.
    """
    wanted = {"MessageRetentionPeriod": str(RETENTION)}
    if dead_letter_arn is not None:
        wanted["VisibilityTimeout"] = str(resources.visibility_timeout)
        wanted["RedrivePolicy"] = json.dumps(
            {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": resources.max_receives}
        )
    if name.endswith(FIFO_SUFFIX):
        wanted["FifoQueue"] = "true"
    return wanted


def queue_differences(stored: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the attributes that differ from the wanted ones."""
    return [
        attribute
        for attribute, value in wanted.items()
        if _comparable(attribute, stored.get(attribute)) != _comparable(attribute, value)
    ]


def _provision_queues(sqs: SQSClient, resources: Resources) -> dict[str, str]:
    letters = resources.dead_letter_queue
    urls = {
        name: _provision_queue(sqs, name, queue_attributes(resources, name, None))
        for name in (letters, resources.quarantine_queue)
    }
    answer = sqs.get_queue_attributes(QueueUrl=urls[letters], AttributeNames=["QueueArn"])
    arn = answer["Attributes"]["QueueArn"]
    for name in resources.command_queues:
        urls[name] = _provision_queue(sqs, name, queue_attributes(resources, name, arn))
    return urls


def _provision_queue(sqs: SQSClient, name: str, wanted: Mapping[str, str]) -> str:
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except ClientError as error:
        if error_code(error) not in MISSING:
            raise
        url = _create_queue(sqs, name, wanted)
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    stored: dict[str, str] = dict(answer["Attributes"].items())
    for difference in queue_differences(stored, wanted):
        raise ResourceMismatchError("queue", name, difference)
    return url


def _create_queue(sqs: SQSClient, name: str, attributes: Mapping[str, str]) -> str:
    try:
        return sqs.create_queue(QueueName=name, Attributes=dict(attributes))["QueueUrl"]  # type: ignore[arg-type]  # the names are SQS's
    except ClientError as error:
        if "QueueAlreadyExists" in error_code(error) or "QueueNameExists" in error_code(error):
            raise ResourceMismatchError("queue", name, "set of attributes") from error
        raise


def _comparable(attribute: str, value: str | None) -> object:
    if attribute == "RedrivePolicy" and value:
        policy = json.loads(value)
        return policy.get("deadLetterTargetArn"), int(policy.get("maxReceiveCount", 0))
    return value


# --- topics --------------------------------------------------------------------------------


def _provision_topic(sns: SNSClient, name: str) -> str:
    fifo = name.endswith(FIFO_SUFFIX)
    try:
        arn = sns.create_topic(Name=name, Attributes={"FifoTopic": "true"} if fifo else {})
    except ClientError as error:
        if error_code(error) == "InvalidParameter":
            raise ResourceMismatchError("topic", name, "set of attributes") from error
        raise
    return arn["TopicArn"]

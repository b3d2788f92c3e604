"""AWS clients, and the ports behind them, for use outside a batch; created on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from adapters.aws.client import client, error_code
from adapters.dynamodb import DynamoDBOutbox, DynamoDBUserRepository
from adapters.dynamodb.projection import OF_OPERATORS
from adapters.sns.publisher import SnsPublisher, TopicMissingError, topic_arn
from adapters.sqs.command_queue import MISSING
from application.event_topics import EventTopics
from worker.errors import CliError, missing, no_region
from worker.settings import PREFIX, Settings

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from application.outbox import Outbox
    from application.ports import EventPublisher
    from application.repository import Outcome, UserRepository

C = TypeVar("C", bound="BaseClient")

READ_TIMEOUT = 30.0
"""Seconds; longer than the longest poll."""
PUBLISH_TIMEOUT = 5.0
"""Seconds for one call of the publisher, which retries by itself."""


@dataclass(frozen=True)
class Aws:
    """Connections of the command line, or of a worker before it starts; made on first use."""

    settings: Settings

    @cached_property
    def sqs(self) -> SQSClient:
        """The client for queues."""
        return _in_a_region(client("sqs", read_timeout=READ_TIMEOUT))

    @cached_property
    def sns(self) -> SNSClient:
        """The client for topics."""
        return _in_a_region(client("sns", read_timeout=READ_TIMEOUT))

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The client for tables."""
        return _in_a_region(client("dynamodb", read_timeout=READ_TIMEOUT))

    @cached_property
    def repository(self) -> UserRepository:
        """The store of users and outcomes, to read without credentials.

        No hash of a password or a token is requested, since no operator's role may read one.

        Raises:
            CliError: the store is in another process's memory, or its table does not exist.
        """
        self.require_shared_store()
        return DynamoDBUserRepository(self.dynamodb, self.settings.table, attributes=OF_OPERATORS)

    @cached_property
    def outbox(self) -> Outbox[Outcome]:
        """The outbox; raises the errors of `repository`."""
        self.require_shared_store()
        return DynamoDBOutbox(self.dynamodb, self.settings.table, attributes=OF_OPERATORS)

    @cached_property
    def publisher(self) -> EventPublisher:
        """The topics, as the worker publishes to them; raises the errors of `topic_arn`."""
        sns = _in_a_region(client("sns", read_timeout=PUBLISH_TIMEOUT, attempts=1))
        return EventTopics(
            SnsPublisher(sns, self.topic_arn), SnsPublisher(sns, self.personal_topic_arn)
        )

    def require_shared_store(self) -> None:
        """Check that this process can read the store of users; raises errors of `repository`."""
        if self.settings.repository == "memory":
            raise CliError(
                f"with {PREFIX}REPOSITORY=memory only the worker's process can read users",
                "use `user-worker events`, or set USER_WORKER_REPOSITORY=dynamodb",
            )
        self.require_table()

    @cached_property
    def command_queue_url(self) -> str:
        """URL of the command queue.

        Raises:
            CliError: the queue does not exist.
        """
        return self.queue_url(self.settings.command_queue)

    @cached_property
    def command_queue_arn(self) -> str:
        """ARN of the command queue; raises the errors of `command_queue_url`."""
        return self.queue_arn(self.command_queue_url)

    @cached_property
    def dead_letter_queue_url(self) -> str:
        """URL of the dead-letter queue; raises the errors of `command_queue_url`."""
        return self.queue_url(self.settings.dead_letter_queue)

    def queue_url(self, name: str) -> str:
        """Return the URL of a queue; raises the errors of `command_queue_url`."""
        try:
            answer = self.sqs.get_queue_url(QueueName=name)
        except ClientError as error:
            if error_code(error) not in MISSING:
                raise
            variables: dict[str | None, str] = {
                self.settings.priority_queue: "PRIORITY_QUEUE",
                self.settings.dead_letter_queue: "DEAD_LETTER_QUEUE",
                **dict.fromkeys(self.settings.additional_queues, "ADDITIONAL_QUEUES"),
                self.settings.quarantine_queue: "QUARANTINE_QUEUE",
            }
            variable = PREFIX + variables.get(name, "COMMAND_QUEUE")
            raise missing(f"queue {name}", variable) from error
        if "QueueUrl" not in answer:  # the SDK accepts any page with status 200 as an answer
            raise ResponseParserError("no QueueUrl")
        return answer["QueueUrl"]

    def queue_arn(self, url: str) -> str:
        """Return the ARN of the queue at a URL."""
        answer = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return answer["Attributes"]["QueueArn"]

    @cached_property
    def topic_arn(self) -> str:
        """ARN of the ordinary topic; a name is in the account and region of the command queue.

        Raises:
            CliError: the topic does not exist.
        """
        return self._topic_arn(self.settings.events_topic, "EVENTS_TOPIC")

    @cached_property
    def personal_topic_arn(self) -> str:
        """ARN of the personal topic; raises the errors of `topic_arn`."""
        return self._topic_arn(self.settings.personal_topic, "PERSONAL_TOPIC")

    def _topic_arn(self, name: str, variable: str) -> str:
        try:
            arn = name if name.startswith("arn:") else self._topic_of_queue_account(name)
            self.sns.get_topic_attributes(TopicArn=arn)
        except (self.sns.exceptions.NotFoundException, TopicMissingError) as error:
            raise missing(f"topic {name}", PREFIX + variable) from error
        return arn

    def _topic_of_queue_account(self, name: str) -> str:
        try:
            queue_arn = self.command_queue_arn
        except CliError:  # no queue to learn the account from
            return topic_arn(self.sns, name)
        partition, _, region, account = queue_arn.split(":")[1:5]
        return f"arn:{partition}:sns:{region}:{account}:{name}"

    def require_table(self) -> None:
        """Check that the table exists.

        Raises:
            CliError: the table does not exist.
        """
        try:
            self.dynamodb.describe_table(TableName=self.settings.table)
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                raise missing(f"table {self.settings.table}", f"{PREFIX}TABLE") from error
            if error_code(error) != "AccessDeniedException":  # a role that only reads may lack it
                raise


def _in_a_region(made: C) -> C:
    """Return the client if it has a region: with an endpoint set, boto3 needs none."""
    if not made.meta.region_name:
        raise no_region()
    return made

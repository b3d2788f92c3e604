"""AWS at a real endpoint: the embedded one, or LocalStack with AWS's own DynamoDB.

Only time is simulated: the workers use the test's clock, and the test ends visibility timeouts by
making all received messages visible.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from adapters.aws import client as aws
from adapters.sqs.command_queue import make_client
from adapters.sqs.dead_letters import ORIGINAL_ID, QUARANTINED
from tests.e2e.system import System
from tests.reliability.world import A_WHILE, Sent, StandingClock, World

PATIENCE = 15.0
"""Seconds to wait until an event arrives from the topic."""


def _ahead_of_aws() -> datetime:
    """Return a time at which messages that are sent now are older than the grace period.

    So no command waits for an unknown user, and none reaches its maximum age.
    """
    return datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)


class EndpointWorld(World):
    """Its own table, queues, topic and subscriber."""

    def __init__(self, endpoint: str, folder: Path, *, fifo: bool = False) -> None:
        """Create the resources; `delete` removes them."""
        self._system = System.create(endpoint, folder, fifo=fifo)
        self.clock = StandingClock(_ahead_of_aws())
        names = self._system.names
        self.table = names.table
        self.queue, self.dead_letter_queue = names.command_queue, names.dead_letter_queue
        self.quarantine_queue = names.quarantine_queue
        self.topic_arn = self._system.topic_arn
        self.personal_topic_arn = self._system.personal_topic_arn
        self.dynamodb = aws.client("dynamodb")
        self.sns = aws.client("sns", attempts=1)
        self.sqs = _Remembering(make_client(1))
        self.sent: list[Sent] = []
        self._letters: list[dict[str, Any]] = []
        self._originals: dict[str, str] = {}

    def delete(self) -> None:
        """Delete all resources."""
        self._system.delete()
        for client in (self.dynamodb, self.sns, self.sqs.client):
            client.close()

    def send(self, *messages: Sent) -> None:
        """See the protocol. Brings the clock, which runs faster than AWS's, back to it."""
        self.clock.time = _ahead_of_aws()
        for message in messages:
            self._system.queues.send(message.body, group=message.group)
        self.sent += messages

    def let_time_pass(self) -> None:
        """See the protocol."""
        self.clock.time += A_WHILE
        self.sqs.lapse(self._system.queues.url)

    def items(self) -> Sequence[dict[str, Any]]:
        """See the protocol."""
        pages = self.dynamodb.get_paginator("scan").paginate(
            TableName=self.table, ConsistentRead=True
        )
        return [item for page in pages for item in page["Items"]]

    def published(self, expected: Iterable[str]) -> Sequence[dict[str, Any]]:
        """See the protocol."""
        return self._received(self._system.events, expected)

    def published_complete(self, expected: Iterable[str]) -> Sequence[dict[str, Any]]:
        """See the protocol."""
        return self._received(self._system.complete_events, expected)

    def _received(
        self, receive: Callable[[], list[dict[str, Any]]], expected: Iterable[str]
    ) -> Sequence[dict[str, Any]]:
        wanted, deadline = set(expected), time.monotonic() + PATIENCE
        while True:
            events = receive()
            if wanted <= {event["id"] for event in events} or time.monotonic() > deadline:
                return events

    def waiting(self) -> int:
        """See the protocol."""
        return sum(self._system.queues.depth())

    def dead_letters(self) -> Sequence[str]:
        """See the protocol. After a crash, a letter or an original may be in its queue twice."""
        wanted = {message.body for message in self.sent if message.dead}
        deadline = time.monotonic() + PATIENCE
        while True:
            dead = [self._unredacted(letter) for letter in self._letters]
            if wanted <= set(dead) or time.monotonic() > deadline:
                return dead
            self._letters += self._system.queues.dead_letters(1, seconds=1)
            self._originals |= {
                row["MessageAttributes"][ORIGINAL_ID]["StringValue"]: row["Body"]
                for row in self._system.queues.originals(1, seconds=1)
            }

    def _unredacted(self, letter: dict[str, Any]) -> str:
        attributes, body = letter["MessageAttributes"], letter["Body"]
        if QUARANTINED not in attributes:
            return str(body)
        return self._originals.get(attributes[ORIGINAL_ID]["StringValue"], str(body))


class _Remembering:
    """An SQS client that remembers which messages were received and not deleted."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._receipts: list[str] = []

    def __getattr__(self, operation: str) -> Any:
        return getattr(self.client, operation)

    def receive_message(self, **request: Any) -> Any:
        answer = self.client.receive_message(**request)
        self._receipts += [row["ReceiptHandle"] for row in answer.get("Messages", ())]
        return answer

    def lapse(self, queue_url: str) -> None:
        """End the visibility timeout of all messages in flight; ignore those that are deleted."""
        for receipt in self._receipts:
            with contextlib.suppress(ClientError):
                self.client.change_message_visibility(
                    QueueUrl=queue_url, ReceiptHandle=receipt, VisibilityTimeout=0
                )
        self._receipts.clear()

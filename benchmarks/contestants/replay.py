"""The four or five calls of one batch of this worker, from the recording of its commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import randrange
from typing import Any, Self
from uuid import uuid4

ABSENT = "attribute_not_exists(pk)"
SHARDS = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """The requests of a batch; the clients are boto3's."""

    table: str
    topic: str
    keys: list[Any]
    actions: list[Any]
    pointer: Any
    entries: list[Any]
    personal_entries: list[Any]

    @classmethod
    def of(cls, commands: Sequence[dict[str, Any]], table: str, topic: str) -> Self:
        """Combine recorded commands, with a pointer of their own."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        pointer = {"pk": {"S": f"OUTBOX#{randrange(SHARDS)}"}, "sk": {"S": f"{now}#{uuid4()}"}}
        names = " ".join(command["name"] for command in commands)
        item = pointer | {"schema": {"N": "1"}, "kind": {"S": "publish"}, "commands": {"S": names}}
        put = {"Put": {"TableName": table, "Item": item, "ConditionExpression": ABSENT}}
        return cls(
            table=table,
            topic=topic,
            keys=[key for command in commands for key in command["keys"]],
            actions=[*(action for command in commands for action in command["actions"]), put],
            pointer=pointer,
            entries=[entry for command in commands for entry in command["entries"]],
            personal_entries=[e for command in commands for e in command["personal_entries"]],
        )

    def load(self, dynamodb: Any) -> None:
        """Read the items of the batch."""
        request = {self.table: {"Keys": self.keys, "ConsistentRead": True}}
        dynamodb.batch_get_item(RequestItems=request)

    def commit(self, dynamodb: Any) -> None:
        """Write all items in one transaction."""
        dynamodb.transact_write_items(TransactItems=self.actions, ClientRequestToken=str(uuid4()))

    def publish(self, sns: Any) -> None:
        """Publish the events on the ordinary topic."""
        _publish(sns, self.topic, self.entries)

    def publish_personal(self, sns: Any) -> None:
        """Publish the events with e-mail addresses on the personal topic, if there are any."""
        if self.personal_entries:
            _publish(sns, f"{self.topic}-personal", self.personal_entries)

    def close(self, dynamodb: Any) -> None:
        """Delete the pointer."""
        dynamodb.delete_item(TableName=self.table, Key=self.pointer)


def _publish(sns: Any, topic: str, entries: list[Any]) -> None:
    numbered = [{"Id": str(place), **entry} for place, entry in enumerate(entries)]
    sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=numbered)

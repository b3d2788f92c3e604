"""A plain Celery worker on kombu's own SQS transport.

`celery -A benchmarks.contestants.naive_celery worker`. Each task queries by e-mail address (with an
index, as in DynamoDB's own tutorials), puts the user and publishes an event: three calls, and no
guarantee if it crashes between them, if a message is delivered twice, or if two people register one
address at once. It uses the SDK's plain clients, created once per process.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import uuid4

import boto3
from celery import Celery

from benchmarks.contestants.started import variable

QUEUE, TABLE, TOPIC = (variable(name) for name in ("QUEUE", "TABLE", "TOPIC"))
EMAIL_INDEX = "email-index"

app = Celery("naive", broker="sqs://")
app.conf.task_default_queue = QUEUE
app.conf.broker_transport_options = {
    "region": os.environ["AWS_DEFAULT_REGION"],
    "predefined_queues": {QUEUE: {"url": variable("QUEUE_URL")}},
}
if variable("TUNED") == "1":
    # By default it prefetches four messages per child and then polls again after 1 s.
    app.conf.worker_prefetch_multiplier = 16
    app.conf.broker_transport_options["polling_interval"] = 0.05


@cache
def client(service: str) -> Any:
    """Return this process's client of a service."""
    return boto3.client(service)


def publish(name: str, command_id: str, user_id: str, data: dict[str, Any]) -> None:
    """Publish one event."""
    event = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "urn:naive",
        "type": f"biome.user.{name}.v1",
        "subject": user_id,
        "time": datetime.now(UTC).isoformat(),
        "causationid": command_id,
        "data": data,
    }
    client("sns").publish(
        TopicArn=TOPIC,
        Message=json.dumps(event),
        MessageAttributes={"type": {"DataType": "String", "StringValue": event["type"]}},
    )


@app.task(bind=True, name="biome.user.RegisterUser.v1")
def register_user(self: Any, user_id: str, email: str, **fields: str) -> None:
    """Register a user, unless the address is taken."""
    found = client("dynamodb").query(
        TableName=TABLE,
        IndexName=EMAIL_INDEX,
        KeyConditionExpression="email = :email",
        ExpressionAttributeValues={":email": {"S": email}},
    )
    if found["Items"]:
        publish("CommandRejected", self.request.id, user_id, {"code": "EmailTaken"})
        return
    now = datetime.now(UTC).isoformat()
    item = {"user_id": user_id, "email": email, "created_at": now, "updated_at": now, **fields}
    client("dynamodb").put_item(
        TableName=TABLE, Item={name: {"S": value} for name, value in item.items()}
    )
    publish("UserRegistered", self.request.id, user_id, {"email": email})


@app.task(bind=True, name="biome.user.UpdateProfile.v1")
def update_profile(self: Any, user_id: str, **fields: str) -> None:
    """Change a user's names: read, change, put."""
    key = {"user_id": {"S": user_id}}
    item = client("dynamodb").get_item(TableName=TABLE, Key=key)["Item"]
    item["updated_at"] = {"S": datetime.now(UTC).isoformat()}
    item.update({name: {"S": value} for name, value in fields.items()})
    client("dynamodb").put_item(TableName=TABLE, Item=item)
    publish("ProfileUpdated", self.request.id, user_id, {"changed": sorted(fields)})

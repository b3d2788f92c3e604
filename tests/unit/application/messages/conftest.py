"""A stock Celery producer, with kombu's own SQS transport, whose messages are captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import kombu.transport.SQS
import pytest
from celery import Celery

QUEUE_URL = "https://sqs.us-east-1.amazonaws.com/123456789012/user-commands"


class _Caught:
    """Replaces boto3's client: keeps what kombu would have sent to SQS."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message(self, **fields: Any) -> None:
        self.bodies.append(fields["MessageBody"])

    def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        return {"Attributes": {"ApproximateNumberOfMessages": "0"}}


@pytest.fixture
def stock_celery() -> Iterator[Callable[..., str]]:
    """Return `send(name, base64=True, conf=None, **send_task's options)`: it returns the body."""
    caught = _Caught()

    def send(
        name: str, *, base64: bool = True, conf: dict[str, Any] | None = None, **options: Any
    ) -> str:
        app = Celery("producer", broker="sqs://", set_as_current=False)
        app.conf.update(conf or {})
        app.conf.task_default_queue = "user-commands"
        app.conf.broker_transport_options = {
            "predefined_queues": {"user-commands": {"url": QUEUE_URL}},
            "sqs_base64_encoding": base64,
        }
        app.send_task(name, **options)
        app.close()
        return caught.bodies[-1]

    with patch.object(kombu.transport.SQS.Channel, "sqs", lambda self, queue=None: caught):
        yield send

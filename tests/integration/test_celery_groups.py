"""A Celery producer on a FIFO queue keeps the order of each user, independently of others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from celery import Celery

from tests.conftest import ResourceNames
from tests.e2e.worker_process import Queues
from tests.unit.application.messages.examples import PARSER, message

EXAMPLE = Path(__file__).parents[2] / "examples" / "send_celery.py"


@pytest.fixture
def fifo_queues(fifo_resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """A FIFO queue and its dead-letter queue."""
    queues = Queues.create(fifo_resource_names, aws_endpoint, 30)
    yield queues
    queues.delete()


def received(queues: Queues) -> dict[str, Any]:
    """Return the only message on the command queue."""
    sqs = boto3.client("sqs")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = sqs.receive_message(
            QueueUrl=queues.url, MessageSystemAttributeNames=["All"], WaitTimeSeconds=1
        ).get("Messages", [])
        if found:
            return dict(found[0])
    raise AssertionError("no message came")


def test_the_example_puts_each_user_of_a_fifo_queue_into_a_group_of_its_own(
    fifo_queues: Queues,
) -> None:
    """The example runs unchanged, except for the name of the queue."""
    program = EXAMPLE.read_text().replace('"user-commands"', f'"{fifo_queues.names.command_queue}"')
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)

    found = received(fifo_queues)

    assert found["Attributes"]["MessageGroupId"] == PARSER.parse(message(found["Body"])).user_id


def test_without_a_group_kombu_names_one_for_all(fifo_queues: Queues) -> None:
    """docs/how-to/sending.md warns of this; if kombu changes it, the page must follow."""
    app = Celery(broker="sqs://", set_as_current=False)
    app.conf.task_default_queue = fifo_queues.names.command_queue
    app.conf.broker_transport_options = {
        "predefined_queues": {fifo_queues.names.command_queue: {"url": fifo_queues.url}}
    }
    app.send_task("biome.user.EraseUser.v1", kwargs={"user_id": "x"})

    assert received(fifo_queues)["Attributes"]["MessageGroupId"] == "default"

"""The only task: takes a batch of messages and returns their dispositions.

`worker.request` passes the result to the transport, which acknowledges the messages.
"""

from __future__ import annotations

from celery import shared_task

from application.disposition import Dispositions, ReceivedMessage
from worker import bootstrap
from worker.request import BatchTask
from worker.transport.channel import TASK


@shared_task(base=BatchTask, name=TASK)
def handle_batch(messages: list[ReceivedMessage]) -> Dispositions:
    """Process one batch; the first call creates the clients, in the child process."""
    return bootstrap.handle_batch(messages)

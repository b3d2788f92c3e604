"""The one task: a batch of messages in, their settlements out."""

from __future__ import annotations

from celery import shared_task

from application.disposition import Dispositions, ReceivedMessage
from worker.request import BatchTask
from worker.transport.channel import TASK


@shared_task(base=BatchTask, name=TASK)
def handle_batch(messages: list[ReceivedMessage]) -> Dispositions:
    """Run one batch; the composition root makes its clients on the first call, in the child."""
    from worker import bootstrap  # noqa: PLC0415  # after the fork

    return bootstrap.handle_batch(messages)

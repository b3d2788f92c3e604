"""A plain boto3 loop with this worker's guarantees, one command at a time: no Celery, no batch.

It runs this worker's own handler on one message per receive, so it makes six calls per command.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from application.disposition import Ack, ReceivedMessage
from benchmarks.contestants.started import variable
from worker import bootstrap, logs
from worker.settings import load_settings


def stop(_signal: int, _frame: FrameType | None) -> None:
    """End at once; nothing here needs the redelivery of current messages."""
    sys.exit(0)


def main() -> None:
    """Receive one message, handle it and delete it, forever."""
    signal.signal(signal.SIGTERM, stop)
    variable("QUEUE")  # otherwise it would use the queue of the settings
    settings = load_settings()
    logs.configure(settings.log_format, settings.log_level)
    queue = bootstrap.command_queue_factory(settings.command_queue)
    while True:
        for message in queue.receive(1, 5, settings.visibility_timeout):
            received = ReceivedMessage(
                message_id=message.message_id,
                body=message.body,
                receives=message.receives,
                sent_at=message.sent_at,
                group_id=message.group_id,
                fifo=False,
            )
            if bootstrap.handle_batch([received]).items == (Ack(),):
                queue.delete([message.receipt])


if __name__ == "__main__":
    main()

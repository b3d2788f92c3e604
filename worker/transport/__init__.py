"""The transport between SQS and Celery's worker: a receive, or several, is one task.

It owns every receipt: it receives in threads of its own, keeps messages invisible while they
wait or run, settles what the task decides, and lets go what a shutdown leaves. The task sees
messages only. Threads, and what each owns:

- **main** (Celery's event loop): `Channel`, which hands batches to Celery;
- **receiver**, one or more a queue: long polls, into the queue's `Buffer`;
- **settler**, one a queue: `InFlight`, the receipts and what each is due for;
- **lanes**, four a settler: one call at a time each.
"""

from kombu.transport import TRANSPORT_ALIASES

from worker.transport.batching import Messages
from worker.transport.kombu_transport import Transport
from worker.transport.options import Options
from worker.transport.port import CommandQueue, DeadLetterMessage, Failures, RawMessage

ALIAS = "sqs-batch"
"""The scheme of Celery's `broker_url`."""
TRANSPORT_ALIASES[ALIAS] = "worker.transport:Transport"

__all__ = [
    "ALIAS",
    "CommandQueue",
    "DeadLetterMessage",
    "Failures",
    "Messages",
    "Options",
    "RawMessage",
    "Transport",
]

"""The transport between SQS and Celery's worker: one or several receives become one task.

The transport owns every receipt handle: it receives in its own threads, keeps messages invisible
while they wait or run, carries out the dispositions that the task returns, and releases the rest at
a shutdown. The task sees messages only. Threads, and what each owns:

- **main** (Celery's event loop): `Channel`, which passes batches to Celery;
- **receiver**, one or more per queue: long polls, into the queue's `Buffer`;
- **acknowledger**, one per queue: `InFlight`, the receipts and the calls each is due for;
- **sender threads**, four per acknowledger: one call at a time each.
"""

from kombu.transport import TRANSPORT_ALIASES

from worker.transport.batching import Messages
from worker.transport.kombu_transport import Transport
from worker.transport.options import Options

ALIAS = "sqs-batch"
"""The scheme of Celery's `broker_url`."""
TRANSPORT_ALIASES[ALIAS] = "worker.transport:Transport"

__all__ = [
    "ALIAS",
    "Messages",
    "Options",
    "Transport",
]

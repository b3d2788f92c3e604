"""Celery application on the real transport, with a handler for tests.

The body of a message says what the handler does with it. It is a JSON object with:
`do` (done, later, dead, raise, hang, exit), `seconds` to take first, `delay`, `code`, `detail`.
The handler appends a line to `RECORD_FILE` when a batch starts and when it ends.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery.signals import worker_init, worker_ready

from adapters.sqs.command_queue import SqsCommandQueue
from application.disposition import (
    Ack,
    DeadLetter,
    Disposition,
    Dispositions,
    ReceivedMessage,
    Retry,
)
from worker import lifecycle
from worker.app import make_app
from worker.request import BatchTask
from worker.settings import load_settings
from worker.transport.channel import TASK


def command_queue(name: str) -> SqsCommandQueue:
    """Return the queue of this name, with the queues of its letters of the settings."""
    settings = load_settings()
    return SqsCommandQueue(name, settings.dead_letter_queue, settings.quarantine_queue)


# Only the transport is tested here: there is no table, no topic and no relay.
worker_init.disconnect(lifecycle.prepare)
worker_ready.disconnect(lifecycle.start_relay)

app = make_app(load_settings())
app.conf.include = []
app.conf.broker_transport_options |= {
    "command_queue_factory": command_queue,
    "wait_seconds": int(os.environ.get("WAIT_SECONDS", "1")),
}


@app.task(base=BatchTask, name=TASK)
def handle_batch(messages: list[ReceivedMessage]) -> Dispositions:
    """Handle each message as its body says."""
    orders = [_order(message) for message in messages]
    _record("start", messages)
    time.sleep(max((order.get("seconds", 0) for order in orders), default=0))
    settlements = tuple(_settle(order) for order in orders)
    _record("end", messages)
    return Dispositions(settlements)


def _order(message: ReceivedMessage) -> dict[str, Any]:
    try:
        order = json.loads(message["body"])
    except ValueError:
        order = None
    return order if isinstance(order, dict) else {"do": "dead", "detail": "not JSON"}


def _settle(order: dict[str, Any]) -> Disposition:
    match order.get("do", "done"):
        case "later":
            return Retry(order["delay"])
        case "dead":
            return DeadLetter(
                order.get("code", "Malformed"), order.get("detail", "-"), order.get("body")
            )
        case "raise":
            raise RuntimeError("as told")
        case "exit":
            os._exit(3)
        case _:
            return Ack()


def _record(event: str, messages: list[ReceivedMessage]) -> None:
    line = {
        "event": event,
        "pid": os.getpid(),
        "at": time.time(),
        "messages": [{**message, "body": message["body"][:200]} for message in messages],
    }
    with Path(os.environ["RECORD_FILE"]).open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")  # one write, as other children write too

"""The floor: bare boto3 that replays this worker's exact calls with prepared payloads.

Nothing is parsed, decided or rendered, and only threads are used: the rest is the cost of botocore
and the network. `floor.py PREPARED THREADS`, with boto3's plain clients.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import boto3
from botocore.config import Config

from adapters.sqs.command_queue import ATTRIBUTES
from benchmarks.contestants.replay import Batch
from benchmarks.contestants.started import prepared_and_threads, variable
from benchmarks.workload import REPEATED, command_id_of

QUEUE_URL, TABLE, TOPIC = (variable(name) for name in ("QUEUE_URL", "TABLE", "TOPIC"))
CONFIG = Config(
    connect_timeout=3, read_timeout=10, max_pool_connections=32, parameter_validation=False
)
"""Finite timeouts, a connection for each thread, and no validation of known payloads: a floor
must be as low as boto3 allows, and this worker does not validate them either."""


class Floor:
    """Makes the six calls of each batch."""

    def __init__(self, prepared: dict[str, Any]) -> None:
        self._prepared = prepared
        self._sqs = boto3.client("sqs", config=CONFIG)
        self._dynamodb = boto3.client("dynamodb", config=CONFIG)
        self._sns = boto3.client("sns", config=CONFIG)

    def run(self) -> None:
        """Process batches forever."""
        while True:
            answer = self._sqs.receive_message(
                QueueUrl=QUEUE_URL,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=5,
                MessageSystemAttributeNames=ATTRIBUTES,  # type: ignore[arg-type]  # their names
            )
            if messages := answer.get("Messages"):
                bodies = [message["Body"] for message in messages]
                self._commit([self._prepared[command_id_of(b)] for b in bodies if b[0] != REPEATED])
                entries = [
                    {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                    for place, message in enumerate(messages)
                ]
                self._sqs.delete_message_batch(QueueUrl=QUEUE_URL, Entries=entries)  # type: ignore[arg-type]  # as above

    def _commit(self, commands: list[dict[str, Any]]) -> None:
        if commands:
            batch = Batch.of(commands, TABLE, TOPIC)
            batch.load(self._dynamodb)
            batch.commit(self._dynamodb)
            batch.publish(self._sns)
            batch.publish_personal(self._sns)
            batch.close(self._dynamodb)


def stop(_signal: int, _frame: FrameType | None) -> None:
    """End at once, whatever the threads do."""
    os._exit(0)


def main() -> None:
    """Load the prepared data and run the threads."""
    signal.signal(signal.SIGTERM, stop)
    prepared, count = prepared_and_threads()
    floor = Floor(json.loads(Path(prepared).read_text()))
    threads = [threading.Thread(target=floor.run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()

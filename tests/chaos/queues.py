"""The harness's own clients of the queues: producer, subscriber and reader of dead letters.

They connect to AWS directly; only the workers' connections are attacked.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Self
from uuid import uuid4

import boto3

from tests.chaos.history import Sent
from tests.chaos.workload import Planned

BATCH = 10
LAST_WORD = 3
"""Empty receives in a row after which a queue counts as empty."""


class Producer:
    """Sends each planned message at its times, as often as planned."""

    def __init__(self, endpoint: str, urls: Mapping[str, str], planned: Sequence[Planned]) -> None:
        """Take the queues by name (`command`, `priority`) and the plan."""
        self._sqs: Any = boto3.client("sqs", endpoint_url=endpoint)
        self._urls = urls
        self._planned = planned
        self._ids: dict[int, list[str]] = defaultdict(list)
        self.failures: list[BaseException] = []

    def run(self, stop: threading.Event) -> None:
        """Send until all messages are sent, or until `stop` is set."""
        try:
            self._run(stop)
        except BaseException as error:  # noqa: BLE001 - the run reports it
            self.failures.append(error)

    def _run(self, stop: threading.Event) -> None:
        began = time.monotonic()
        due = sorted((at, index) for index, each in enumerate(self._planned) for at in each.at)
        while due:
            if stop.wait(max(0.0, began + due[0][0] - time.monotonic())):
                return
            now = time.monotonic() - began
            ready = [index for at, index in due[: 4 * BATCH] if at <= now]
            due = due[len(ready) :]
            for queue, group in groupby(sorted(ready, key=self._queue), key=self._queue):
                self._send(queue, list(group))

    def _queue(self, index: int) -> str:
        return "priority" if self._planned[index].urgent else "command"

    def _send(self, queue: str, indexes: Sequence[int]) -> None:
        for start in range(0, len(indexes), BATCH):
            batch = indexes[start : start + BATCH]
            entries = [self._entry(queue, n, index) for n, index in enumerate(batch)]
            answer = self._sqs.send_message_batch(QueueUrl=self._urls[queue], Entries=entries)
            assert not answer.get("Failed"), answer["Failed"]
            for row in answer["Successful"]:
                self._ids[batch[int(row["Id"])]].append(row["MessageId"])

    def _entry(self, queue: str, number: int, index: int) -> dict[str, str]:
        planned = self._planned[index]
        entry = {"Id": str(number), "MessageBody": planned.body}
        if self._urls[queue].endswith(".fifo"):
            entry["MessageGroupId"] = planned.user_id or "by-address"
            entry["MessageDeduplicationId"] = str(uuid4())  # copies must be delivered too
        return entry

    def sent(self) -> list[Sent]:
        """Return the messages that were sent."""
        return [Sent(self._planned[index], tuple(ids)) for index, ids in sorted(self._ids.items())]


class Listener:
    """A subscriber that receives all messages of its queue, on a thread.

    Use it as a `with` block.
    """

    def __init__(self, endpoint: str, url: str) -> None:
        """Take the URL of the queue that is subscribed to the topic."""
        self._sqs: Any = boto3.client("sqs", endpoint_url=endpoint)
        self._url = url
        self._bodies: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _listen(self) -> None:
        while not self._stop.is_set():
            self._bodies += [row["Body"] for row in take(self._sqs, self._url)]

    def rest(self) -> list[str]:
        """Stop when no more messages arrive; return all bodies, including duplicates."""
        self._stop.set()
        self._thread.join(30)
        return self._bodies + [row["Body"] for row in drain(self._sqs, self._url)]


def take(sqs: Any, url: str) -> list[dict[str, Any]]:
    """Receive up to ten messages, wait up to a second for one, and delete them."""
    rows: list[dict[str, Any]] = sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=BATCH,
        WaitTimeSeconds=1,
        MessageAttributeNames=["All"],
        MessageSystemAttributeNames=["All"],
    ).get("Messages", [])
    if rows:
        entries = [{"Id": str(n), "ReceiptHandle": r["ReceiptHandle"]} for n, r in enumerate(rows)]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return rows


def drain(sqs: Any, url: str) -> list[dict[str, Any]]:
    """Receive and delete all messages of a queue."""
    rows: list[dict[str, Any]] = []
    empty = 0
    while empty < LAST_WORD:
        taken = take(sqs, url)
        rows += taken
        empty = 0 if taken else empty + 1
    return rows

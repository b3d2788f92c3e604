"""The emulators' ceiling: this worker's calls as prepared bytes, over bare sockets.

`ceiling.py PREPARED THREADS`. PREPARED is a JSON list of batches, each a list of requests in
base64, in which the publication is known by its position. Receives and deletes are bare JSON.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contestants.started import prepared_and_threads, variable

QUEUE_URL = variable("QUEUE_URL")
PUBLICATION = 2
"""Position of the first publication in a batch; the requests to SNS are between those to
DynamoDB, of which one comes last."""


class Socket:
    """One connection that sends bytes and reads an HTTP answer."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc)
        self._connection.connect()

    def exchange(self, request: bytes) -> bytes:
        """Send a request; return the answer's content."""
        assert self._connection.sock is not None
        self._connection.sock.sendall(request)
        answer = http.client.HTTPResponse(self._connection.sock, method="POST")
        answer.begin()
        return answer.read()

    def sqs(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Call SQS without signing."""
        body = json.dumps({"QueueUrl": QUEUE_URL, **request}).encode()
        head = (
            f"POST / HTTP/1.1\r\nHost: sqs\r\nX-Amz-Target: AmazonSQS.{operation}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        answer: dict[str, Any] = json.loads(self.exchange(head.encode() + body))
        return answer


def work(batches: Iterator[list[bytes]], lock: threading.Lock) -> None:
    """Receive, replay the next batch and delete, forever."""
    own = Socket(os.environ["AWS_ENDPOINT_URL"])
    dynamodb = Socket(os.environ["AWS_ENDPOINT_URL_DYNAMODB"])
    while True:
        answer = own.sqs("ReceiveMessage", {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 5})
        if messages := answer.get("Messages"):
            with lock:
                requests = next(batches)
            last = len(requests) - 1
            for place, request in enumerate(requests):
                (own if PUBLICATION <= place < last else dynamodb).exchange(request)
            entries = [
                {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                for place, message in enumerate(messages)
            ]
            own.sqs("DeleteMessageBatch", {"Entries": entries})


def stop(_signal: int, _frame: FrameType | None) -> None:
    """End at once, whatever the threads do."""
    os._exit(0)


def main() -> None:
    """Load the requests and run the threads."""
    signal.signal(signal.SIGTERM, stop)
    file, count = prepared_and_threads()
    prepared = json.loads(Path(file).read_text())
    batches = iter([[base64.b64decode(request) for request in batch] for batch in prepared])
    lock = threading.Lock()
    threads = [threading.Thread(target=work, args=(batches, lock)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()

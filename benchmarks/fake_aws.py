"""SQS and SNS in memory, in one process, fast enough not to be what a benchmark measures.

Only what the contestants call: standard queues with long polls and visibility timeouts, and
topics that count what is published. It keeps time of what happens to each command, counts every
call, and can answer as slowly as AWS does. The driver speaks to it below `/_bench/`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from benchmarks.fake_queue import Message, Poll, Queue
from benchmarks.gateway import Gateway, answer_as_empty_table
from benchmarks.wire import HOST, Answer, HttpConnection, operation

JSON = "application/x-amz-json-1.0"
XML = "text/xml"
ACCOUNT = "000000000000"
# in the urlencoded body of a publication: the entries' ids, and the commands that they answer
_ENTRY_ID = re.compile(rb"\.member\.\d+\.Id=([^&]+)")
_CAUSE = re.compile(rb"causationid%22%3A(?:\+|%20)?%22([0-9a-f-]{36})")
_PUBLISHED = "<MessageId>00000000-0000-0000-0000-000000000000</MessageId>"


@dataclass(slots=True)
class Record:
    """What happened since the last reset; times are seconds since the epoch."""

    calls: Counter[str] = field(default_factory=Counter)
    sent_at: dict[str, float] = field(default_factory=dict)
    deleted: int = 0
    last_deleted: float = 0.0
    first_received: float = 0.0
    published: dict[str, float] = field(default_factory=dict)
    """By the command that caused it: when its first event came out."""
    last_published: float = 0.0
    empty_receives: int = 0
    receives: Counter[str] = field(default_factory=Counter)
    """Receives by queue, empty ones too."""
    delay: tuple[float, float] = (0.0, 0.0)
    """The least and the most seconds by which every answer is late."""

    def late(self) -> float:
        """Draw the delay of one answer."""
        return random.uniform(*self.delay)


class FakeAws:
    """The service: reads requests, keeps queues and topics, and tells the driver."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.record = Record()
        self._queues: dict[str, Queue] = {}

    def handle(self, head: bytes, body: bytes, answer: Answer) -> None:
        """Answer one request."""
        path = head.split(b" ", 2)[1].decode()
        if path.startswith("/_bench/"):
            self._tell_driver(path.removeprefix("/_bench/"), json.loads(body or b"{}"), answer)
            return
        name = operation(head)
        late = self._late(answer)
        if name:
            self.record.calls[f"SQS {name}"] += 1
            self._sqs(name, json.loads(body), late)
        else:
            self._sns(body, late)

    def _late(self, answer: Answer) -> Answer:
        if not self.record.delay[1]:
            return answer
        loop = asyncio.get_running_loop()
        return lambda *args: (loop.call_later(self.record.late(), answer, *args), None)[1]

    # --- SQS -------------------------------------------------------------------------------

    def _queue(self, name_or_url: str) -> Queue:
        return self._queues.setdefault(_name(name_or_url), Queue())

    def _sqs(self, name: str, request: dict[str, Any], answer: Answer) -> None:
        def done(result: dict[str, Any] | None = None) -> None:
            answer(json.dumps(result or {}).encode(), JSON)

        queue = self._queue(request.get("QueueUrl", ""))
        entries: list[dict[str, Any]] = request.get("Entries", [request])
        match name.removesuffix("Batch"):
            case "ReceiveMessage":
                self.record.receives[_name(request["QueueUrl"])] += 1
                self._receive(queue, request, done)
                return
            case "DeleteMessage":
                self._deleted(sum(queue.delete(entry["ReceiptHandle"]) for entry in entries))
            case "ChangeMessageVisibility":
                for entry in entries:
                    queue.change_visibility(entry["ReceiptHandle"], entry["VisibilityTimeout"])
            case "SendMessage":
                done(self._sent(queue, entries))
                return
            case "GetQueueUrl":
                done({"QueueUrl": f"{self._url}/{ACCOUNT}/{request['QueueName']}"})
                return
            case "GetQueueAttributes":
                done({"Attributes": {"ApproximateNumberOfMessages": str(queue.depth()["visible"])}})
                return
            case _:
                done({"__type": "com.amazonaws.sqs#UnsupportedOperation"})
                return
        done({"Successful": [{"Id": entry["Id"]} for entry in entries if "Id" in entry]})

    def _deleted(self, count: int) -> None:
        self.record.deleted += count
        self.record.last_deleted = time.time()

    def _receive(
        self, queue: Queue, request: dict[str, Any], done: Callable[[dict[str, Any]], None]
    ) -> None:
        def give(messages: list[Message]) -> None:
            if messages:
                self.record.first_received = self.record.first_received or time.time()
            else:
                self.record.empty_receives += 1
            done({"Messages": [_received(message) for message in messages]} if messages else {})

        poll = Poll(request.get("MaxNumberOfMessages", 1), give)
        if not queue.receive(poll):
            wait = request.get("WaitTimeSeconds", 0)
            asyncio.get_running_loop().call_later(wait, queue.give_up, poll)

    def _sent(self, queue: Queue, entries: list[dict[str, Any]]) -> dict[str, Any]:
        messages = queue.send(entry["MessageBody"] for entry in entries)
        results = [{"MessageId": m.message_id, "MD5OfMessageBody": m.md5} for m in messages]
        self.record.sent_at.update((m.message_id, m.sent_at) for m in messages)
        if "Id" not in entries[0]:
            return results[0]
        ids = [entry["Id"] for entry in entries]
        return {"Successful": [r | {"Id": i} for r, i in zip(results, ids, strict=True)]}

    # --- SNS -------------------------------------------------------------------------------

    def _sns(self, body: bytes, answer: Answer) -> None:
        name = dict(parse_qsl(body[:64].decode(), strict_parsing=False)).get("Action", "")
        self.record.calls[f"SNS {name}"] += 1
        result = ""
        if name.startswith("Publish"):
            now = self.record.last_published = time.time()
            for cause in _CAUSE.findall(body):
                self.record.published.setdefault(cause.decode(), now)
            ids = [entry.decode() for entry in _ENTRY_ID.findall(body)]
            members = "".join(f"<member><Id>{i}</Id>{_PUBLISHED}</member>" for i in ids)
            result = f"<Failed/><Successful>{members}</Successful>" if ids else _PUBLISHED
        elif name == "ListTopics":
            arn = f"arn:aws:sns:us-east-1:{ACCOUNT}:user-events"
            result = f"<Topics><member><TopicArn>{arn}</TopicArn></member></Topics>"
        xml = f"<{name}Response><{name}Result>{result}</{name}Result></{name}Response>"
        answer(xml.encode(), XML)

    # --- the driver --------------------------------------------------------------------------

    def _tell_driver(self, what: str, request: dict[str, Any], answer: Answer) -> None:
        record = self.record
        result: dict[str, Any] = {}
        match what:
            case "load":
                messages = self._queue(request["queue"]).send(request["bodies"])
                result = {"sent_at": messages[0].sent_at}
            case "reset":
                self._reset(tuple(request.get("delay", (0.0, 0.0))))
            case "progress":
                published = len(record.published)
                depth = self._queue(request["queue"]).depth()
                result = {"deleted": record.deleted, "published": published, **depth}
            case "record":
                names = ("calls", "deleted", "last_deleted", "first_received", "published")
                more = ("last_published", "empty_receives", "receives", "sent_at")
                result = {name: getattr(record, name) for name in names + more}
        answer(json.dumps(result).encode(), JSON)

    def _reset(self, delay: tuple[float, float]) -> None:
        for name, value in ((f, getattr(Record(), f)) for f in Record.__slots__):
            setattr(self.record, name, value)
        self.record.delay = delay


def _name(name_or_url: str) -> str:
    return name_or_url.rpartition("/")[2]


def _received(message: Message) -> dict[str, Any]:
    return {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": message.md5,
        "Body": message.body,
        "Attributes": {
            "ApproximateReceiveCount": str(message.receives),
            "SentTimestamp": str(int(message.sent_at * 1000)),
        },
    }


async def serve(port: int, gateway_port: int, dynamodb_port: int) -> None:
    """Serve SQS and SNS on `port`, and DynamoDB through a counting gateway, until cancelled.

    With a `dynamodb_port` of 0 the gateway answers by itself, as an empty table would.
    """
    aws = FakeAws(f"http://{HOST}:{port}")
    loop = asyncio.get_running_loop()

    def empty_table(head: bytes, _body: bytes, answer: Answer) -> None:
        aws.record.calls[f"DynamoDB {operation(head)}"] += 1
        answer_as_empty_table(operation(head), aws._late(answer))  # noqa: SLF001 - one program

    def gateway() -> asyncio.Protocol:
        if dynamodb_port:
            return Gateway(dynamodb_port, aws.record)
        return HttpConnection(empty_table)

    await loop.create_server(lambda: HttpConnection(aws.handle), HOST, port)
    server = await loop.create_server(gateway, HOST, gateway_port)
    await server.serve_forever()


def main() -> None:
    """Read the ports from the command line, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("port", "gateway_port", "dynamodb_port"):
        parser.add_argument(name, type=int)
    ports = parser.parse_args()
    asyncio.run(serve(ports.port, ports.gateway_port, ports.dynamodb_port))


if __name__ == "__main__":
    main()

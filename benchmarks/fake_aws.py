"""Serve SQS, SNS and empty DynamoDB tables in one process, faster than what is measured.

Only what provisioning and the contestants call: standard queues with long polls, visibility
timeouts and stored attributes, and topics that count what is published. A queue or topic that was
not created is an error, as on AWS. The server records when each command was sent, deleted and
answered by an event, counts every call, and can answer as slowly as AWS does. The driver calls it
under `/_bench/`.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from benchmarks.arguments import OneLineParser, errors_in_one_line, whole_number
from benchmarks.fake_queue import Message, Poll, Queue
from benchmarks.gateway import EmptyTables, Gateway
from benchmarks.wire import HOST, Answer, HttpConnection, operation

JSON = "application/x-amz-json-1.0"
XML = "text/xml"
ACCOUNT = "000000000000"
REGION = "us-east-1"
# In the urlencoded body of a publication: the entries' ids, and the commands that caused them.
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
    """Time of the first event of each command, by command id."""
    last_published: float = 0.0
    arrived_at: dict[str, float] = field(default_factory=dict)
    """Time at which each scheduled command was sent, by command id."""
    empty_receives: int = 0
    receives: Counter[str] = field(default_factory=Counter)
    """Receives by queue, including empty ones."""
    delay: tuple[float, float] = (0.0, 0.0)
    """Minimum and maximum delay of every answer, in seconds."""

    def late(self) -> float:
        """Draw the delay of one answer."""
        return random.uniform(*self.delay)


class FakeAws:
    """The service: handles requests, keeps queues and topics, and reports to the driver."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.record = Record()
        self._queues: dict[str, Queue] = {}
        self._topics: set[str] = set()
        self._tables = EmptyTables()

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

    def empty_tables(self, head: bytes, body: bytes, answer: Answer) -> None:
        """Answer one request to DynamoDB, whose tables are and stay empty."""
        name = operation(head)
        self.record.calls[f"DynamoDB {name}"] += 1
        self._tables.answer(name, body, self._late(answer))

    def _late(self, answer: Answer) -> Answer:
        if not self.record.delay[1]:
            return answer
        loop = asyncio.get_running_loop()
        return lambda *args: (loop.call_later(self.record.late(), answer, *args), None)[1]

    # --- SQS -------------------------------------------------------------------------------

    def _sqs(self, name: str, request: dict[str, Any], answer: Answer) -> None:
        def done(result: dict[str, Any]) -> None:
            answer(json.dumps(result).encode(), JSON)

        queue_name = request.get("QueueName") or _name(request.get("QueueUrl", ""))
        if name == "CreateQueue":
            self._queues.setdefault(queue_name, Queue(attributes=request.get("Attributes", {})))
        queue = self._queues.get(queue_name)
        if queue is None:
            done({"__type": "com.amazonaws.sqs#QueueDoesNotExist"})
        elif name in {"CreateQueue", "GetQueueUrl"}:
            done({"QueueUrl": f"{self._url}/{ACCOUNT}/{queue_name}"})
        elif name == "GetQueueAttributes":
            done({"Attributes": _attributes(queue_name, queue)})
        elif name == "ReceiveMessage":
            self.record.receives[queue_name] += 1
            self._receive(queue, request, done)
        else:
            done(self._on_messages(name, queue, request.get("Entries", [request])))

    def _on_messages(
        self, name: str, queue: Queue, entries: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Apply an operation, or its batch form, to each of its entries."""
        match name.removesuffix("Batch"):
            case "DeleteMessage":
                self._deleted(sum(queue.delete(entry["ReceiptHandle"]) for entry in entries))
            case "ChangeMessageVisibility":
                for entry in entries:
                    queue.change_visibility(entry["ReceiptHandle"], entry["VisibilityTimeout"])
            case "SendMessage":
                return self._sent(queue, entries)
            case _:
                return {"__type": "com.amazonaws.sqs#UnsupportedOperation"}
        return {"Successful": [{"Id": entry["Id"]} for entry in entries if "Id" in entry]}

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

    def _sent(self, queue: Queue, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        messages = queue.send(entry["MessageBody"] for entry in entries)
        results = [{"MessageId": m.message_id, "MD5OfMessageBody": m.md5} for m in messages]
        self.record.sent_at.update((m.message_id, m.sent_at) for m in messages)
        if "Id" not in entries[0]:
            return results[0]
        ids = [entry["Id"] for entry in entries]
        return {"Successful": [r | {"Id": i} for r, i in zip(results, ids, strict=True)]}

    # --- SNS -------------------------------------------------------------------------------

    def _sns(self, body: bytes, answer: Answer) -> None:
        name = parse_qs(body[:64].decode()).get("Action", [""])[0]
        self.record.calls[f"SNS {name}"] += 1
        if name.startswith("Publish"):  # matched by patterns: parsing would cost more than the rest
            result: str | None = self._publish(body)
        else:
            result = self._topic(name, parse_qs(body.decode()))
        if result is None:
            code = "NotFound" if name == "GetTopicAttributes" else "InvalidAction"
            xml = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"
        else:
            xml = f"<{name}Response><{name}Result>{result}</{name}Result></{name}Response>"
        answer(xml.encode(), XML)

    def _publish(self, body: bytes) -> str:
        now = self.record.last_published = time.time()
        for cause in _CAUSE.findall(body):
            self.record.published.setdefault(cause.decode(), now)
        ids = [entry.decode() for entry in _ENTRY_ID.findall(body)]
        members = "".join(f"<member><Id>{i}</Id>{_PUBLISHED}</member>" for i in ids)
        return f"<Failed/><Successful>{members}</Successful>" if ids else _PUBLISHED

    def _topic(self, name: str, request: dict[str, list[str]]) -> str | None:
        """Return the result of a call about topics; None for a refused call."""
        if name == "CreateTopic":
            arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:{request['Name'][0]}"
            self._topics.add(arn)
            return f"<TopicArn>{arn}</TopicArn>"
        if name == "ListTopics":
            members = "".join(
                f"<member><TopicArn>{arn}</TopicArn></member>" for arn in sorted(self._topics)
            )
            return f"<Topics>{members}</Topics>"
        arn = request.get("TopicArn", [""])[0]
        if name == "GetTopicAttributes" and arn in self._topics:
            entry = f"<entry><key>TopicArn</key><value>{arn}</value></entry>"
            return f"<Attributes>{entry}</Attributes>"
        return None

    # --- the driver --------------------------------------------------------------------------

    def _tell_driver(self, what: str, request: dict[str, Any], answer: Answer) -> None:
        record = self.record
        result: dict[str, Any] = {}
        match what:
            case "load":
                messages = self._queues[request["queue"]].send(request["bodies"])
                result = {"sent_at": messages[0].sent_at}
            case "schedule":
                queue = self._queues[request["queue"]]
                for seconds, command_id, body in request["arrivals"]:
                    loop = asyncio.get_running_loop()
                    loop.call_later(seconds, self._arrive, queue, command_id, body)
                result = {"sent_at": time.time()}
            case "reset":
                self._reset(tuple(request.get("delay", (0.0, 0.0))))
            case "progress":
                published = len(record.published)
                depth = self._queues[request["queue"]].depth()
                result = {"deleted": record.deleted, "published": published, **depth}
            case "record":
                names = ("calls", "deleted", "last_deleted", "first_received", "published")
                more = ("last_published", "empty_receives", "receives", "sent_at", "arrived_at")
                result = {name: getattr(record, name) for name in names + more}
        answer(json.dumps(result).encode(), JSON)

    def _arrive(self, queue: Queue, command_id: str, body: str) -> None:
        self.record.arrived_at[command_id] = queue.send([body])[0].sent_at

    def _reset(self, delay: tuple[float, float]) -> None:
        for name, value in ((f, getattr(Record(), f)) for f in Record.__slots__):
            setattr(self.record, name, value)
        self.record.delay = delay


def _name(name_or_url: str) -> str:
    return name_or_url.rpartition("/")[2]


def _attributes(name: str, queue: Queue) -> dict[str, str]:
    depth = queue.depth()
    return {
        **queue.attributes,
        "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}",
        "ApproximateNumberOfMessages": str(depth["visible"]),
        "ApproximateNumberOfMessagesNotVisible": str(depth["invisible"]),
    }


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

    With a `dynamodb_port` of 0 the gateway answers by itself, like an empty table.
    """
    aws = FakeAws(f"http://{HOST}:{port}")
    loop = asyncio.get_running_loop()

    def gateway() -> asyncio.Protocol:
        if dynamodb_port:
            return Gateway(dynamodb_port, aws.record)
        return HttpConnection(aws.empty_tables)

    await loop.create_server(lambda: HttpConnection(aws.handle), HOST, port)
    server = await loop.create_server(gateway, HOST, gateway_port)
    await server.serve_forever()


def main() -> None:
    """Parse the ports of the command line, and serve until interrupted."""
    parser = OneLineParser(prog="python -m benchmarks.fake_aws", description=__doc__)
    port = whole_number(1, 65_535)
    parser.add_argument("port", type=port, help="port of SQS and SNS")
    parser.add_argument("gateway_port", type=port, help="port of the gateway to DynamoDB")
    parser.add_argument(
        "dynamodb_port",
        type=whole_number(0, 65_535),
        help="port of DynamoDB; 0: the gateway answers like an empty table",
    )
    ports = parser.parse_args()
    with errors_in_one_line(parser.prog):
        asyncio.run(serve(ports.port, ports.gateway_port, ports.dynamodb_port))


if __name__ == "__main__":
    main()

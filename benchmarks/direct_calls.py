"""Measure the processor time of each call of a batch: this worker's clients and plain boto3.

`python -m benchmarks.direct_calls [CALLS]`: the six calls of ten registrations, answered by a
server in another process; both kinds of client take turns, and a figure is the median of them.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from hashlib import md5
from statistics import median
from typing import Any
from uuid import uuid4

import boto3

from adapters.aws import client as aws
from adapters.aws.fast_calls import use_fast_calls
from benchmarks.arguments import OneLineParser, errors_in_one_line, whole_number
from benchmarks.contestants.replay import Batch
from benchmarks.gateway import JSON, answer_as_empty_table
from benchmarks.prepared import Recorder
from benchmarks.wire import HOST, Answer, HttpConnection, operation
from benchmarks.workload import as_cloud_event, register
from worker import logs

TABLE, TOPIC = "users", "arn:aws:sns:us-east-1:000000000000:user-events"
BATCH, TURNS, CALLS = 10, 10, 2_000
SENDER = "AROABENCHMARKPRODUCER"
"""The principal of all messages."""
PUBLISHED = "".join(
    f"<member><Id>{place}</Id><MessageId>{uuid4()}</MessageId></member>" for place in range(BATCH)
)
XML = (
    "<PublishBatchResponse><PublishBatchResult><Failed/><Successful>"
    f"{PUBLISHED}</Successful></PublishBatchResult></PublishBatchResponse>"
)


def message(body: str) -> dict[str, Any]:
    """Create a message as SQS returns it, sent now: an older command may be expired."""
    return {
        "MessageId": str(uuid4()),
        "ReceiptHandle": "AQEB" + uuid4().hex * 12,
        "MD5OfBody": md5(body.encode(), usedforsecurity=False).hexdigest(),
        "Body": body,
        "Attributes": {
            "ApproximateReceiveCount": "1",
            "SenderId": f"{SENDER}:benchmark",
            "SentTimestamp": str(int(time.time() * 1000)),
        },
    }


def serve(listener: socket.socket, messages: list[dict[str, Any]]) -> None:
    """Answer the six calls forever."""
    received = json.dumps({"Messages": messages}).encode()
    deleted = [{"Id": str(place)} for place in range(BATCH)]

    def handle(head: bytes, _body: bytes, answer: Answer) -> None:
        match operation(head):
            case "":
                answer(XML.encode(), "text/xml")
            case "ReceiveMessage":
                answer(received, JSON)
            case "DeleteMessageBatch":
                answer(json.dumps({"Successful": deleted, "Failed": []}).encode(), JSON)
            case name:
                answer_as_empty_table(name, answer)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: HttpConnection(handle), sock=listener)
        await server.serve_forever()

    asyncio.run(run())


def calls(batch: Batch, messages: list[dict[str, Any]]) -> dict[str, Callable[..., object]]:
    """Return the six calls by name; each takes a client of each service."""
    queue = f"http://{HOST}/000000000000/user-commands"
    entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(messages)]
    return {
        "ReceiveMessage": lambda _, __, sqs: sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=BATCH, WaitTimeSeconds=20
        ),
        "BatchGetItem": lambda dynamodb, _, __: batch.load(dynamodb),
        "TransactWriteItems": lambda dynamodb, _, __: batch.commit(dynamodb),
        "PublishBatch": lambda _, sns, __: batch.publish(sns),
        "DeleteItem": lambda dynamodb, _, __: batch.close(dynamodb),
        "DeleteMessageBatch": lambda _, __, sqs: sqs.delete_message_batch(
            QueueUrl=queue, Entries=entries
        ),
    }


def measure(call: Callable[..., object], kinds: list[list[Any]], count: int) -> list[float]:
    """Return a call's milliseconds of processor time with each kind of clients."""
    times: list[list[float]] = [[] for _ in kinds]
    for clients in kinds:
        for _ in range(20):
            call(*clients)
    for _ in range(TURNS):
        for clients, taken in zip(kinds, times, strict=True):
            began = time.process_time()
            for _ in range(count // TURNS):
                call(*clients)
            taken.append((time.process_time() - began) / (count // TURNS) * 1000)
    return [median(each) for each in times]


def main() -> None:
    """Measure, and print a table."""
    parser = OneLineParser(prog="python -m benchmarks.direct_calls", description=__doc__)
    parser.add_argument(
        "calls",
        nargs="?",
        type=whole_number(TURNS),
        default=CALLS,
        help="number of calls of each kind",
    )
    count = parser.parse_args().calls
    with errors_in_one_line(parser.prog):
        _measure_all(count)


def _measure_all(count: int) -> None:
    logs.configure("json", "ERROR")
    commands = register(BATCH)
    messages = [message(as_cloud_event(command)) for command in commands]
    batch = Batch.of(list(Recorder(TABLE, TOPIC).record(commands).values()), TABLE, TOPIC)
    listener = socket.create_server((HOST, 0))  # bound here, so that no call comes too early
    os.environ["AWS_ENDPOINT_URL"] = f"http://{HOST}:{listener.getsockname()[1]}"
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(listener, messages))
    server.start()
    try:
        services: Any = ("dynamodb", "sns", "sqs")
        plain = [boto3.client(service, config=aws.config()) for service in services]
        ours = [aws.client(service) for service in services]
        for client in ours:
            use_fast_calls(client)
        print(f"ms of processor time a call, median of {TURNS} turns of {count // TURNS}\n")
        print("| call | boto3 | this worker's client |\n|---|---|---|")
        total = [0.0, 0.0]
        for name, call in calls(batch, messages).items():
            found = measure(call, [plain, ours], count)
            total = [sum(pair) for pair in zip(total, found, strict=True)]
            print(f"| {name} | {found[0]:.2f} | {found[1]:.2f} |", flush=True)
        print(f"| all six | {total[0]:.2f} | {total[1]:.2f} |")
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()

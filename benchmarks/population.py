"""Tables with many users, as this worker would have stored them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from adapters.dynamodb.reads import key_of
from benchmarks.prepared import Recorder
from benchmarks.workload import Command, register

THREADS = 4
REQUESTS = 25
"""Items per BatchWriteItem."""
KNOWN = 5_000
"""Approximate number of users to remember."""
HEADERS = {
    "X-Amz-Target": "DynamoDB_20120810.BatchWriteItem",
    "Content-Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=benchmark/20260101/us-east-1/dynamodb/"
    "aws4_request, SignedHeaders=host, Signature=0",  # DynamoDB Local checks the form only
}


def populate(url: str, table: str, count: int) -> list[Command]:
    """Store users and their addresses; return some users from the whole range."""
    known: list[Command] = []
    [template] = register(1)
    items = _items_of(template)

    def puts() -> Iterator[str]:
        for number in range(count):
            [user] = register(1, f"user.{number}")
            if number % max(1, count // KNOWN) == 0:
                known.append(user)
            for item in items:
                yield '{"PutRequest":{"Item":' + _for(item, template, user) + "}}"

    left, lock = puts(), threading.Lock()
    threads = [
        threading.Thread(target=_send, args=(url, table, left, lock)) for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return known


def _items_of(user: Command) -> list[str]:
    """Return the items of a user and the address as text, as this worker writes them."""
    [recorded] = (
        Recorder("template", "arn:aws:sns:us-east-1:000000000000:none").record([user]).values()
    )
    items = [action["Put"]["Item"] for action in recorded["actions"]]
    return [json.dumps(item) for item in items if key_of(item).sort in {"USER", "EMAIL"}]


def _for(item: str, template: Command, user: Command) -> str:
    return item.replace(template.user_id, user.user_id).replace(
        template.data["email"], user.data["email"]
    )


def _send(url: str, table: str, puts: Iterator[str], lock: threading.Lock) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    while True:
        with lock:
            part: Sequence[str] = list(islice(puts, REQUESTS))
        if not part:
            return
        body = f'{{"RequestItems":{{"{table}":[{",".join(part)}]}}}}'
        connection.request("POST", "/", body, HEADERS)
        answer: dict[str, Any] = json.load(connection.getresponse())
        if answer.get("UnprocessedItems") != {}:
            raise SystemExit(f"bench: the table could not be filled: {answer}")

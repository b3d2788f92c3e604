"""An AWS in this process with a dead-letter queue, and `user-worker dlq` on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import boto3
import pytest
from moto import mock_aws

from adapters.sqs.dead_letter_queue import DeadLetterQueue
from adapters.sqs.dead_letters import ORIGINAL_ID, QUARANTINED, REDACTED
from application.messages import MalformedMessageError, Redactor, UnknownTypeError
from cli.app import run
from tests.unit.application.messages.examples import PARSER, message


@contextmanager
def mocked() -> Iterator[None]:
    """Run an AWS like Amazon's in this process, in which receives do not wait for dead letters."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        defaults = DeadLetterQueue.__init__.__kwdefaults__ or {}
        patch.setattr(DeadLetterQueue.__init__, "__kwdefaults__", {**defaults, "wait": 0})
        yield


class Done(NamedTuple):
    """Result of a command line."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the JSON lines that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


class World:
    """Queues for one test, and the command line on them."""

    def __init__(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        *,
        fifo: bool = False,
    ) -> None:
        """Create the queues."""
        self.sqs: Any = boto3.client("sqs")
        self._capsys = capsys
        self._fifo = fifo
        self.urls: dict[str, str] = {}
        self.commands, self.other, self.dead_letters, self.quarantine = (
            self._queue(name) for name in ("commands", "other", "dlq", "quarantine")
        )
        monkeypatch.setenv("USER_WORKER_COMMAND_QUEUE", self.commands)
        monkeypatch.setenv("USER_WORKER_DEAD_LETTER_QUEUE", self.dead_letters)
        monkeypatch.setenv("USER_WORKER_QUARANTINE_QUEUE", self.quarantine)

    def _queue(self, what: str) -> str:
        name = f"{what}-{uuid4().hex[:12]}" + (".fifo" if self._fifo else "")
        attributes = {"FifoQueue": "true"} if self._fifo else {}
        made = self.sqs.create_queue(QueueName=name, Attributes=attributes)
        self.urls[name] = made["QueueUrl"]
        return name

    def letter(
        self, code: str | None = "NotJson", body: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """Put a dead letter on the queue as the worker would."""
        told = {
            "error_code": code,
            "error_detail": more.pop("detail", "data.x: is missing"),
            "original_message_id": str(uuid4()),
            "original_queue": more.pop("queue", self.commands),
            "redrive_count": more.pop("redrives", None),
            **more.pop("attributes", {}),
        }
        reason = {
            name: {"DataType": "String", "StringValue": value}
            for name, value in told.items()
            if value
        }
        if self._fifo:
            more = {"MessageGroupId": "g", "MessageDeduplicationId": str(uuid4())} | more
        body = body or command()
        sent = self.sqs.send_message(
            QueueUrl=self.urls[self.dead_letters],
            MessageBody=body,
            MessageAttributes=reason if code else {},
            **more,
        )
        return {"message_id": sent["MessageId"], "body": body}

    def original(self, message_id: str, body: str) -> None:
        """Put an original on the quarantine queue as the worker would."""
        unique = {"MessageDeduplicationId": str(uuid4())} if self._fifo else {}
        self.sqs.send_message(
            QueueUrl=self.urls[self.quarantine],
            MessageBody=body,
            MessageGroupId=message_id,
            MessageAttributes={
                "original_message_id": {"DataType": "String", "StringValue": message_id}
            },
            **unique,
        )

    def waiting(self, name: str = "") -> list[dict[str, Any]]:
        """Receive and delete all messages of a queue."""
        rows: list[dict[str, Any]] = []
        while got := self.sqs.receive_message(
            QueueUrl=self.urls[name or self.commands],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages", ()):
            rows += got
            for row in got:
                self.sqs.delete_message(
                    QueueUrl=self.urls[name or self.commands], ReceiptHandle=row["ReceiptHandle"]
                )
        return rows

    def dead(self) -> list[str]:
        """Return the bodies of the visible dead letters, and delete them."""
        return [row["Body"] for row in self.waiting(self.dead_letters)]

    def dlq(self, *words: str) -> Done:
        """Run `user-worker dlq`."""
        self._capsys.readouterr()
        code = run(["dlq", *words])
        captured = self._capsys.readouterr()
        return Done(code, captured.out, captured.err)


def command(name: str = "UnbanUser", **data: object) -> str:
    """Render the body of a command."""
    attributes = {"specversion": "1.0", "id": str(uuid4()), "source": "/x", "subject": str(uuid4())}
    return json.dumps({**attributes, "type": f"biome.user.{name}.v1", "data": data})


Message = tuple[str, dict[str, str]]
"""A body, and the message attributes with it."""


class DeadLettered(NamedTuple):
    """The letters and originals that the worker sends for dead-lettered messages."""

    letters: list[Message]
    originals: list[Message]


def dead_lettered(texts: Iterable[str]) -> DeadLettered:
    """Redact bodies as the worker does, and state the reason of each."""
    written = DeadLettered([], [])
    for text in texts:
        redacted = Redactor(["customer"]).redact(text)
        attributes = {ORIGINAL_ID: str(uuid4()), **_reason(text)}
        if redacted is None:
            written.letters.append((text, attributes))
        else:
            written.originals.append((text, attributes))
            written.letters.append((redacted.body, attributes | {QUARANTINED: REDACTED}))
    return written


def _reason(text: str) -> dict[str, str]:
    try:
        PARSER.parse(message(text))
    except MalformedMessageError as error:
        return {"error_code": error.code, "error_detail": error.detail}
    except UnknownTypeError as error:
        return {"error_code": "UnknownType", "error_detail": error.detail}
    return {"error_code": "Unavailable", "error_detail": "the store did not answer"}


def in_entries(messages: list[Message]) -> Iterator[list[Any]]:
    """Yield the entries of calls that send messages, ten in a call."""
    for start in range(0, len(messages), 10):
        yield [
            {
                "Id": str(number),
                "MessageBody": body,
                "MessageAttributes": {
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                },
            }
            for number, (body, attributes) in enumerate(messages[start:][:10])
        ]

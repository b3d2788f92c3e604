"""The requests of this worker's batches as botocore would send them, byte by byte."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.contestants.replay import Batch

BATCH = 10


class _CapturedError(Exception):
    """Ends a call before it is sent."""


class _Camera:
    """A client whose calls are captured instead of sent."""

    def __init__(self, service: str, endpoint: str) -> None:
        config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
        self._client: Any = boto3.client(service, endpoint_url=endpoint, config=config)  # type: ignore[call-overload]  # by name
        self._client.meta.events.register("before-send", self._take)
        self._request = b""

    def of(self, call: Callable[[Any], None]) -> bytes:
        """Return the bytes of a call of the client."""
        try:
            call(self._client)
        except _CapturedError:
            return self._request
        raise AssertionError("the call was sent")

    def _take(self, request: Any, **_: Any) -> None:
        headers = {**request.headers, "Host": "aws"}
        lines = [f"{name}: {_text(value)}" for name, value in headers.items()]
        body = request.body if isinstance(request.body, bytes) else request.body.encode()
        self._request = "\r\n".join(["POST / HTTP/1.1", *lines, "", ""]).encode() + body
        raise _CapturedError


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def raw_batches(
    commands: Sequence[dict[str, Any]], table: str, topic: str, endpoint: str
) -> Iterator[list[str]]:
    """Yield each batch of ten as requests in base64: get, transact, publish, delete."""
    dynamodb, sns = _Camera("dynamodb", endpoint), _Camera("sns", endpoint)
    for start in range(0, len(commands), BATCH):
        batch = Batch.of(commands[start : start + BATCH], table, topic)
        personal = [sns.of(batch.publish_personal)] if batch.personal_entries else []
        calls = (
            dynamodb.of(batch.load),
            dynamodb.of(batch.commit),
            sns.of(batch.publish),
            *personal,
            dynamodb.of(batch.close),
        )
        yield [base64.b64encode(call).decode() for call in calls]

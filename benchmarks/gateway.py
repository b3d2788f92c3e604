"""The server in front of DynamoDB in the benchmark: it counts calls, and can delay them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, Protocol

from benchmarks.wire import HOST, Answer, operation

JSON = "application/x-amz-json-1.0"
_EMPTY = {
    "BatchGetItem": b'{"Responses":{},"UnprocessedKeys":{}}',
    "Query": b'{"Items":[],"Count":0,"ScannedCount":0}',
}
_ON_TABLES = frozenset(
    {"CreateTable", "DeleteTable", "DescribeTable", "DescribeTimeToLive", "UpdateTimeToLive"}
)


class EmptyTables:
    """Tables that accept every write and store none; they can be created, described and deleted."""

    def __init__(self) -> None:
        self._descriptions: dict[str, dict[str, Any]] = {}
        self._expiry: dict[str, dict[str, Any]] = {}

    def answer(self, name: str, body: bytes, answer: Answer) -> None:
        """Answer an operation of DynamoDB."""
        if name in _ON_TABLES:
            answer(json.dumps(self._on_table(name, json.loads(body))).encode(), JSON)
        else:
            answer_as_empty_table(name, answer)

    def _on_table(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        table = request["TableName"]
        if name == "CreateTable":
            self._descriptions[table] = _description(request)
            return {"TableDescription": self._descriptions[table]}
        if table not in self._descriptions:
            return {"__type": "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"}
        match name:
            case "UpdateTimeToLive":
                specification = request["TimeToLiveSpecification"]
                self._expiry[table] = {
                    "TimeToLiveStatus": "ENABLED",
                    "AttributeName": specification["AttributeName"],
                }
                return {"TimeToLiveSpecification": specification}
            case "DescribeTimeToLive":
                off = {"TimeToLiveStatus": "DISABLED"}
                return {"TimeToLiveDescription": self._expiry.get(table, off)}
            case "DeleteTable":
                self._expiry.pop(table, None)
                return {"TableDescription": self._descriptions.pop(table)}
        return {"Table": self._descriptions[table]}


def _description(request: dict[str, Any]) -> dict[str, Any]:
    """Return DynamoDB's description of a table that a request created."""
    definition = {k: v for k, v in request.items() if k not in {"BillingMode", "Tags"}}
    return {
        **definition,
        "TableStatus": "ACTIVE",
        "TableArn": f"arn:aws:dynamodb:us-east-1:000000000000:table/{request['TableName']}",
        "BillingModeSummary": {"BillingMode": request.get("BillingMode", "PROVISIONED")},
    }


class CallRecord(Protocol):
    """Counts calls, and sets the delay of their answers."""

    calls: Counter[str]

    def late(self) -> float:
        """Draw the delay of one answer in seconds."""
        ...


def answer_as_empty_table(name: str, answer: Answer) -> None:
    """Answer like a table that is empty and accepts every write: correct for new users."""
    answer(_EMPTY.get(name, b"{}"), JSON)


class Gateway(asyncio.Protocol):
    """Forwards one client's connection to DynamoDB, byte by byte.

    HTTP clients wait for an answer before they send the next request, so a request begins with the
    first bytes after an answer.
    """

    def __init__(self, port: int, record: CallRecord) -> None:
        self._port = port
        self._record = record
        self._client: asyncio.Transport | None = None
        self._upstream: asyncio.Transport | None = None
        self._waiting: list[bytes] = []
        self._held = False
        self._answered = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to DynamoDB for this client."""
        assert isinstance(transport, asyncio.Transport)
        self._client = transport
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: _Upstream(self), HOST, self._port)
        self._upstream = transport
        self._pass_on()

    def data_received(self, data: bytes) -> None:
        """Count a request, and forward it at once or delayed."""
        if self._answered:
            self._answered = False
            self._record.calls[f"DynamoDB {operation(data)}"] += 1
            if late := self._record.late():
                self._held = True
                asyncio.get_running_loop().call_later(late, self._let_go)
        self._waiting.append(data)
        self._pass_on()

    def _let_go(self) -> None:
        self._held = False
        self._pass_on()

    def _pass_on(self) -> None:
        if self._upstream is not None and not self._held:
            self._upstream.write(b"".join(self._waiting))
            self._waiting.clear()

    def answer(self, data: bytes) -> None:
        """Forward DynamoDB's answer."""
        self._answered = True
        if self._client is not None:
            self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Close the connection to DynamoDB."""
        self._client = None
        if self._upstream is not None:
            self._upstream.close()

    def upstream_lost(self) -> None:
        """Close the client's connection."""
        if self._client is not None:
            self._client.close()


class _Upstream(asyncio.Protocol):
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def data_received(self, data: bytes) -> None:
        self._gateway.answer(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._gateway.upstream_lost()

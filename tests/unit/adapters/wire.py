"""A client with scripted answers in place of the network."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from adapters.aws import client as aws

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Answer: TypeAlias = "AWSResponse | Exception"


class _Raw:
    """The body of an answer, in the form of urllib3."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: object, **__: object) -> list[bytes]:
        return [self._body]


def answer(body: Any = None, status: int = 200) -> AWSResponse:
    """Return an answer of DynamoDB."""
    headers: Any = {"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": "ID"}
    return AWSResponse("https://dynamodb", status, headers, _Raw(json.dumps(body or {}).encode()))


def page(body: bytes, status: int) -> AWSResponse:
    """Return an answer that is not from DynamoDB but from a proxy."""
    headers: Any = {"content-type": "text/html"}
    return AWSResponse("https://dynamodb", status, headers, _Raw(body))


def error(code: str, status: int = 400, **members: Any) -> AWSResponse:
    """Return DynamoDB's answer with an error."""
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return answer({"__type": kind, "message": "no", **members}, status)


def cancelled(*codes: str) -> AWSResponse:
    """Return the answer of a cancelled transaction, with a code for each action."""
    reasons = [{"Code": code} for code in codes]
    return error("TransactionCanceledException", CancellationReasons=reasons)


@cache
def _session() -> boto3.session.Session:
    """Return a session that shares the service description, which is slow to read."""
    return boto3.session.Session(region_name="us-east-1")


class Wire:
    """Returns the scripted answers in turn, then those of `rest`; records the requests."""

    def __init__(self, *answers: Answer, rest: Callable[[], Answer] = answer) -> None:
        self._answers = list(answers)
        self._rest = rest
        self.requests: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.client: DynamoDBClient = _session().client("dynamodb", config=aws.config())
        events: Any = self.client.meta.events
        events.register("before-send.dynamodb", self._send)

    def _send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        body: Any = request.body
        self.requests.append(json.loads(body))
        target: Any = request.headers["X-Amz-Target"]
        self.operations.append(target.decode().rpartition(".")[2])
        found = self._answers.pop(0) if self._answers else self._rest()
        if isinstance(found, Exception):
            raise found
        return found

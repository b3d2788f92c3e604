"""A client whose answers are scripted at the place where botocore would send a request."""

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
    """The body of an answer, as urllib3 gives it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: object, **__: object) -> list[bytes]:
        return [self._body]


def answer(body: Any = None, status: int = 200) -> AWSResponse:
    """Make an answer of DynamoDB's."""
    headers: Any = {"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": "ID"}
    return AWSResponse("https://dynamodb", status, headers, _Raw(json.dumps(body or {}).encode()))


def page(body: bytes, status: int) -> AWSResponse:
    """Make an answer that is not DynamoDB's: of something on the way."""
    headers: Any = {"content-type": "text/html"}
    return AWSResponse("https://dynamodb", status, headers, _Raw(body))


def error(code: str, status: int = 400, **members: Any) -> AWSResponse:
    """Make DynamoDB's answer of an error."""
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return answer({"__type": kind, "message": "no", **members}, status)


def cancelled(*codes: str) -> AWSResponse:
    """Make the answer of a cancelled transaction, with a code for each action."""
    reasons = [{"Code": code} for code in codes]
    return error("TransactionCanceledException", CancellationReasons=reasons)


@cache
def _session() -> boto3.session.Session:
    """Share what is slow to read: the description of the service."""
    return boto3.session.Session(region_name="us-east-1")


class Wire:
    """Gives the scripted answers in turn, then whatever `rest` makes; keeps the requests."""

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

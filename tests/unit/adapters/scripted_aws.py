"""Scripted answers in place of urllib3, where botocore sends a signed request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final, TypeAlias
from unittest.mock import patch

from botocore.awsrequest import AWSResponse
from urllib3 import HTTPResponse

Reply: TypeAlias = "AWSResponse | Exception"
REQUEST_ID: Final = "6b2d2d3a-0000-4000-8000-000000000001"
SENT_ITEM: Final = {"pk": {"S": "USER#1"}, "sk": {"S": "USER"}, "n": {"N": "1"}}
QUEUE: Final = "https://sqs.us-east-1.amazonaws.com/000000000000/q"
TOPIC: Final = "arn:aws:sns:us-east-1:000000000000:t"
CALLS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "BatchGetItem": (
        "dynamodb",
        "batch_get_item",
        {"RequestItems": {"users": {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "s"}}]}}},
    ),
    "TransactWriteItems": (
        "dynamodb",
        "transact_write_items",
        {
            "TransactItems": [{"Put": {"TableName": "users", "Item": SENT_ITEM}}],
            "ClientRequestToken": "token",
        },
    ),
    "DeleteItem": (
        "dynamodb",
        "delete_item",
        {"TableName": "users", "Key": {"pk": {"S": "Zoë"}, "sk": {"S": "s"}}},
    ),
    "Query": (
        "dynamodb",
        "query",
        {
            "TableName": "users",
            "KeyConditionExpression": "pk = :pk AND sk < :before",
            "ExpressionAttributeValues": {":pk": {"S": "OUTBOX#1"}, ":before": {"S": "2026"}},
            "ConsistentRead": True,
            "Limit": 10,
        },
    ),
    "PublishBatch": (
        "sns",
        "publish_batch",
        {
            "TopicArn": TOPIC,
            "PublishBatchRequestEntries": [
                {
                    "Id": "0",
                    "Message": '{"a b": "100% + ü"}',
                    "MessageAttributes": {"type": {"DataType": "String", "StringValue": "x/y"}},
                }
            ],
        },
    ),
    "ReceiveMessage": ("sqs", "receive_message", {"QueueUrl": QUEUE, "WaitTimeSeconds": 20}),
    "DeleteMessageBatch": (
        "sqs",
        "delete_message_batch",
        {"QueueUrl": QUEUE, "Entries": [{"Id": "0", "ReceiptHandle": "r+/="}]},
    ),
}
"""By operation: the service, the client's method and its arguments."""
_XML: Final = (
    '<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishBatchResult>'
    "{}</PublishBatchResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata>"
    "</PublishBatchResponse>"
)
PUBLISHED: Final = "<member><Id>0</Id><MessageId>m</MessageId></member>"


def published(results: str) -> bytes:
    """Render the answer of a PublishBatch."""
    return _XML.format(results).encode()


PLAIN: Final[dict[str, bytes]] = {
    "BatchGetItem": json.dumps(
        {"Responses": {"users": [SENT_ITEM]}, "UnprocessedKeys": {}}
    ).encode(),
    "TransactWriteItems": b"{}",
    "DeleteItem": b"{}",
    "Query": json.dumps({"Items": [SENT_ITEM], "Count": 1, "ScannedCount": 1}).encode(),
    "PublishBatch": published(f"<Failed/><Successful>{PUBLISHED}</Successful>"),
    "ReceiveMessage": json.dumps(
        {"Messages": [{"MessageId": "m", "ReceiptHandle": "r", "Body": "ü", "Attributes": {}}]}
    ).encode(),
    "DeleteMessageBatch": b'{"Successful": [{"Id": "0"}], "Failed": []}',
}
"""The usual successful answer of each operation."""


def reply(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> AWSResponse:
    """Return an answer in the form of urllib3."""
    fields = {"x-amzn-RequestId": REQUEST_ID, "Content-Length": str(len(body)), **(headers or {})}
    raw = HTTPResponse(
        BytesIO(body),
        fields,
        status,
        preload_content=False,
        decode_content=False,
        enforce_content_length=False,
    )
    given: Any = raw.headers
    made = AWSResponse("https://aws", status, given, raw)
    _ = made.content  # as botocore's session does
    return made


@dataclass(slots=True)
class ScriptedAws:
    """Returns the given replies in turn, then those of `rest`; records the requests."""

    rest: Callable[[], Reply]
    replies: list[Reply] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)

    def send(self, request: Any) -> AWSResponse:
        """Replaces what sends a request: botocore's session, and the connections of fast calls."""
        self.requests.append(request)
        found = self.replies.pop(0) if self.replies else self.rest()
        if isinstance(found, Exception):
            raise found
        return found


@contextmanager
def scripted_aws(operation: str, replies: Iterable[Reply] = ()) -> Iterator[ScriptedAws]:
    """Answer every request of every client; after the script, with plain successes."""
    aws = ScriptedAws(lambda: reply(PLAIN[operation]), list(replies))
    with (
        patch("botocore.httpsession.URLLib3Session.send", aws.send),
        patch("adapters.aws.fast_calls.connections.Connections.send", aws.send),
    ):
        yield aws

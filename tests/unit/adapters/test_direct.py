"""Fast calls send and read like botocore, and leave anything unusual to botocore."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)

from adapters.aws import client as aws
from adapters.aws.fast_calls import connections, use_fast_calls
from tests.unit.adapters.scripted_aws import (
    CALLS,
    PUBLISHED,
    Reply,
    ScriptedAws,
    published,
    reply,
    scripted_aws,
)

pytestmark = pytest.mark.usefixtures("no_backoff")

OF_THE_CALL = {"x-amz-date", "authorization", "amz-sdk-invocation-id", "user-agent"}
OPERATIONS = sorted(CALLS)


@cache
def session() -> boto3.session.Session:
    """Create a session that shares the service descriptions, which are slow to read."""
    return boto3.session.Session(
        aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret", region_name="us-east-1"
    )


def plain(operation: str, attempts: int = 3) -> Any:
    """Create an ordinary client of boto3."""
    service: Any = CALLS[operation][0]
    return session().client(service, config=aws.config(attempts=attempts))


def direct(operation: str, attempts: int = 3) -> Any:
    """Create the same client with fast calls."""
    client = plain(operation, attempts)
    use_fast_calls(client)
    return client


def call(client: Any, operation: str) -> Any:
    """Make the operation's call."""
    _, method, parameters = CALLS[operation]
    return getattr(client, method)(**parameters)


@contextmanager
def counting_botocores(client: Any) -> Iterator[list[object]]:
    """Count the requests that botocore makes itself, by its signatures."""
    made: list[object] = []
    client.meta.events.register("before-sign", lambda **_: made.append(None))
    yield made


def comparable(request: Any) -> tuple[object, ...]:
    """Return the parts that must be equal in both clients' requests."""
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    left = {name: value for name, value in headers.items() if name not in OF_THE_CALL}
    return request.method, request.url, left, _text(request.body), sorted(headers)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def signature(request: Any, credentials: Credentials) -> str:
    """Sign a request again with botocore, with its own time and headers."""
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    scope = headers["authorization"].split("Credential=")[1].split(",")[0].split("/")
    again = AWSRequest("POST", request.url, {n: headers[n] for n in signed if n != "host"})
    again.data = request.body
    again.context["timestamp"] = headers["x-amz-date"]
    auth = SigV4Auth(credentials, scope[3], scope[2])
    return auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)


# --- requests ------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_direct_call_sends_what_botocore_would(operation: str) -> None:
    """Method, URL, headers and body are equal byte for byte, and so is the signature."""
    with scripted_aws(operation) as sent:
        client = direct(operation)
        with counting_botocores(client) as botocores:
            for _ in range(3):
                call(client, operation)
        assert len(botocores) == 1
        call(plain(operation), operation)
    learnt, second, third, expected = sent.requests
    assert comparable(second) == comparable(third) == comparable(learnt) == comparable(expected)
    for request in (second, third):
        authorization = _text(request.headers["Authorization"])
        assert authorization.endswith(signature(request, Credentials("AKIDEXAMPLE", "secret")))
    ids = {_text(request.headers["amz-sdk-invocation-id"]) for request in sent.requests}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566", "http://127.0.0.1:4566/"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "https://[::1]:8443", "https://[::1]:8443/"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "https://db.example.com/a/b", None),
        ("AWS_USE_FIPS_ENDPOINT", "true", "https://dynamodb-fips.us-east-1.amazonaws.com/"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true", "https://dynamodb.us-east-1.api.aws/"),
        ("AWS_DEFAULT_REGION", "eu-west-1", "https://dynamodb.eu-west-1.amazonaws.com/"),
        ("AWS_ACCOUNT_ID", "123456789012", "https://123456789012.ddb.us-east-1.amazonaws.com/"),
    ],
)
def test_the_sdks_settings_of_the_endpoint_hold(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, url: str | None
) -> None:
    """For all calls, with a valid signature."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv(variable, value)
    with scripted_aws("DeleteItem") as sent:
        client = aws.client("dynamodb")
        use_fast_calls(client)
        with counting_botocores(client) as botocores:
            call(client, "DeleteItem")
            call(client, "DeleteItem")
    first, second = sent.requests
    assert len(botocores) == 1
    assert comparable(first) == comparable(second)
    assert url in {None, second.url}
    authorization = _text(second.headers["Authorization"])
    assert authorization.endswith(signature(second, Credentials("AKIDEXAMPLE", "secret")))


def test_credentials_that_expire_are_renewed() -> None:
    """Each request is signed with the current credentials and their token."""
    count = 0

    def fetch() -> dict[str, str]:
        nonlocal count
        count += 1
        return {
            "access_key": f"KEY{count}",
            "secret_key": f"secret{count}",
            "token": f"token{count}",
            "expiry_time": (datetime.now(UTC) + timedelta(seconds=1)).isoformat(),
        }

    own = boto3.session.Session(region_name="us-east-1")
    own._session._credentials = RefreshableCredentials.create_from_metadata(  # type: ignore[attr-defined]
        fetch(), fetch, "test"
    )
    client: Any = own.client("dynamodb", config=aws.config())
    use_fast_calls(client)
    with scripted_aws("DeleteItem") as sent:
        for _ in range(6):
            call(client, "DeleteItem")
    assert count > 3
    for request in sent.requests:
        authorization = _text(request.headers["Authorization"])
        number = authorization.split("KEY")[1].split("/")[0]
        used = Credentials(f"KEY{number}", f"secret{number}", f"token{number}")
        assert _text(request.headers["X-Amz-Security-Token"]) == used.token
        assert authorization.endswith(signature(request, used))


def test_credentials_that_cannot_be_renewed_fail_the_call() -> None:
    """The error is botocore's own, and nothing is sent."""
    expired = {
        "access_key": "KEY",
        "secret_key": "secret",
        "token": "token",
        "expiry_time": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    credentials: Any = RefreshableCredentials.create_from_metadata(expired, dict, "test")
    own = boto3.session.Session(region_name="us-east-1")
    own._session._credentials = credentials  # type: ignore[attr-defined]
    client: Any = own.client("dynamodb", config=aws.config())
    use_fast_calls(client)
    with scripted_aws("DeleteItem") as sent:
        call(client, "DeleteItem")
        call(client, "DeleteItem")
        credentials._expiry_time = datetime.now(UTC) - timedelta(hours=1)
        with pytest.raises(Exception, match="refresh"):
            call(client, "DeleteItem")
    assert len(sent.requests) == 2


@pytest.mark.parametrize("unreadable", ["configuration", "authorities"])
def test_a_file_that_became_unreadable_fails_no_successful_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unreadable: str
) -> None:
    """The calls are left to botocore, which read the file before."""
    for name in ("HTTPS_PROXY", "https_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "config"
    file.touch()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(file))
    client = direct("DeleteItem")
    if unreadable == "configuration":
        file.write_text("[default")
    else:
        monkeypatch.setattr(connections, "get_cert_path", lambda verify: tmp_path / str(verify))
        connections._tls.cache_clear()
    with scripted_aws("DeleteItem"), counting_botocores(client) as botocores:
        call(client, "DeleteItem")
        call(client, "DeleteItem")
    assert len(botocores) == 2


# --- answers -------------------------------------------------------------------------------


def json_error(code: str, **members: Any) -> bytes:
    """Render an error of the JSON protocol."""
    return json.dumps({"__type": f"com.amazonaws#{code}", "message": "no", **members}).encode()


HTML = b"<html><body>Bad Gateway</body></html>"
SNS_ERROR = (
    b'<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>'
    b"<Code>Throttling</Code><Message>no</Message></Error><RequestId>i</RequestId></ErrorResponse>"
)
REASONS = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "no"}]
ITEM = '{"Responses": {"users": [{"pk": %s}]}, "UnprocessedKeys": {}}'
LEFT = {"users": {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "s"}}]}}
FAILED = "<member><Id>0</Id><Code>c</Code><SenderFault>true</SenderFault></member>"

ANSWERS: dict[str, Reply | bytes] = {
    "nothing": b"",
    "an empty object": b"{}",
    "half an object": b'{"Responses": {"use',
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"Responses": {}}'.encode("utf-16"),
    "deep nesting": b"[" * 100_000,
    "a page": HTML,
    "other members": b'{"Responses": {}, "Messages": [], "More": 1}',
    "null members": b'{"Responses": null, "Messages": null, "Successful": null}',
    "odd members": b'{"Responses": 7, "Messages": 7, "Successful": 7}',
    "no table": b'{"Responses": {}}',
    "a binary value": (ITEM % '{"B": "AAEC"}').encode(),
    "a set of binary values": (ITEM % '{"BS": ["AAEC"]}').encode(),
    "every kind of value": (
        ITEM % '{"M": {"a": {"L": [{"S": "x"}, {"BOOL": true}, {"NULL": true}, {"NS": ["1"]}]}}}'
    ).encode(),
    "an odd item": (ITEM % "7").encode(),
    "a null value": (ITEM % "null").encode(),
    "keys left": json.dumps({"Responses": {"users": []}, "UnprocessedKeys": LEFT}).encode(),
    "consumed capacity": b'{"Responses": {}, "ConsumedCapacity": [{"TableName": "users"}]}',
    "an empty page": b'{"Items": [], "Count": 0, "ScannedCount": 0}',
    "a page with a next one": json.dumps(
        {
            "Items": [{"pk": {"S": "p"}, "n": {"N": "1"}}],
            "Count": 1,
            "ScannedCount": 1,
            "LastEvaluatedKey": {"pk": {"S": "p"}, "sk": {"S": "s"}},
        }
    ).encode(),
    "a page without items": b'{"Count": 3, "ScannedCount": 3}',
    "a page of odd items": b'{"Items": [7], "Count": 1}',
    "a page with odd counts": b'{"Items": [], "Count": "0", "ScannedCount": true}',
    "a page with an odd next key": b'{"Items": [], "LastEvaluatedKey": {"pk": 7}}',
    "a page with a binary key": b'{"Items": [], "LastEvaluatedKey": {"pk": {"B": "AAEC"}}}',
    "a page with its capacity": b'{"Items": [], "ConsumedCapacity": {"CapacityUnits": 0.5}}',
    "attributes": b'{"Attributes": {"a": {"S": "x"}}}',
    "no messages": b'{"Messages": []}',
    "a message with attributes": json.dumps(
        {
            "Messages": [
                {
                    "Body": "b",
                    "MD5OfMessageAttributes": "x",
                    "MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": "AAEC"}},
                }
            ]
        }
    ).encode(),
    "an odd message": b'{"Messages": [7]}',
    "a failed entry": json.dumps(
        {"Successful": [], "Failed": [{"Id": "0", "Code": "c", "SenderFault": True}]}
    ).encode(),
    "published in part": published(f"<Failed>{FAILED}</Failed><Successful/>"),
    "published, no failures named": published(f"<Successful>{PUBLISHED}</Successful>"),
    "published nothing": published(""),
    "no id": published(
        "<Failed/><Successful><member><MessageId>m</MessageId></member></Successful>"
    ),
    "empty texts": published(
        "<Failed/><Successful><member><Id/><MessageId></MessageId></member></Successful>"
    ),
    "a sequence number": published(
        "<Failed/><Successful><member><Id>0</Id><MessageId>m</MessageId>"
        "<SequenceNumber>1</SequenceNumber></member></Successful>"
    ),
    "the results twice": published("<Failed/><Successful/><Failed/>"),
    "half of XML": published(f"<Successful>{PUBLISHED}</Successful>")[:-20],
    "other XML": b"<a><b/></a>",
    "wrong CRC": reply(b"{}", headers={"x-amz-crc32": "1"}),
    "right CRC": reply(b"{}", headers={"x-amz-crc32": str(crc32(b"{}"))}),
    "odd CRC": reply(b"{}", headers={"x-amz-crc32": "x"}),
    "no request id": reply(b"{}", headers={"x-amzn-RequestId": ""}),
    "a longer length announced": reply(b"{}", headers={"Content-Length": "100"}),
    "another 2xx": reply(b"{}", 204),
    "a redirection": reply(HTML, 301, {"Location": "https://elsewhere"}),
    "cancelled": reply(
        json_error("TransactionCanceledException", CancellationReasons=REASONS), 400
    ),
    "throttled": reply(json_error("ThrottlingException"), 400),
    "too much for the table": reply(json_error("ProvisionedThroughputExceededException"), 400),
    "in progress": reply(json_error("TransactionInProgressException"), 400),
    "no such table": reply(json_error("ResourceNotFoundException"), 400),
    "no such queue": reply(
        json_error("QueueDoesNotExist"),
        400,
        {"x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender"},
    ),
    "an SNS error": reply(SNS_ERROR, 400),
    "too large": reply(HTML, 413),
    "forbidden": reply(b"", 403),
    "an internal error": reply(json_error("InternalServerError"), 500),
    "a proxy's page": reply(HTML, 502),
    "unavailable": reply(b"", 503),
    "unavailable for a while": reply(b"", 503, {"x-amz-retry-after": "200"}),
    "cut off": ConnectionClosedError(endpoint_url="https://aws"),
    "refused": EndpointConnectionError(endpoint_url="https://aws", error="no"),
    "too late": ReadTimeoutError(endpoint_url="https://aws"),
    "anything of urllib3's": HTTPClientError(error=ValueError("no")),
    "anything else": ValueError("no"),
}


def outcome(client: Any, operation: str) -> object:
    """Return what a call returns, or everything a caller can see of its error."""
    try:
        return call(client, operation)
    except ClientError as error:
        return type(error).__name__, str(error), error.response
    except Exception as error:  # noqa: BLE001 - compared
        return type(error).__name__, str(error)


def found(name: str) -> Reply:
    """Build the answer again, because its body can be read once only."""
    answer = ANSWERS[name]
    if isinstance(answer, bytes):
        return reply(answer)
    if isinstance(answer, Exception):
        return answer
    return reply(answer.content, answer.status_code, dict(answer.headers))


@cache
def both(operation: str, attempts: int) -> tuple[Any, Any]:
    """Create a client of each kind, for many answers."""
    return plain(operation, attempts), direct(operation, attempts)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("attempts", [1, 3])
def test_an_answer_is_what_botocore_makes_of_it(operation: str, name: str, attempts: int) -> None:
    """For every answer; and retries are made as often as by botocore."""
    seen, requests = [], []
    for client in both(operation, attempts):
        sent: ScriptedAws
        with scripted_aws(operation) as sent:
            call(client, operation)
            call(client, operation)
            sent.replies = [found(name), found(name)]
            outcomes = [outcome(client, operation) for _ in range(3)]
        for each in outcomes:
            if isinstance(each, dict):
                each["ResponseMetadata"].pop("MaxAttemptsReached", None)
        seen.append(outcomes)
        requests.append(len(sent.requests))
    assert seen[0] == seen[1]
    assert requests[0] == requests[1]


def test_retries_are_given_back_by_direct_calls() -> None:
    """After an outage has used up botocore's retry quota, successes restore it."""
    attempts = []
    for make in (plain, direct):
        client = make("DeleteItem")
        with scripted_aws("DeleteItem") as sent:
            call(client, "DeleteItem")
            call(client, "DeleteItem")
            for _ in range(80):
                sent.replies = [found("unavailable") for _ in range(3)]
                outcome(client, "DeleteItem")
            sent.replies = []
            for _ in range(40):
                call(client, "DeleteItem")
            sent.replies = [found("unavailable") for _ in range(3)]
            before = len(sent.requests)
            outcome(client, "DeleteItem")
            attempts.append(len(sent.requests) - before)
    assert attempts == [3, 3]


def test_threads_share_a_client() -> None:
    """Each thread gets the answer, or the error, of its own call."""
    with scripted_aws("DeleteItem") as sent:
        client = direct("DeleteItem")
        bad = found("no such table")
        sent.rest = lambda: bad if len(sent.requests) % 3 == 0 else reply(b"{}")
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda _: outcome(client, "DeleteItem"), range(300)))
    errors = [each for each in results if isinstance(each, tuple)]
    assert len(sent.requests) == 300
    assert len(errors) == pytest.approx(100, abs=20)
    assert {each[0] for each in errors} == {"ResourceNotFoundException"}

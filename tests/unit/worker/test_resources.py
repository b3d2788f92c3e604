"""Checks before a worker starts: what ends it, what it warns about, what it waits for."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.client
import pytest
import structlog
from botocore import exceptions as sdk
from moto import mock_aws

from application.backoff import Backoff
from cli.app import run
from worker import logs
from worker.connections import Aws
from worker.errors import ExitCode
from worker.health.assessment import START_LIMIT, HealthAssessment
from worker.health.report import Report
from worker.resources import requirements, start
from worker.settings import load_settings

Fault = Callable[[str], None]
"""Called with the operation of each call; may raise."""


@pytest.fixture(scope="module")
def provisioned() -> Iterator[None]:
    """A mocked AWS with the resources that `provision` creates."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        assert run(["provision"]) == ExitCode.OK
        boto3.client("sqs").create_queue(QueueName="plain")
        boto3.client("dynamodb").create_table(
            TableName="stale",
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
        _unlike_ours(boto3.client("dynamodb"))
        yield


def _unlike_ours(dynamodb: Any) -> None:
    """Create a table with our keys and nothing else."""
    keys = {"pk": "HASH", "sk": "RANGE"}
    dynamodb.create_table(
        TableName="bare",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in (*keys, "refresh_family_hash")
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "Another",
                "KeySchema": [{"AttributeName": "refresh_family_hash", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )


@pytest.fixture
def production(provisioned: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Settings of production, and the log; delays are skipped."""
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(start, "BACKOFF", Backoff(0.0))
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], list[Fault]]:
    """Count the calls to AWS by operation, and call each fault before them."""
    real = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]
    counted: Counter[str] = Counter()
    faults: list[Fault] = []

    def call(client: Any, operation: str, parameters: Any) -> Any:
        counted[operation] += 1
        for fault in faults:
            fault(operation)
        return real(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    return counted, faults


def look() -> HealthAssessment:
    """Do what a worker does before it starts."""
    assessment = HealthAssessment()
    start.require_resources(load_settings(), assessment)
    return assessment


def refused(code: str, operation: str = "Operation") -> sdk.ClientError:
    """Return an error answer."""
    return sdk.ClientError({"Error": {"Code": code, "Message": "-"}}, operation)


def test_what_provision_made_is_found_right_in_few_calls(
    production: Any, calls: tuple[Counter[str], list[Fault]]
) -> None:
    """No finding, no change, and no call twice except to find the topic's account."""
    assessment = look()
    assert production == []
    assert assessment.report().live
    counted, _ = calls
    assert counted == {
        "GetQueueUrl": 3 + 1,
        "GetQueueAttributes": 3 + 1,
        "GetTopicAttributes": 2,
        "DescribeTable": 1,
        "DescribeTimeToLive": 1,
    }


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("COMMAND_QUEUE", "nowhere", "no queue nowhere"),
        ("PRIORITY_QUEUE", "nowhere", "no queue nowhere"),
        ("DEAD_LETTER_QUEUE", "nowhere", "no queue nowhere"),
        ("QUARANTINE_QUEUE", "nowhere", "no queue nowhere"),
        ("COMMAND_QUEUE", "plain", "queue plain has no redrive policy"),
        ("EVENTS_TOPIC", "nowhere", "no topic nowhere"),
        ("PERSONAL_TOPIC", "nowhere", "no topic nowhere"),
        ("TABLE", "nowhere", "no table nowhere"),
        ("TABLE", "stale", "table stale: created for another purpose"),
    ],
)
@pytest.mark.usefixtures("production")
def test_what_would_break_a_promise_ends_it_with_one_line(
    setting: str, value: str, says: str, capfd: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    """Exit code 3, with the resource's name, in production as in development."""
    monkeypatch.setenv(f"USER_WORKER_{setting}", value)
    with pytest.raises(SystemExit) as ended:
        look()
    assert ended.value.code == ExitCode.ENVIRONMENT
    err = capfd.readouterr().err
    assert err.startswith(f"error: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("nowhere", None, "no queue nowhere"),
        ("plain", None, "has no redrive policy"),
        ("more", "AccessDenied", "AWS does not allow GetQueueUrl"),
    ],
)
def test_a_faulty_additional_queue_does_not_keep_the_others_from_being_served(  # noqa: PLR0917
    production: Any,
    calls: tuple[Counter[str], list[Fault]],
    name: str,
    code: str | None,
    says: str,
    monkeypatch: Any,
) -> None:
    """It is one warning, with what to do; the health report names it until it is served."""
    monkeypatch.setenv("USER_WORKER_ADDITIONAL_QUEUES", name)
    if code is not None:

        def deny(operation: str) -> None:
            if operation == "GetQueueUrl" and calls[0][operation] == 2:  # after the command queue
                raise refused(code, operation)

        calls[1].append(deny)
    assert look().report().live
    (line,) = production
    assert (line["event"], line["check"]) == ("resource_differs", f"queue {name}")
    assert says in line["text"]
    assert line["advice"]


@pytest.mark.parametrize(
    ("setting", "value", "check", "says"),
    [
        ("VISIBILITY_TIMEOUT", "30", "queue user-commands", ["VisibilityTimeout"]),
        ("MAX_RECEIVES", "3", "queue user-commands", ["RedrivePolicy"]),
        ("DEAD_LETTER_QUEUE", "plain", "queue plain", ["MessageRetentionPeriod"]),
        ("QUARANTINE_QUEUE", "plain", "queue plain", ["MessageRetentionPeriod"]),
        ("TABLE", "bare", "table bare", ["different index RefreshTokenIndex", "do not expire"]),
    ],
)
def test_what_merely_differs_is_a_warning(  # noqa: PLR0917
    production: Any, setting: str, value: str, check: str, says: list[str], monkeypatch: Any
) -> None:
    """A changed attribute must not stop all workers that start later."""
    monkeypatch.setenv(f"USER_WORKER_{setting}", value)
    assert look().report().live
    told = [line for line in production if line["check"] == check]
    assert {line["event"] for line in production} == {"resource_differs"}
    for line, word in zip(told, says, strict=True):
        assert word in line["text"]
        assert line["advice"]


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("GetQueueAttributes", "sqs:GetQueueAttributes"),
        ("DescribeTable", "dynamodb:DescribeTable"),
        ("DescribeTimeToLive", "dynamodb:DescribeTimeToLive"),
        ("GetTopicAttributes", "sns:GetTopicAttributes"),
    ],
)
def test_a_role_that_may_not_look_starts_all_the_same(
    production: Any, calls: Any, operation: str, action: str
) -> None:
    """The check is inconclusive then; the missing permission is named."""

    def deny(called: str) -> None:
        if called == operation:
            raise refused("AccessDenied", called)

    calls[1].append(deny)
    look()
    assert action in " ".join(line["advice"] for line in production)


@pytest.mark.parametrize(
    "error",
    [
        sdk.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
        sdk.ReadTimeoutError(endpoint_url="http://127.0.0.1:1"),
        refused("ThrottlingException"),
        refused("ServiceUnavailable"),
        refused("502"),
    ],
    ids=lambda error: type(error).__name__ + str(getattr(error, "response", "")),
)
@pytest.mark.parametrize("operation", ["GetQueueUrl", "DescribeTable"])
def test_it_waits_for_sqs_and_dynamodb(
    production: Any, calls: Any, monkeypatch: Any, error: Exception, operation: str
) -> None:
    """It waits without a limit and logs each attempt; in development it exits."""
    times = 4
    reports = []
    assessment = HealthAssessment()

    def fail(called: str) -> None:
        nonlocal times
        if called == operation and times:
            times -= 1
            reports.append(assessment.report())
            raise error

    calls[1].append(fail)
    start.require_resources(load_settings(), assessment)
    assert [line["event"] for line in production] == ["waiting_for_aws"] * 4
    assert all(report.live for report in reports)
    assert reports[-1].not_ready == (f"starting: {production[0]['reason']}",)
    assert assessment.report().not_ready == ("starting",)
    times = 1
    monkeypatch.setenv("USER_WORKER_ENV", "dev")
    with pytest.raises(SystemExit) as ended:
        look()
    assert ended.value.code == ExitCode.ENVIRONMENT


@pytest.mark.usefixtures("production")
def test_calls_that_take_long_are_life(calls: Any) -> None:
    """Including those of the first check: each runs until its timeout, without a restart."""
    now = 0.0
    assessment, reports = HealthAssessment(clock=lambda: now), []

    def take_long(_: str) -> None:
        nonlocal now
        now += START_LIMIT
        reports.append(assessment.report())

    calls[1].append(take_long)
    start.require_resources(load_settings(), assessment)
    assert set(reports) == {Report((), (f"starting: {start.CHECKING}",))}
    now += START_LIMIT
    assert assessment.report() == Report((), ("starting",))


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ({"TableStatus": "DELETING"}, "is DELETING"),
        ({"TableStatus": "CREATING"}, "is CREATING"),
        ({"TableStatus": "UPDATING"}, None),
        ({"index": "CREATING"}, "index RefreshTokenIndex is CREATING"),
        ({"index": "ACTIVE"}, None),
    ],
)
def test_a_table_that_is_not_all_there_is_a_warning(
    production: Any, monkeypatch: pytest.MonkeyPatch, description: dict[str, str], says: str | None
) -> None:
    """It may be created or deleted at this moment."""
    real = requirements._described

    def described(*_: Any) -> Any:
        index = description.get("index")
        table: Any = {**real(Aws(load_settings()), "users"), **description}
        if index:
            table["GlobalSecondaryIndexes"][0]["IndexStatus"] = index
        return table

    monkeypatch.setattr(requirements, "_described", described)
    look()
    assert [says is None or line["text"].startswith(says) for line in production] == (
        [True] if says else []
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, ExitCode.OK), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
@pytest.mark.usefixtures("production")
def test_a_signal_ends_it_while_it_waits(calls: Any, number: signal.Signals, code: int) -> None:
    """Celery does not handle signals yet; afterwards the handlers are restored."""
    before = signal.getsignal(number)
    calls[1].append(lambda _: signal.raise_signal(number))
    with pytest.raises(SystemExit) as ended:
        look()
    assert ended.value.code == code
    assert signal.getsignal(number) is before


def test_an_unavailable_topic_is_not_waited_for(production: Any, calls: Any) -> None:
    """Commands can be processed, and their events wait in the outbox."""

    def fail(called: str) -> None:
        if called == "GetTopicAttributes":
            raise sdk.EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    calls[1].append(fail)
    look()
    assert [(line["check"], line["event"]) for line in production] == [
        ("topic user-events", "resource_differs"),
        ("topic user-events-personal", "resource_differs"),
    ]


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "AccessDenied"])
@pytest.mark.usefixtures("production")
def test_credentials_that_aws_refuses_end_it(calls: Any, code: str) -> None:
    """They would be refused again; an operator must change them."""

    def refuse(called: str) -> None:
        raise refused(code, called)

    calls[1].append(refuse)
    with pytest.raises(SystemExit) as ended:
        look()
    assert ended.value.code == ExitCode.ENVIRONMENT


def test_a_bug_in_the_check_does_not_stop_the_worker(
    production: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error is logged with its traceback, and the worker starts."""

    def stumble(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(start, "check", stumble)
    look()
    assert [line["event"] for line in production] == ["resources_unchecked"]

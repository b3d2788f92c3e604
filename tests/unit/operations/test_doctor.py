"""`user-worker doctor`, on an AWS in this process: it finds each problem and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore import exceptions as sdk
from moto import mock_aws

from cli.app import run
from operations.doctor import emulator, machine, permissions, reach
from worker.errors import ExitCode
from worker.resources.finding import Finding, Level

Findings = dict[str, dict[str, str]]


@pytest.fixture(autouse=True)
def empty_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use a folder without a .env file, and ignore this machine's ports and logs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "ports", lambda _: iter(()))
    monkeypatch.setattr(machine, "files", lambda: iter(()))


@pytest.fixture(scope="module")
def provisioned() -> Iterator[None]:
    """An AWS like Amazon's, with the resources that `provision` creates."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        assert run(["provision"]) == ExitCode.OK
        yield


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Callable[[], tuple[int, list[dict[str, str]]]]:
    """Run it with `--json`; return exit code and findings."""

    def call() -> tuple[int, list[dict[str, str]]]:
        capsys.readouterr()
        code = run(["doctor", "--json"])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, [json.loads(line) for line in captured.out.splitlines()]

    return call


def bad(findings: list[dict[str, str]], level: Level = Level.FAIL) -> Findings:
    """Return the findings of a level, by check; each has its advice."""
    found = {each["check"]: each for each in findings if each["level"] == level}
    assert all(each["advice"] for each in found.values())
    return found


@pytest.mark.usefixtures("provisioned")
def test_where_all_is_well_nothing_fails_and_nothing_is_changed(doctor: Any) -> None:
    """The exit code is 0, and no item, message or attribute is added."""
    sqs: Any = boto3.client("sqs")
    dynamodb: Any = boto3.client("dynamodb")
    url = sqs.get_queue_url(QueueName="user-commands")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="precious")
    code, findings = doctor()
    assert (code, bad(findings)) == (ExitCode.OK, {})
    checks = {each["check"] for each in findings}
    assert {
        "queue user-commands",
        "queue user-commands-dlq",
        "queue user-commands-quarantine",
        "table users",
        "permissions",
    } <= checks
    assert dynamodb.scan(TableName="users")["Count"] == 0
    (message,) = sqs.receive_message(
        QueueUrl=url, MessageSystemAttributeNames=["ApproximateReceiveCount"]
    )["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"  # from the receive above
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    dead = sqs.get_queue_url(QueueName="user-commands-dlq")["QueueUrl"]
    assert "Messages" not in sqs.receive_message(QueueUrl=dead)


@pytest.mark.usefixtures("provisioned")
@pytest.mark.parametrize(
    ("setting", "value", "check", "text"),
    [
        ("COMMAND_QUEUE", "others", "queue others", "no queue others in region us-east-1"),
        ("DEAD_LETTER_QUEUE", "others", "queue others", "no queue others"),
        ("QUARANTINE_QUEUE", "others", "queue others", "no queue others"),
        ("EVENTS_TOPIC", "others", "topic others", "no topic others"),
        ("TABLE", "others", "table others", "no table others"),
        ("VISIBILITY_TIMEOUT", "30", "queue user-commands", "VisibilityTimeout"),
        ("MAX_RECEIVES", "3", "queue user-commands", "RedrivePolicy"),
    ],
)
def test_missing_resources_and_differences_from_the_settings_are_named(  # noqa: PLR0917
    setting: str, value: str, check: str, text: str, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 3, with the resource's name; the other checks still run."""
    monkeypatch.setenv(f"USER_WORKER_{setting}", value)
    code, findings = doctor()
    assert code == ExitCode.ENVIRONMENT
    assert text in bad(findings)[check]["text"]
    assert findings[-1]["check"] != "connection"


@pytest.mark.usefixtures("provisioned")
def test_a_stale_table_and_what_production_lacks_are_named(
    doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other keys fail; missing expiry, recovery or deletion protection is a warning."""
    dynamodb: Any = boto3.client("dynamodb")
    dynamodb.create_table(
        TableName="stale",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    monkeypatch.setenv("USER_WORKER_TABLE", "stale")
    _, findings = doctor()
    assert "different primary key" in bad(findings)["table stale"]["text"]
    monkeypatch.setenv("USER_WORKER_TABLE", "users")
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    code, findings = doctor()
    assert code == ExitCode.OK
    warnings = {each["text"] for each in findings if each["check"] == "table users"}
    assert {"deletion protection is off", "point-in-time recovery is off"} <= warnings


NO_KEY = "not encrypted by a KMS key"
SAME_KEY = "encrypted by the key of the dead-letter queue"
NO_DENIAL = "its policy does not deny sqs:ReceiveMessage to other roles"
BREAK_GLASS = {"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/glass"}}


def denial(**changes: Any) -> str:
    """Return a policy that denies receives to all roles but one, with changes."""
    statement = {"Effect": "Deny", "Principal": "*", "Action": ["sqs:ReceiveMessage"]}
    return json.dumps({"Statement": [statement | {"Condition": BREAK_GLASS} | changes]})


@pytest.mark.usefixtures("provisioned")
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, {NO_KEY, NO_DENIAL}),
        ({"KmsMasterKeyId": "alias/own", "Policy": denial()}, set()),
        ({"KmsMasterKeyId": "alias/own", "Policy": denial(Action="SQS:*")}, set()),
        ({"KmsMasterKeyId": "alias/dead", "Policy": denial(Principal={"AWS": "*"})}, {SAME_KEY}),
        ({"KmsMasterKeyId": "alias/own", "Policy": denial(Effect="Allow")}, {NO_DENIAL}),
        ({"KmsMasterKeyId": "alias/own", "Policy": denial(Action="sqs:Send*")}, {NO_DENIAL}),
        ({"KmsMasterKeyId": "alias/own", "Policy": denial(Principal={"AWS": "1"})}, {NO_DENIAL}),
        (
            {
                "KmsMasterKeyId": "alias/own",
                "Policy": denial(Condition={"Bool": {"aws:SecureTransport": "false"}}),
            },
            {NO_DENIAL},
        ),
    ],
)
def test_a_quarantine_queue_that_more_than_one_role_can_read_is_a_warning(
    attributes: dict[str, str], expected: set[str], doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In prod: it needs a key of its own, and a policy that denies receives to other roles."""
    sqs: Any = boto3.client("sqs")
    dead = sqs.get_queue_url(QueueName="user-commands-dlq")["QueueUrl"]
    url = sqs.get_queue_url(QueueName="user-commands-quarantine")["QueueUrl"]
    none = {"KmsMasterKeyId": "", "Policy": ""}
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"KmsMasterKeyId": "alias/dead"})
    sqs.set_queue_attributes(QueueUrl=url, Attributes=none | attributes)
    monkeypatch.setenv("USER_WORKER_ENV", "prod")
    _, findings = doctor()
    warnings = bad(findings, Level.WARN)
    found = {each["text"] for each in findings if each["check"] == f"queue {url.split('/')[-1]}"}
    assert {each for each in found if "waiting" not in each} == expected
    assert bool(expected) == ("queue user-commands-quarantine" in warnings)
    monkeypatch.setenv("USER_WORKER_ENV", "dev")
    assert "queue user-commands-quarantine" not in bad(doctor()[1], Level.WARN)
    for each in (dead, url):
        sqs.set_queue_attributes(QueueUrl=each, Attributes=none)


@pytest.mark.usefixtures("provisioned")
def test_retention_of_the_quarantine_queue_is_compared(doctor: Any) -> None:
    """An original must be kept as long as its letter."""
    sqs: Any = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="user-commands-quarantine")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "3600"})
    code, findings = doctor()
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MessageRetentionPeriod": "1209600"})
    assert code == ExitCode.ENVIRONMENT
    text = bad(findings)["queue user-commands-quarantine"]["text"]
    assert text == "MessageRetentionPeriod differs from 14 days"


@pytest.mark.usefixtures("provisioned")
def test_each_action_that_is_denied_is_named(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission is found before the first command fails because of it."""
    call = vars(botocore.client.BaseClient)["_make_api_call"]
    denied = {"PutItem": "AccessDeniedException", "ChangeMessageVisibility": "AccessDenied"}

    def deny(client: Any, operation: str, parameters: Any) -> Any:
        if operation in denied:
            raise sdk.ClientError({"Error": {"Code": denied[operation]}}, operation)
        return call(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", deny)
    code, findings = doctor()
    assert code == ExitCode.ENVIRONMENT
    text = [each["text"] for each in findings if each["level"] == "fail"]
    assert text == [
        "sqs:ChangeMessageVisibility (user-commands) is denied",
        "dynamodb:PutItem is denied",
    ]


@pytest.mark.usefixtures("provisioned")
def test_a_priority_queue_is_tried_like_the_other(
    doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without permission to delete there, a worker would handle each message twelve times."""
    monkeypatch.setenv("USER_WORKER_PRIORITY_QUEUE", "user-commands-urgent")
    assert run(["provision"]) == ExitCode.OK
    call = vars(botocore.client.BaseClient)["_make_api_call"]

    def deny(client: Any, operation: str, parameters: Any) -> Any:
        if operation == "DeleteMessage" and "urgent" in parameters["QueueUrl"]:
            raise sdk.ClientError({"Error": {"Code": "AccessDenied"}}, operation)
        return call(client, operation, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", deny)
    _, findings = doctor()
    text = [each["text"] for each in findings if each["level"] == "fail"]
    assert text == ["sqs:DeleteMessage (user-commands-urgent) is denied"]


@pytest.mark.parametrize(
    ("error", "check", "text"),
    [
        (sdk.EndpointConnectionError(endpoint_url="http://h:1/"), "connection", "nothing answers"),
        (sdk.ClientError({"Error": {"Code": "ExpiredToken"}}, "X"), "identity", "have expired"),
        (sdk.ClientError({"Error": {"Code": "404"}}, "X"), "connection", "not AWS"),
    ],
    ids=["silence", "expired", "a web server"],
)
def test_without_an_answer_it_ends_there(
    error: Exception, check: str, text: str, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks that depend on the answer would only repeat the error."""

    def call(*_: object) -> None:
        raise error

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    code, findings = doctor()
    assert code == ExitCode.ENVIRONMENT
    assert text in bad(findings)[check]["text"]
    assert findings[-1]["check"] == check


def test_a_wrong_setting_ends_it_and_a_strange_one_does_not(
    doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes sets its own variables for a service of this name."""
    monkeypatch.setenv("USER_WORKER_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    code, findings = doctor()
    assert "USER_WORKER_SERVICE_HOST" in bad(findings, Level.WARN)["other variables"]["text"]
    assert "no AWS region" in bad(findings)["AWS settings"]["text"]
    monkeypatch.setenv("USER_WORKER_TABEL", "users")
    code, findings = doctor()
    assert code == ExitCode.ENVIRONMENT
    assert "did you mean USER_WORKER_TABLE?" in bad(findings)["settings"]["advice"]


def test_an_unread_env_file_is_reported_without_its_values(tmp_path: Path) -> None:
    """Other programs may read the file. Names that are set in the environment are no problem."""
    (tmp_path / ".env").write_text("\ufeffexport USER_WORKER_TABLE=secret-name\nOTHER=1\n")
    (found,) = machine._env_files(tmp_path)
    assert "USER_WORKER_TABLE" in found.text
    assert "OTHER" not in found.text
    assert "secret-name" not in found.text + found.advice


@pytest.mark.parametrize(
    ("ahead", "level"), [(0, None), (59, None), (61, Level.WARN), (-299, Level.WARN), (301, "fail")]
)
def test_a_clock_is_compared_with_the_answers_date(ahead: int, level: str | None) -> None:
    """AWS accepts signatures within five minutes."""
    date = datetime(2026, 11, 23, 12, tzinfo=UTC)
    headers = {"date": "Mon, 23 Nov 2026 12:00:00 GMT"}
    answer = {"ResponseMetadata": {"HTTPHeaders": headers}}
    found = reach._skew(answer, date + timedelta(seconds=ahead))
    assert (found and found.level) == level
    assert reach._skew({}, date) is None
    assert reach._skew({"ResponseMetadata": {"HTTPHeaders": {"date": "soon"}}}, date) is None


def test_some_services_of_amazon_and_some_emulated_are_a_warning() -> None:
    """Commands would go to one of them, and users to the other."""
    urls = {"sqs": "http://127.0.0.1:4566", "sns": "https://sns.us-east-1.amazonaws.com"}
    assert reach._endpoints(urls, "dev").level is Level.WARN
    assert reach._endpoints({"sqs": "http://127.0.0.1:4566"}, "prod").level is Level.WARN
    assert reach._endpoints({"sqs": "http://127.0.0.1:4566"}, "dev").level is Level.OK


RUNNING = {"sqs": "running", "sns": "available", "dynamodb": "available"}


@pytest.mark.parametrize(
    ("paths", "title"),
    [
        (["/_localstack/health", "/_ministack/health"], "MiniStack 4.1"),
        (["/_localstack/health"], "LocalStack 4.1"),
    ],
)
def test_an_emulator_is_named_by_the_report_that_is_its_own(
    monkeypatch: pytest.MonkeyPatch, paths: list[str], title: str
) -> None:
    """MiniStack answers at LocalStack's path as well."""
    report = {"services": RUNNING, "version": "4.1"}
    monkeypatch.setattr(
        emulator, "_report", lambda _, path: report if path in paths else {"message": "not found"}
    )
    (found,) = reach.emulator("http://127.0.0.1:4566")
    assert (found.level, found.text) == (Level.OK, f"{title}, with all required services")


def test_an_emulator_without_a_service_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """SERVICES may omit one."""
    report = {"services": {**RUNNING, "dynamodb": "disabled"}}
    monkeypatch.setattr(emulator, "_report", lambda *_: report)
    (found,) = reach.emulator("http://127.0.0.1:4566")
    assert (found.level, "dynamodb" in found.text) == (Level.FAIL, True)


@pytest.mark.parametrize("report", [None, [], {}, {"services": "sqs"}, "text"])
def test_another_server_is_no_emulator(monkeypatch: pytest.MonkeyPatch, report: object) -> None:
    """Anything may listen on a port."""
    monkeypatch.setattr(emulator, "_report", lambda *_: report)
    assert list(reach.emulator("http://127.0.0.1:4566")) == []


def test_the_tested_actions_are_those_of_the_workers_policy() -> None:
    """On the table, every action is tried, except what a worker checks before it starts.

    `doctor` checks these anyway.
    """
    looks = {"dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"}
    policy = Path(__file__).parents[3] / "deploy" / "policies" / "worker.json"
    allowed = set(re.findall(r'"(dynamodb:\w+)"', policy.read_text()))
    aws: Any = type("Fake", (), {})()
    aws.settings = aws.dynamodb = aws.sqs = type("Any", (), {"table": "t"})()
    tried = {name.partition(" ")[0] for name in permissions._of_table(aws)}
    assert tried == allowed - looks


def test_a_finding_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """For a person, a line has level, check, problem and advice."""
    found = Finding("table t", Level.FAIL, "no table", "make it")
    monkeypatch.setattr(machine, "read_settings", lambda: found)
    assert run(["doctor"]) == ExitCode.ENVIRONMENT
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if line.startswith("fail")]
    assert line.split() == ["fail", "table", "t", "no", "table;", "make", "it"]
    monkeypatch.setenv("FORCE_COLOR", "1")  # colours are for people
    assert run(["doctor"]) == ExitCode.ENVIRONMENT
    assert "\x1b" in capsys.readouterr().out
    assert run(["doctor", "--json"]) == ExitCode.ENVIRONMENT
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.usefixtures("provisioned")
def test_a_served_queue_that_no_producer_uses_is_a_warning(
    doctor: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every command that arrives there would be dead-lettered as not permitted."""
    file = tmp_path / "permissions.toml"
    file.write_text(
        '[[producer]]\nname = "signup"\nqueues = ["user-commands"]\nprincipals = ["*"]\n'
        'sources = ["*"]\ncommands = ["*"]\n'
    )
    monkeypatch.setenv("USER_WORKER_PERMISSIONS", str(file))
    monkeypatch.setenv("USER_WORKER_PRIORITY_QUEUE", "user-commands-urgent")
    monkeypatch.setenv("USER_WORKER_ADDITIONAL_QUEUES", "office,imports")
    assert run(["provision"]) == ExitCode.OK
    _, findings = doctor()
    finding = bad(findings, Level.WARN)["producers"]
    assert finding["text"].endswith("sends to user-commands-urgent, office, imports")
    assert finding["advice"]
    file.write_text(file.read_text().replace('"user-commands"', '"*"'))
    _, findings = doctor()
    assert "producers" not in bad(findings, Level.WARN)

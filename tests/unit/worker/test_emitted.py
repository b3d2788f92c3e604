"""The listener of `tests.emitted` hears what it should: else its silence would prove nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from adapters.aws import client as aws
from adapters.aws.fast_calls import use_fast_calls
from tests import canaries
from tests.builders import PASSWORD, email, token
from tests.emitted import (
    LeakError,
    check_call,
    check_captured,
    check_event,
    check_log_files,
    no_credential,
    nothing_personal,
    pytest_runtest_makereport,
)
from tests.unit.adapters.scripted_aws import CALLS, scripted_aws

ADDRESS = email("ada").value
CREDENTIALS = [
    token("any").value,
    PASSWORD.value,
    canaries.SECRET,
    canaries.TOKEN_HASH,
    canaries.PASSWORD_HASH,
]


def event(name: str, **data: Any) -> str:
    """Write an event."""
    return json.dumps({"specversion": "1.0", "type": f"biome.user.{name}.v1", "data": data})


@pytest.mark.parametrize("secret", CREDENTIALS, ids=range(len(CREDENTIALS)))
def test_every_planted_credential_is_heard(secret: str) -> None:
    """In a text, and the report does not repeat it."""
    with pytest.raises(LeakError) as leak:
        no_credential(f"before {secret} after", "a line")
    assert secret not in str(leak.value)


@pytest.mark.parametrize("form", [str, str.upper, lambda text: text.replace("@", "%40")])
def test_an_address_is_heard_in_an_error_or_a_log(form: Any) -> None:
    """In any case, and as a URL has it."""
    with pytest.raises(LeakError):
        nothing_personal(f"user {form(ADDRESS)} is unknown", "a line")


def test_an_address_may_be_printed_but_not_complained_about() -> None:
    """`user-worker user` shows one; an error names the field and the rule."""
    check_captured(ADDRESS, "")
    with pytest.raises(LeakError, match="standard error"):
        check_captured("", ADDRESS)


def test_what_a_test_reads_of_its_output_is_heard(capsys: pytest.CaptureFixture[str]) -> None:
    """Capturing takes it out of the report."""
    sys.stdout.write(f"token {token('x').value}")
    with pytest.raises(LeakError):
        capsys.readouterr()


def test_a_workers_log_is_heard(tmp_path: Path) -> None:
    """Wherever it lies in the folder; other files are the test's own."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "log-1").write_text("all is well")
    (tmp_path / "record-1").write_text(ADDRESS)
    assert check_log_files(tmp_path) == 1
    leaking = tmp_path / "deep" / "log-2"
    leaking.write_text(f'{{"event":"x","email":"{ADDRESS}"}}')
    with pytest.raises(LeakError, match="log-2"):
        check_log_files(tmp_path)
    leaking.unlink()  # otherwise the session's check would fail too


def test_a_secret_in_the_body_of_a_dead_letter_is_heard() -> None:
    """A hash is allowed, because only plaintext secrets are removed from the body."""
    reason = {"error_code": {"DataType": "String", "StringValue": "InvalidField"}}
    kept = {"Body": json.dumps({"token_hash": token("x").value}), "MessageAttributes": reason}
    check_call("ReceiveMessage", {}, {"Messages": [kept]})
    with pytest.raises(LeakError, match="dead letter"):
        check_call("ReceiveMessage", {}, {"Messages": [kept | {"Body": canaries.SECRET}]})


@pytest.mark.parametrize("operation", ["ReceiveMessage", "SendMessageBatch", "PublishBatch"])
def test_a_message_attribute_is_heard(operation: str) -> None:
    """Of a dead letter as of an event, sent or received."""
    attributes = {"error_detail": {"DataType": "String", "StringValue": f"not {ADDRESS}"}}
    entry = {"Body": "{}", "Message": "{}", "MessageAttributes": attributes}
    entries = {"Entries": [entry], "PublishBatchRequestEntries": [entry]}
    with pytest.raises(LeakError, match="error_detail"):
        check_call(operation, entries, {"Messages": [entry]})


def test_an_event_with_a_credential_is_heard_and_a_command_is_not() -> None:
    """A command must contain its hashes; an event never does."""
    secret = token("x").value
    with pytest.raises(LeakError):
        check_event(event("UserRegistered", token_hash=secret))
    check_event(event("RegisterUser", token_hash=secret))
    check_event("{not JSON")
    check_event("[" * 100_000)


def test_an_address_in_an_event_without_recipient_is_detected() -> None:
    """It is allowed in events for a person."""
    check_event(event("UserRegistered", email=ADDRESS))
    with pytest.raises(LeakError):
        check_event(event("LoginFailed", email=ADDRESS))


def test_every_call_of_an_sdk_client_is_heard() -> None:
    """The session's hook checks the call."""
    client: Any = boto3.client("sqs", endpoint_url="http://127.0.0.1:9")
    letter = {
        "Body": "{}",
        "MessageAttributes": {"d": {"StringValue": ADDRESS, "DataType": "String"}},
    }
    with Stubber(client) as stub:
        stub.add_response("receive_message", {"Messages": [letter]})
        with pytest.raises(LeakError):
            client.receive_message(QueueUrl="http://127.0.0.1:9/q")
    client.close()


def test_a_call_that_botocore_does_not_make_is_heard_too() -> None:
    """The worker's clients make most of theirs without it."""
    client: Any = aws.client("sns")
    use_fast_calls(client)
    _, _, clean = CALLS["PublishBatch"]
    entry = {"Id": "0", "Message": event("LoginFailed", email=ADDRESS)}
    with scripted_aws("PublishBatch") as sent:
        client.publish_batch(**clean)
        client.publish_batch(**clean)
        client.meta.events.register("before-sign", lambda **_: pytest.fail("botocore made it"))
        with pytest.raises(LeakError):
            client.publish_batch(**{**clean, "PublishBatchRequestEntries": [entry]})
    assert len(sent.requests) == 3


@pytest.mark.parametrize(
    ("title", "text", "outcome"),
    [
        ("Captured stdout call", f"token {token('x').value}", "failed"),
        ("Captured stderr setup", f"no user {ADDRESS}", "failed"),
        ("Captured log call", f"INFO     worker:batch.py:1 of {ADDRESS}\n", "failed"),
        ("Captured stdout call", f"{ADDRESS} and nothing secret", "passed"),
        ("Captured log call", "INFO     worker:batch.py:1 all is well\n", "passed"),
        ("Captured log call", f"Traceback\nKeyError: {ADDRESS}\n", "passed"),
    ],
)
def test_a_test_that_emits_a_secret_fails(
    request: pytest.FixtureRequest, title: str, text: str, outcome: str
) -> None:
    """Though nothing in it asserts anything."""
    call = pytest.CallInfo.from_call(lambda: None, "call")
    hook = pytest_runtest_makereport(request.node, call)
    next(hook)
    report = pytest.TestReport.from_item_and_call(request.node, call)
    report.sections = [(title, text)]
    with pytest.raises(StopIteration) as ended:
        hook.send(report)
    assert ended.value.value.outcome == outcome

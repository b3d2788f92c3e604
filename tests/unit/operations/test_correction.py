"""A corrected command in place of a dead letter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from adapters.sqs.dead_letters import EDITED
from application.messages import MessageParser, Redactor
from operations.dead_letters.edit import (
    check_correction,
    has_placeholders,
    parse_correction,
    send_correction,
)
from operations.dead_letters.filter import LetterFilter
from operations.dead_letters.listing import list_letters
from operations.provision import provision_resources
from operations.status import queue_depths
from tests.unit.cli.dlq_world import mocked
from worker.connections import Aws
from worker.errors import CliError, UsageError
from worker.settings import load_settings

HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$"
    "aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
)


FORGED = "correct-horse-battery-staple-7"


@pytest.fixture
def aws() -> Iterator[Aws]:
    """An AWS in this process with the worker's resources."""
    with mocked(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("USER_WORKER_ENV", "dev")
        aws = Aws(load_settings())
        provision_resources(aws)
        yield aws


def event(**data: Any) -> dict[str, Any]:
    """Return a registration."""
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/sign-up",
        "type": "biome.user.RegisterUser.v1",
        "subject": str(uuid4()),
        "data": {"email": "ada@example.com", "first_name": "Ada", "password_hash": HASH, **data},
    }


def text(value: str) -> dict[str, str]:
    """Return a message attribute."""
    return {"DataType": "String", "StringValue": value}


def put(aws: Aws, body: str, original: str | None = None, **attributes: str) -> str:
    """Put a letter, and its original in the quarantine queue if it is given; return its id."""
    original_id = str(uuid4())
    told = {"error_code": "InvalidField", "original_message_id": original_id, **attributes}
    if original is not None:
        told["quarantined"] = "redacted"
        aws.sqs.send_message(
            QueueUrl=aws.queue_url(aws.settings.quarantine_queue),
            MessageBody=original,
            MessageAttributes={"original_message_id": text(original_id)},  # type: ignore[dict-item]
        )
    sent = aws.sqs.send_message(
        QueueUrl=aws.dead_letter_queue_url,
        MessageBody=body,
        MessageAttributes={name: text(value) for name, value in told.items()},  # type: ignore[misc]
    )
    return sent["MessageId"]


def redacted(body: str) -> str:
    """Return a body as a worker dead-letters it."""
    found = Redactor(["customer"]).redact(body)
    return body if found is None else found.body


def received(aws: Aws) -> Any:
    """Return the only message of the command queue."""
    answer = aws.sqs.receive_message(
        QueueUrl=aws.command_queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    (message,) = answer["Messages"]
    return message


def depth(aws: Aws, url: str) -> int:
    """Return the number of a queue's messages."""
    return queue_depths(aws, url)["visible"]


def test_a_correction_replaces_its_letter_and_is_the_operators(aws: Aws) -> None:
    """It states no sender: it counts as sent by this process, in the name of the person."""
    wrong = event(first_name=7)
    letter = put(aws, json.dumps(wrong), sender_principal="AROASIGNUP")
    send_correction(aws, letter, event() | {"id": wrong["id"]}, "ada")
    message = received(aws)
    assert json.loads(message["Body"])["actor"] == "ada"
    assert "sender_principal" not in message["MessageAttributes"]
    assert message["MessageAttributes"]["redrive_count"]["StringValue"] == "1"
    assert depth(aws, aws.dead_letter_queue_url) == 0


def test_placeholders_keep_the_values_of_the_original(aws: Aws) -> None:
    """A secret need not be shown to be sent again; the original is deleted with its letter."""
    original = event(nickname="x")
    letter = put(aws, redacted(json.dumps(original)), json.dumps(original))
    shown = json.loads(redacted(json.dumps(original)))
    assert has_placeholders(shown)
    assert HASH not in json.dumps(shown)
    send_correction(aws, letter, shown, "ada")
    assert json.loads(received(aws)["Body"])["data"] == event()["data"]
    assert depth(aws, aws.queue_url(aws.settings.quarantine_queue)) == 0


def test_a_placeholder_without_an_original_is_refused_by_its_path(aws: Aws) -> None:
    """Nothing is sent, and the letter stays."""
    shown = json.loads(redacted(json.dumps(event())))
    letter = put(aws, json.dumps(shown))
    with pytest.raises(UsageError, match=r"data\.first_name: the original value cannot be read"):
        send_correction(aws, letter, shown, "ada")
    assert depth(aws, aws.command_queue_url) == 0
    assert len(list_letters(aws, LetterFilter()).letters) == 1


def test_an_invalid_completed_command_is_refused(aws: Aws) -> None:
    """The original's own value may be what is wrong; it is not repeated in the error."""
    original = event(password_hash="correct horse battery")
    letter = put(aws, redacted(json.dumps(original)), json.dumps(original))
    with pytest.raises(UsageError, match=r"data\.password_hash") as raised:
        send_correction(aws, letter, json.loads(redacted(json.dumps(original))), "ada")
    assert "correct horse" not in str(raised.value)
    assert len(list_letters(aws, LetterFilter()).letters) == 1


def test_the_first_body_is_kept_over_several_corrections(aws: Aws) -> None:
    """Redacted, as the letter shows it."""
    first = event(first_name=7)
    letter = put(aws, json.dumps(first))
    send_correction(aws, letter, event(), "ada")
    history = received(aws)["MessageAttributes"][EDITED]["StringValue"]
    assert json.loads(history)["id"] == first["id"]
    assert HASH not in history
    assert "@" not in history
    again = put(aws, json.dumps(event()), **{EDITED: history})
    (found,) = list_letters(aws, LetterFilter(ids=[again]), bodies=True).letters
    assert found.edited_from == history


def test_a_forged_history_is_redacted(aws: Aws) -> None:
    """Any sender can write the attribute."""
    letter = put(aws, "{}", **{EDITED: json.dumps({"password": FORGED})})
    (found,) = list_letters(aws, LetterFilter(ids=[letter]), bodies=True).letters
    assert found.edited_from is None
    assert FORGED not in str(found.attributes())


def test_a_letter_that_is_gone_is_an_error(aws: Aws) -> None:
    """Nothing is sent in its place."""
    put(aws, "{}")
    with pytest.raises(CliError, match="dead letter not found"):
        send_correction(aws, str(uuid4()), event(), "ada")
    assert depth(aws, aws.command_queue_url) == 0


@pytest.mark.parametrize("text_", ["", "{", "[]", "7", "[" * 100_000, '"a"', "\x00"])
def test_what_is_no_json_object_is_refused(text_: str) -> None:
    """With one line that says where."""
    with pytest.raises(UsageError, match="the command is not") as raised:
        parse_correction(text_)
    assert "\n" not in str(raised.value)


def test_an_unknown_command_is_refused_without_its_values() -> None:
    """The worker would dead-letter it with the same error."""
    with pytest.raises(UsageError, match="the command is invalid"):
        check_correction(event() | {"type": "biome.user.NoSuch.v1"}, MessageParser(["customer"]))

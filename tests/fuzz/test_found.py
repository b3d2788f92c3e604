"""Bugs found by fuzzing: each of these tests failed before the fix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.dynamodb import MalformedItemError
from adapters.dynamodb.mapper import parse_user, render_user
from adapters.dynamodb.records import (
    parse_entry,
    parse_outcome,
    render_entry,
    render_outcome,
)
from application.batch_results import REUSED_ID, BatchResults
from application.disposition import DeadLetter
from application.messages import MalformedMessageError, UnknownTypeError
from application.ports import CommandKey, JobKind, OutboxEntry
from application.retry import Failure
from operations.command_input import Options, check, from_arguments, from_text
from tests.builders import NOW, message, token, uid
from tests.persistence import new_user, outcome
from tests.unit.application.messages.examples import OTHER_ID, PARSER, cloud_event
from worker.errors import UsageError

SECRET = "hunter2-correct-horse"


@pytest.mark.parametrize("failure", [REUSED_ID, Failure("Unavailable", "the store did not answer")])
def test_a_valid_command_that_is_dead_lettered_later_leaves_no_secret(failure: Failure) -> None:
    """Extensions, which the parser ignores, are redacted too; the rest of the body is kept."""
    event = cloud_event("UnbanUser")
    body = json.dumps(event | {"password": SECRET})
    received = message(body, receives=12)
    assert PARSER.parse(received)

    settling = BatchResults([received], 12, lambda _low, high: high, PARSER.redact)
    settling.unreadable(0, failure)

    (settled,) = settling.result().items
    assert isinstance(settled, DeadLetter)
    assert settled.body is not None
    assert json.loads(settled.body) == event | {
        "[unknown]": [f"[string of {len(SECRET)} characters]"]
    }


def test_no_secret_stays_beside_positional_arguments() -> None:
    """The third part of a Celery body was kept unchanged if the first one was not empty."""
    body = json.dumps([["ada"], {"user_id": OTHER_ID}, {"password": SECRET, "chain": None}])
    redacted = PARSER.redact(body)
    assert redacted is not None
    assert redacted.body == f"[string of {len(body)} characters]"


@pytest.mark.parametrize(
    "change",
    [
        {"type": f"biome.user.Do{token('x').value[:50]}.v1"},
        {"data": {f"a{token('x').value[:63]}": 1}},
        {f"a{token('x').value[:30]}": {}},
    ],
    ids=["type", "field", "attribute"],
)
def test_a_hash_in_place_of_a_name_is_not_repeated(change: dict[str, Any]) -> None:
    """Names are repeated for the sender. Ours are short, and have no digits within."""
    with pytest.raises((MalformedMessageError, UnknownTypeError)) as caught:
        PARSER.parse(message(json.dumps(cloud_event() | change)))
    assert token("x").value[10:30] not in str(caught.value)


@pytest.mark.parametrize("value", [[["ada"], {}, {}], {"args": ["ada"]}])
def test_redacted_arguments_are_not_redacted_again(value: Any) -> None:
    """A dead letter that is redriven and dead-lettered again keeps its body unchanged."""
    redacted = PARSER.redact(json.dumps(value))
    assert redacted is not None
    assert PARSER.redact(redacted.body) is None


def test_half_a_character_in_an_unread_extension_is_a_usage_error() -> None:
    """It was an unexpected UnicodeEncodeError (exit code 70) from within the SDK."""
    event = cloud_event("UnbanUser", note="\ud800")
    with pytest.raises(UsageError, match="must be valid Unicode"):
        check(event, "line 1", PARSER)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["arrays", "objects"])
def test_what_is_nested_without_end_is_a_usage_error(text: str) -> None:
    """In a file, in --data and in a value; it was a RecursionError (exit code 70)."""
    with pytest.raises(UsageError, match="is not JSON"):
        list(from_text(text, "file", Options()))
    with pytest.raises(UsageError, match="--data is not JSON"):
        from_arguments("UnbanUser", [], text, Options())
    event = from_arguments("ChangePassword", [f"credential_version={text}"], None, Options())
    assert event["data"]["credential_version"] == text


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("RegisterUser", [SECRET]),
        ("RegisterUser", ["password_hash=$argon2id$", SECRET]),
        ("RegisterUser", [f"{SECRET}=="]),
        (f"password={SECRET}", []),
    ],
)
def test_a_secret_in_the_wrong_place_of_a_command_line_is_not_repeated(
    name: str, pairs: list[str]
) -> None:
    """Standard error may be stored; the message says which word is wrong."""
    with pytest.raises(UsageError) as caught:
        from_arguments(name, pairs, None, Options(user_id=OTHER_ID))
    assert SECRET not in str(caught.value)


EARLY = "0001-01-01T00:00:00+23:59"
"""A time with offset that is outside of UTC's range."""


@pytest.mark.parametrize("attribute", ["created_at", "updated_at", "locked_until"])
def test_a_stored_time_before_all_time_is_a_malformed_item(attribute: str) -> None:
    """It was an OverflowError, which prevented the separation of the user's other commands."""
    item: Any = render_user(new_user("ada")) | {attribute: {"S": EARLY}}
    with pytest.raises(MalformedItemError, match=attribute):
        parse_user(item)


def test_a_pointer_from_before_all_time_is_malformed() -> None:
    """The relay skips it, and continues."""
    key = CommandKey(uid("ada"), uid("command"))
    entry = OutboxEntry("OUTBOX#0", f"{EARLY}#x", JobKind.PUBLISH, (key,), NOW)
    with pytest.raises(MalformedItemError, match="time with offset"):
        parse_entry(render_entry(entry))


def test_stored_events_nested_without_end_are_a_malformed_item() -> None:
    """It was a RecursionError, in the relay."""
    item: Any = render_outcome(outcome("x", "ada")) | {"events": {"S": "[" * 100_000}}
    with pytest.raises(MalformedItemError, match="events"):
        parse_outcome(item)

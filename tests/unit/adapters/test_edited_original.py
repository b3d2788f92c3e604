"""Check what the worker passes on of a corrected command."""

from __future__ import annotations

import json

import pytest

from adapters.sqs.dead_letters import (
    EDITED,
    MAX_EDITED,
    edited_original,
    render_letter,
    without_personal_data,
)
from application.disposition import DeadLetter
from application.queue_port import DeadLetterMessage, RawMessage

BAN = {
    "specversion": "1.0",
    "id": "0f0e0d0c-0b0a-4908-8706-050403020100",
    "source": "/back-office",
    "type": "biome.user.BanUser.v1",
    "data": {"until": "2099-01-01T00:00:00Z", "reason": "fraud by ada@example.com"},
}


def attributes(text: str) -> dict[str, dict[str, str]]:
    """Return message attributes with a text as the body before a correction."""
    return {EDITED: {"DataType": "String", "StringValue": text}}


def test_the_body_before_a_correction_reaches_the_next_dead_letter() -> None:
    """With ids and times, without free text, addresses and roles."""
    before = without_personal_data(json.dumps(BAN))
    assert "2099-01-01" in before
    assert str(BAN["id"]) in before
    assert "fraud" not in before
    assert edited_original(attributes(before)) == before
    message = RawMessage("m", "r", "{}", 1, 0.0, 0.0, None, edited_original=before)
    entry = render_letter(
        DeadLetterMessage(
            message, DeadLetter("NotJson", "", body="[string of 2 characters]", principal="AROA")
        ),
        "user-commands",
        fifo=False,
    )
    told = entry["MessageAttributes"]
    assert told[EDITED]["StringValue"] == before
    assert len(told) <= 10  # SQS's limit


@pytest.mark.parametrize(
    "text",
    [
        "correct horse battery staple",
        json.dumps(BAN),
        json.dumps({"email": "ada@example.com"}),
        '{"password": "x"}',
        "",
        "[string of 12345678901234567890 characters]",
    ],
)
def test_what_a_sender_writes_there_is_ignored(text: str) -> None:
    """A dead letter never shows more than its own redacted body."""
    assert edited_original(attributes(text)) is None


@pytest.mark.parametrize(
    "body", ["", "no json", "[]", "{", json.dumps({"a": "b"}), "\x00", "[" * 9_000]
)
def test_any_body_has_a_form_without_personal_data(body: str) -> None:
    """A body that is not an event is described by its length."""
    assert edited_original(attributes(without_personal_data(body))) is not None


def test_a_text_beyond_the_limit_is_not_parsed() -> None:
    """A sender could otherwise use the processor time of the thread that receives."""
    before = without_personal_data(json.dumps(BAN))
    longest = before.ljust(MAX_EDITED)
    assert edited_original(attributes(longest)) == longest
    assert edited_original(attributes(longest + " ")) is None

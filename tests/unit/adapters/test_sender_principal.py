"""The principal of a sender: from SQS, from a redrive, and in a dead letter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters.sqs.dead_letter_queue import StoredLetter
from adapters.sqs.dead_letters import principal_of, render_letter, stated_principal
from application.disposition import DeadLetter
from application.queue_port import DeadLetterMessage, RawMessage


@pytest.mark.parametrize(
    ("sender", "principal"),
    [
        ("AROAEXAMPLE:session", "AROAEXAMPLE"),
        ("AROAEXAMPLE:AROAOTHER:x", "AROAEXAMPLE"),
        ("AIDAEXAMPLE", "AIDAEXAMPLE"),
        ("000000000000", "000000000000"),
        (":session", None),
        ("", None),
        ("*", None),
        ("AROA EXAMPLE", None),
        ("A" * 129, None),
    ],
)
def test_the_principal_is_the_part_of_the_sender_id_before_the_session(
    sender: str, principal: str | None
) -> None:
    """The caller of AssumeRole chooses the name of the session."""
    assert principal_of({"SenderId": sender}) == principal


@pytest.mark.parametrize("attributes", [None, {}, {"sender_principal": {}}])
def test_a_missing_statement_is_none(attributes: Any) -> None:
    """Any sender may omit or damage the attribute."""
    assert stated_principal(attributes) is None
    assert principal_of(attributes) is None


def test_a_letter_contains_the_principal_of_the_disposition() -> None:
    """The statement of the sender is not copied into the letter."""
    message = RawMessage("m", "r", "{}", 1, 0.0, 0.0, None, first_principal="AROAFORGED")
    for principal in ("AROASIGNUP", None):
        letter = DeadLetterMessage(
            message, DeadLetter("NotPermitted", "signup", principal=principal)
        )
        attributes = render_letter(letter, "user-commands", fifo=False)["MessageAttributes"]
        assert stated_principal(attributes) == principal


def test_the_principal_of_a_letter_that_sqs_moved_is_its_sender_id() -> None:
    """Its attributes are those of the message, which its sender wrote."""
    forged = {"sender_principal": {"StringValue": "AROAFORGED"}}
    plain = StoredLetter("m", "{}", 0.0, sender="AROA1", source_queue="q")
    moved = replace(plain, attributes=forged)
    sent = StoredLetter("m", "{}", 0.0, attributes=forged, sender="AROAWORKER")
    assert plain.principal == "AROA1"
    assert moved.principal is None  # a redrive by an operator, or a forged statement
    assert sent.principal == "AROAFORGED"  # recorded by a worker

"""The handwritten parts of docs/reference/messages.md agree with the definitions."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path

import pytest

from application.disposition import ReceivedMessage
from application.messages import MessageParser
from domain.commands import ANY_COMMAND_REJECTIONS
from domain.errors import RejectionCode as Code
from domain.events import EVENTS
from domain.values import MAX_ADDRESS, MAX_CIPHERTEXT, MAX_LOCAL_PART, MAX_NAME, MAX_REASON

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "messages.md").read_text()
END = "<!-- end of table -->"


def test_the_page_explains_every_rejection_once() -> None:
    """The page explains every code that a worker can return."""
    lines = re.findall(
        r"^- \*\*([\w, ]+)\*\*: ", PAGE.partition("\n## Rejections\n")[2], re.MULTILINE
    )
    explained = [code for codes in lines for code in codes.split(", ")]
    assert sorted(explained) == sorted(Code)


def test_the_page_names_the_rejections_of_any_command() -> None:
    """They are listed above the table, which lists only the others."""
    introduction = PAGE.split("## The commands")[1].split("<!-- table commands -->")[0]
    assert all(code in introduction for code in ANY_COMMAND_REJECTIONS)


def test_the_limits_on_the_page_are_those_of_the_values() -> None:
    """The notes below the generated table quote numbers of the code."""
    notes = PAGE.split("### What the fields may be")[1].split("### ")[0].split(END)[1]
    for limit in (MAX_ADDRESS, MAX_CIPHERTEXT, MAX_LOCAL_PART, MAX_NAME, MAX_REASON):
        assert re.search(rf"\b{limit}\b", notes), limit


@pytest.mark.parametrize("example", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_the_example_messages_are_valid(example: str) -> None:
    """The worker accepts the command; the event has the fields of its type."""
    message = json.loads(example)
    if message["type"] in EVENTS:
        fields = [field.name for field in dataclasses.fields(EVENTS[message["type"]])]  # type: ignore[arg-type]  # as above
        assert list(message["data"]) == fields
        return
    received = ReceivedMessage(
        message_id="m", body=example, receives=1, sent_at=time.time(), group_id=None, fifo=False
    )
    assert MessageParser(["customer"]).parse(received).command_id == message["id"]

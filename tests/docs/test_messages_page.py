"""What docs/messages.md says of every message is what the definitions say."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from application.disposition import ReceivedMessage
from application.messages import MessageParser
from domain.commands import COMMANDS
from domain.errors import RejectionCode as Code
from domain.events import EVENTS
from domain.values import MAX_ADDRESS, MAX_CIPHERTEXT, MAX_LOCAL_PART, MAX_NAME, MAX_REASON
from tests.unit.domain import access_cases, identity_cases

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text()


def table(first: str) -> list[list[str]]:
    """Give the rows of the page's table whose first column is headed so."""
    found = re.search(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found, f"no table headed {first!r}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]


def words(cell: str) -> list[str]:
    """Give the words between the commas of a cell; a dash is none."""
    return [] if cell == "-" else cell.split(", ")


def test_the_page_lists_every_command_with_its_fields() -> None:
    """A producer finds each field, and whether it may be left out."""
    defined = {
        command.__name__: [
            field.name + ("" if field.default is dataclasses.MISSING else "?")
            for field in dataclasses.fields(command)  # type: ignore[arg-type]  # all are dataclasses
        ]
        for command in COMMANDS.values()
    }
    assert {name: words(data) for name, data, _ in table("Command")} == defined


def test_the_page_lists_every_event_with_its_category_and_fields() -> None:
    """A subscriber finds what it can filter by, and what it gets."""
    defined = {
        event.__name__: (event.category, [field.name for field in dataclasses.fields(event)])  # type: ignore[arg-type]  # as above
        for event in EVENTS.values()
    }
    listed = {name: (category, words(data)) for name, category, data in table("Event")}
    assert listed == defined


def test_the_page_explains_every_rejection_once() -> None:
    """No code comes back that the page does not know."""
    explained = [code for codes, _ in table("code") for code in words(codes)]
    assert sorted(explained) == sorted(Code)


def test_the_page_lists_the_rejections_of_each_command() -> None:
    """They are those that the domain's own cases expect, and those of any command."""
    of_any = {Code.USER_NOT_FOUND, Code.USER_ERASED, Code.VERSION_CONFLICT, Code.COMMAND_EXPIRED}
    expected: dict[str, set[str]] = {command.__name__: set() for command in COMMANDS.values()}
    for case in identity_cases.CASES + access_cases.CASES:
        expected[type(case.command).__name__] |= {case.code} - of_any if case.code else set()
    for creating in ("RegisterUser", "CreateUser"):  # whose cases are not in those tables
        expected[creating] = {Code.USER_ALREADY_EXISTS, Code.EMAIL_TAKEN}

    listed = {name: set(words(codes)) for name, _, codes in table("Command")}

    assert listed == expected
    introduction = PAGE.split("## The commands")[1].split("| Command |")[0]
    assert all(code in introduction for code in of_any)


def test_the_limits_on_the_page_are_those_of_the_values() -> None:
    """Numbers are stated once in the code, and quoted here."""
    rules = " ".join(rule for _, rule in table("field"))
    for limit in (MAX_ADDRESS, MAX_CIPHERTEXT, MAX_LOCAL_PART, MAX_NAME, MAX_REASON):
        assert re.search(rf"\b{limit}\b", rules), limit


@pytest.mark.parametrize("example", re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
def test_the_example_messages_are_valid(example: str) -> None:
    """The command is one that the worker takes; the event has the fields of its type."""
    message = json.loads(example)
    if message["type"] in EVENTS:
        fields = [field.name for field in dataclasses.fields(EVENTS[message["type"]])]  # type: ignore[arg-type]  # as above
        assert list(message["data"]) == fields
        return
    received = ReceivedMessage(
        message_id="m", body=example, receives=1, sent_at=0.0, group_id=None, fifo=False
    )
    assert MessageParser(["customer"]).parse(received).command_id == message["id"]

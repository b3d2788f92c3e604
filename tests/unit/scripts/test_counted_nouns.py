"""No text that a user can read says "1 letters"."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from scripts.user_messages import ROOT, messages

FOLDERS = (
    *("adapters", "application", "cli", "clients/python", "console", "domain", "operations"),
    "worker",
)
PLURAL = re.compile(
    r"\{(?P<value>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\} (?:[a-z-]+ ){0,2}?"
    r"(?P<word>[a-z]+(?<![sui])s|are|were|have)\b"
)
"""A value, and a word behind it that may agree with several only."""
CONSTANT = re.compile(r"\b_?[A-Z][A-Z_]{2,}\b")
"""A limit of the program, which is more than one."""
SINGULAR = {
    *(
        "answers",
        "as",
        "belongs",
        "closed",
        "contains",
        "differs",
        "does",
        "ends",
        "exists",
        "fails",
        "has",
    ),
    *("ms", "must", "names", "needs", "others", "reads", "runs", "sets", "was"),
}
ALLOWED = {
    "{self.kind} items": "a kind, not a number",
    "{limit} printable characters": "a limit of a field, more than one",
    "{limit} characters": "a limit of a field, more than one",
    "{1,7} characters": "a pattern",
    "{1,7} items": "a pattern",
    "{1,7} fields": "a pattern",
    "{1,7} bytes": "a pattern",
    "{len(value)} characters": "the form of redacted values, which programs recognise",
    "{len(str(value))} characters": "the form of redacted values, which programs recognise",
    "{len(value)} items": "the form of redacted values, which programs recognise",
    "{len(value)} fields": "the form of redacted values, which programs recognise",
    "{len(value.get('BinaryValue') or b'')} bytes": "the form of redacted values, as above",
    "{len(messages)} were": "of several",
    "{len(self)} messages": "a representation for developers",
}
"""Texts that are right, with the reason."""


def mistakes(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each number whose noun or verb is always plural."""
    for message in messages(source):
        for found in PLURAL.finditer(message.text):
            exempt = "counted(" in found["value"] or CONSTANT.search(found["value"])
            if not exempt and found["word"] not in SINGULAR and found[0] not in ALLOWED:
                yield message.line, found[0]


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_number_agrees_with_its_noun(folder: str) -> None:
    """Use `counted` of application/wording.py, or put the number at the end: `left: 3`."""
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in mistakes(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_each_number_of_a_page_agrees_with_its_noun() -> None:
    """Templates of the console have `count`."""
    found = [
        f"{path.name}: {each[0]}"
        for path in sorted((ROOT / "console" / "templates").glob("*.html"))
        for each in re.finditer(r"\}\} ([a-z]+(?<![sui])s)\b", path.read_text(encoding="utf-8"))
        if each[1] not in SINGULAR
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "{len(logs)} logs of `user-worker dev`",
        "{waiting} dead letters",
        "{count} of {total} dead letters match",
        "{left} were not deleted",
        "read {most} more temporary queues",
    ],
)
def test_a_mistake_is_found(text: str) -> None:
    """A check that finds nothing would prove nothing."""
    assert list(mistakes(f'x = f"{text}"'))


@pytest.mark.parametrize(
    "text",
    [
        "{counted(n, 'log')} of dev",
        "at most {MAX_NAME} characters",
        "{name} has no fields",
        "{n} s",
    ],
)
def test_a_right_text_is_no_mistake(text: str) -> None:
    """Limits, names and units need no other form."""
    assert not list(mistakes(f'x = f"{text}"'))

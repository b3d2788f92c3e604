"""Stored texts that try to break a page: markup, control characters, direction, length."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import escape

from adapters.dynamodb import DynamoDBUserRepository
from console.live import LONGEST
from domain.events import RecordedEvent
from domain.user import Ban
from operations.printable import printable
from operations.received_event import ReceivedEvent
from tests.builders import uid
from tests.persistence import outcome, registered, session
from tests.unit.console.served import Browser, console, provisioned
from tests.unit.console.test_pages import put_letter

MARKUP = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}&lt;"
CONTROLS = "\x00\x07\x1b[31m\x7f\x85\u200b\u2028\u202e\u2066\ufeff"
LONG = "x" * 10_000
HOSTILE = {"markup": MARKUP, "control characters": f"a{CONTROLS}b", "length": LONG}
FORBIDDEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ud800-\\udfff\\ufeff]"
)
"""Characters that a page must not contain: they control the text around them."""
ELEMENT = re.compile(r"<(?:script(?! src=\"/static/)|img|iframe|svg onload)", re.IGNORECASE)


@pytest.fixture
def browser() -> Iterator[Browser]:
    """An acting console."""
    with provisioned():
        yield console(write=True)


def store(browser: Browser, text: str) -> None:
    """Store a user whose every free text is this one, with a session, an outcome and an entry."""
    aws = browser.console.aws
    change = registered("ada")
    assert change.user is not None
    now = datetime.now(UTC)
    phone = replace(
        session("phone"),
        device=text,
        methods=(text.replace(" ", ""),),
        started_at=now,
        last_used_at=now,
        expires_at=now + timedelta(days=1),
    )
    user = replace(
        change.user,
        first_name=text,
        last_name=text,
        locale=text,
        time_zone=text,
        deactivated=True,
        deactivation_reason=text,
        ban=Ban(text, None),
        live_sessions={phone.session_id: phone.expires_at},
    )
    outcomes = [
        replace(
            outcome("register ada", "ada", RecordedEvent(text, text, 1, {text: text})),
            command_type=text,
            source=text,
            actor=text,
            producer=text,
            principal=text,
            correlation_id=text,
        )
    ]
    stored = replace(change, user=user, outcomes=tuple(outcomes), saved_sessions=(phone,))
    report = DynamoDBUserRepository(aws.dynamodb, aws.settings.table).commit([stored], now)
    assert report.entries, report
    aws.outbox.park(report.entries[0], text)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_stored_texts_are_shown_harmlessly(browser: Browser, text: str) -> None:
    """On each page that shows them, and in full, except for control characters.

    A page that does not show them shows what it is about.
    """
    store(browser, text)
    letter = put_letter(browser, json.dumps({"type": text, "data": text, "id": text}))
    paths = {
        f"/users/{uid('ada')}": escape(printable(text)),
        f"/commands/{uid('register ada')}?user={uid('ada')}": uid("register ada"),
        "/outbox?parked=1": escape(printable(text)),
        "/outbox": "Outbox",
        "/": "Overview",
        "/dead-letters": "NotJson",
        f"/dead-letters/{letter}": letter,
    }
    for path, contained in paths.items():
        answer = browser.get(path)
        assert answer.status == 200, path
        assert not FORBIDDEN.search(answer.text), path
        assert not ELEMENT.search(answer.text), path
        assert contained in answer.text, path


SURROGATES = '"a \\ud800 b \\udfff \\ud83d\\ude00"'
"""JSON of a text with halves of surrogate pairs, and with a whole pair."""


def test_halves_of_surrogate_pairs_are_shown_as_replaced(browser: Browser) -> None:
    """A JSON text can contain them, and UTF-8 cannot."""
    named = f'"id": {SURROGATES}, "type": "biome.user.BanUser.v1"'
    body = f'{{{named}, "data": {{"reason": {SURROGATES}}}}}'
    letter = put_letter(browser, body)
    event = f'{{"type": {SURROGATES}, "subject": {SURROGATES}, "data": {{"x": {SURROGATES}}}}}'
    browser.console.live._add(ReceivedEvent.parse(event, time.monotonic()))
    for path in (
        "/dead-letters",
        f"/dead-letters/{letter}",
        f"/dead-letters/{letter}/edit",
        "/live",
    ):
        answer = browser.get(path)
        assert answer.status == 200, path
        assert not FORBIDDEN.search(answer.text), path
    pasted = browser.post(f"/dead-letters/{letter}/edit", {"command": body})
    assert pasted.status == 400
    assert "invalid" in pasted.text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_published_texts_are_shown_harmlessly_and_short(browser: Browser, text: str) -> None:
    """Anyone who may publish to the topic writes the events of the page Live."""
    event = {
        "type": text,
        "id": text,
        "source": text,
        "subject": text,
        "causationid": text,
        "command_source": text,
        "time": text,
        "data": {text: text, "first_name": text},
    }
    browser.console.live._add(ReceivedEvent.parse(json.dumps(event), time.monotonic()))
    for path in ("/live", "/live/newest", "/"):
        answer = browser.get(path)
        assert answer.status == 200, path
        assert not FORBIDDEN.search(answer.text), path
        assert not ELEMENT.search(answer.text), path
        assert "x" * (LONGEST + 1) not in answer.text, path
    [(_, kept)] = browser.console.live.after(0)
    row = browser.console.render("event_row.html", event=kept)
    assert not FORBIDDEN.search(row)
    assert not ELEMENT.search(row)
    assert len(row) < 20 * LONGEST

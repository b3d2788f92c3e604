from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from adapters.dynamodb.projection import CREDENTIALS
from cli import output, rendering
from domain.commands import AcceptTerms
from domain.handlers import Context, handle
from operations.presentation import user_facts
from operations.received_event import ReceivedEvent
from tests.builders import (
    HASH_KEYS,
    NOW,
    OLDEST,
    PASSWORD,
    envelope,
    register,
    start_session,
    token,
    uid,
)

EVENT = {
    "specversion": "1.0",
    "id": uid("event"),
    "type": "biome.user.UserRegistered.v1",
    "subject": uid("ada"),
    "time": "2026-11-22T10:00:00.123Z",
    "sequence": "00000000000000000001",
    "causationid": uid("command"),
    "data": {"email": "ada@example.com"},
}


def event(**changes: object) -> ReceivedEvent:
    """Create an event as received."""
    return ReceivedEvent.parse(json.dumps({**EVENT, **changes}), 1.0)


def test_an_event_is_a_line_with_type_sequence_user_and_data() -> None:
    """The important parts of an event fit on one line."""
    line = rendering.event_line(event(), wide=True).plain
    for part in ("UserRegistered", "#1", uid("ada"), "email=ada@example.com"):
        assert part in line
    assert "\n" not in line


def test_a_narrow_terminal_gets_short_ids() -> None:
    """An id must not push the data out of view."""
    line = rendering.event_line(event(data={"session_id": uid("session")}), wide=False).plain
    assert f"session_id={uid('session')[:8]}" in line
    assert uid("session") not in line
    assert uid("ada")[:8] in line
    assert uid("ada") not in line


def test_a_rejection_names_the_command_and_the_code() -> None:
    """The user's ids, which are known from elsewhere, are left out."""
    rejected = event(
        type="biome.user.CommandRejected.v1",
        sequence=None,
        data={"command_id": "x", "command_type": "biome.user.BanUser.v1", "code": "UserErased"},
    )
    assert "code=UserErased command=BanUser" in rendering.event_line(rejected, wide=True).plain


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x9b31m", "\r", "a\nb", "\u202e", "\x00"])
def test_nothing_that_a_user_typed_can_steer_the_terminal(evil: str) -> None:
    """Names and addresses come from other people; an escape sequence must have no effect."""
    hostile = event(type=evil, data={"email": evil, evil: evil}, subject=evil)
    line = rendering.event_line(hostile, wide=True).plain
    assert not set(line) & {"\x1b", "\x9b", "\r", "\n", "\u202e", "\x00"}
    assert not set(output.json_line({"email": evil})) & {"\x1b", "\x9b", "\r", "\n", "\u202e"}


@pytest.mark.parametrize("wide", [True, False])
def test_an_event_with_half_of_a_character_can_be_printed(*, wide: bool) -> None:
    """A surrogate without its pair is valid in JSON, but no stream can encode it."""
    half = "\ud800"
    hostile = event(type=half, subject=half, causationid=half, data={half: [half, {half: half}]})
    assert rendering.event_line(hostile, wide=wide).plain.encode()
    assert json.dumps(hostile.attributes, ensure_ascii=False).encode()
    assert event(data={"smile": "\U0001f600"}).data == {"smile": "\U0001f600"}


def test_markup_in_data_is_shown_and_not_obeyed() -> None:
    """Square brackets are text."""
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=True, width=200)
    console.print(rendering.event_line(event(data={"email": "[red]x[/red]"}), wide=True))
    console.print(output.pairs({"name": "[red]y[/red]"}))
    assert "[red]x[/red]" in sink.getvalue()
    assert "[red]y[/red]" in sink.getvalue()


def test_colours_are_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a pipe nor NO_COLOR gets colours."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert output.stdout().is_terminal is False  # pytest's capture is not a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.stdout().no_color
    assert output.stderr().no_color


@pytest.mark.parametrize(
    "body",
    [
        *["", "[]", "null", '{"type": 1}', "not json", '{"data": {}}', '"text"', "[" * 100_000],
        '{"type": "x", "data": {"deep": ' + "[" * 900 + "]" * 900 + "}}",
    ],
    ids=lambda body: body[:20],
)
def test_an_invalid_event_is_refused(body: str) -> None:
    """Anyone may publish anything to a topic."""
    with pytest.raises(ValueError, match="not a CloudEvent"):
        ReceivedEvent.parse(body, 0.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": "x"},
        {"sequence": -1},
        {"time": "yesterday"},
        {"time": None},
        {"data": None},
        {"data": []},
        {"subject": 7},
        {"type": "com.example.Other"},
    ],
)
def test_a_foreign_event_is_shown_with_the_fields_that_it_has(changes: dict[str, object]) -> None:
    """Missing or unexpected attributes do not end the tail."""
    received = event(**changes)
    assert received.time <= datetime.now(UTC)
    assert rendering.event_line(received, wide=True).plain


def test_no_credential_of_a_user_is_shown() -> None:
    """No hash is shown, in any form; operators may not read them."""
    user = handle(
        envelope(register("ada"), "ada"), None, Context(NOW, {}, OLDEST, HASH_KEYS.address_hash)
    ).user
    assert user is not None
    start = start_session(uid("s"), token("refresh"), NOW + timedelta(days=1))
    handle(envelope(start, "ada"), user, Context(NOW, {}, OLDEST, HASH_KEYS.address_hash))
    shown = json.dumps(user_facts(user))
    assert user_facts(user).keys().isdisjoint(CREDENTIALS)
    for secret in (PASSWORD.value, "argon2", token("refresh").value, token("refresh").stored):
        assert secret not in shown


def test_terms_are_shown_as_set_only_if_a_document_was_accepted() -> None:
    """A user who accepted nothing has no value there."""
    context = Context(NOW, {}, OLDEST, HASH_KEYS.address_hash)
    user = handle(envelope(register("ada"), "ada"), None, context).user
    assert user is not None
    assert user_facts(user)["terms"] is None
    handle(envelope(AcceptTerms("terms", "2026-11"), "ada"), user, context)
    assert user_facts(user)["terms"] == "set"

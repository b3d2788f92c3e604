"""In development a command is one short line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from application.messages import MalformedCode
from domain.commands import COMMANDS
from domain.errors import RejectionCode
from tests.builders import uid
from worker import logs
from worker.log_lines import WIDTH

FIELDS: dict[str, Any] = {
    "outcome": "accepted",
    "type": "biome.user.RegisterUser.v1",
    "receives": 1,
    "duration_ms": 5.3,
    "events": ["UserRegistered"],
    "version": 1,
}
IDS = {"command_id": uid("command"), "user_id": uid("ada"), "correlation_id": None}

Log = Callable[..., list[str]]


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Log]:
    """A function that logs an event in a format at a level, and returns the lines."""
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level

    def log(
        event: str, fields: dict[str, Any], form: Any = "console", level: str | int = "INFO"
    ) -> list[str]:
        path = tmp_path / "log"
        path.unlink(missing_ok=True)
        logs.configure(form, level, str(path))
        structlog.get_logger("worker.command").bind(**IDS).info(event, **fields)
        [handler] = root.handlers
        handler.close()
        return path.read_text().splitlines()

    yield log
    root.handlers[:] = handlers
    root.setLevel(before)
    structlog.reset_defaults()


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize(
    "ending",
    [
        {"outcome": "accepted", "duration_ms": 0.4},
        {"outcome": "duplicate", "duration_ms": 123456.7},
        {"outcome": "rejected", "code": max(map(str, RejectionCode), key=len)},
        {"outcome": "dead", "code": max(map(str, MalformedCode), key=len)},
        {"outcome": "later", "code": "Unavailable", "delay": 43200},
    ],
    ids=lambda ending: ending["outcome"],
)
def test_a_command_is_one_line_of_at_most_100_columns(
    logged: Log, kind: str, ending: dict[str, Any]
) -> None:
    """It has the event's name, command, outcome with code, short user id and milliseconds."""
    (line,) = logged("command", {**FIELDS, "type": kind, **ending})
    assert len(line) <= WIDTH == 100
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d\.\d{{3}}  command  {kind.split('.')[2]} +{ending['outcome']}\b.*"
        rf" {uid('ada')[:8]} +[\d.]+ ms",
        line,
    )
    assert str(ending.get("code", "")) in line
    assert uid("ada") not in line


def test_a_command_without_effect_is_told_from_others(logged: Log) -> None:
    """Its outcome is `accepted` too."""
    (line,) = logged("command", {**FIELDS, "events": ["CommandHadNoEffect"]})
    assert "accepted, no effect" in line


@pytest.mark.parametrize("event", ["message_not_understood", "message_not_permitted"])
def test_a_refused_message_has_its_whole_reason_within_100_columns(logged: Log, event: str) -> None:
    """The reason is wrapped between words, since it says what to correct."""
    detail = "data.password_hash: " + "must be an argon2id hash in PHC form " * 4
    fields = {"code": "InvalidField", "detail": detail, "message_id": uid("message")}
    first, *more = logged(event, {**fields, "outcome": "dead"})
    assert re.search(rf"  {event}  dead InvalidField  message {uid('message')[:8]}$", first)
    assert max(map(len, [first, *more])) <= WIDTH
    assert " ".join(line.strip() for line in more) == detail.strip()


def test_no_text_of_a_line_controls_the_terminal(logged: Log) -> None:
    """Fields of a message may be anybody's."""
    evil = "\x1b[2J\n\u202e"
    fields = {**FIELDS, "type": f"biome.user.{evil}.v1", "code": evil, "detail": evil}
    assert not set("\n".join(logged("command", fields))) & set("\x1b\u202e")


@pytest.mark.parametrize(
    "fields",
    [{}, {"outcome": "accepted"}, {"outcome": None, "type": None, "duration_ms": "soon"}],
    ids=["none", "outcome", "wrong"],
)
def test_a_line_with_missing_fields_is_logged(logged: Log, fields: dict[str, Any]) -> None:
    """A formatter that fails would lose the line."""
    (line,) = logged("command", fields)
    assert "command" in line


def test_another_event_keeps_all_its_fields(logged: Log) -> None:
    """What is rare is explained in full; only the date is left out."""
    (line,) = logged("store_unavailable", {"reason": "no answer", "commands": 3})
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} \[info", line)
    assert "reason='no answer'" in line
    assert f"command_id={uid('command')}" in line


@pytest.mark.parametrize("level", ["DEBUG", logging.DEBUG])
def test_at_debug_a_command_has_all_fields(logged: Log, level: str | int) -> None:
    """The id of the command is needed to find its outcome."""
    (line,) = logged("command", FIELDS, level=level)
    assert f"command_id={uid('command')}" in line
    assert re.match(r"\d{4}-\d\d-\d\dT", line)


def test_the_json_of_production_has_all_fields(logged: Log) -> None:
    """Programs read it."""
    (line,) = logged("command", FIELDS, "json")
    found = json.loads(line)
    assert {**FIELDS, **IDS, "event": "command"}.items() <= found.items()
    assert re.match(r"\d{4}-\d\d-\d\dT", found["timestamp"])
    assert found.keys() == {*FIELDS, *IDS, "event", "level", "logger", "timestamp"}

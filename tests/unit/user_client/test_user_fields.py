"""Values of typed commands, field by field, as the worker parses them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest

from application.messages import MessageParser, render_command
from domain import commands as c
from domain.errors import InvalidValueError
from domain.rules import fields_of
from domain.values import EmailAddress, PasswordHash, TokenHash
from tests.builders import PASSWORD, example_value, message, token, uid
from user_client.fields import command_fields

PARSER = MessageParser(("customer", "lab_assistant", "admin"))
NOON = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))


class Role(StrEnum):
    """A service's own names of roles."""

    ADMIN = "admin"


class PlainRole(Enum):
    """The same, of another kind."""

    CUSTOMER = "customer"


CODES = tuple(token(str(number)) for number in range(8))
VALUES: dict[str, Any] = {
    "email": EmailAddress("ada@example.com"),
    "new_email": EmailAddress("ada@example.com"),
    "first_name": "Ada",
    "last_name": "Lovelace",
    "password_hash": PASSWORD,
    "roles": ("admin",),
    "role": "admin",
    "token_id": uid("token"),
    "token_hash": token("t"),
    "code_hash": token("c"),
    "refresh_family_hash": token("f"),
    "refresh_token_hash": token("r"),
    "next_refresh_token_hash": token("n"),
    "session_id": uid("session"),
    "expires_at": NOON,
    "until": NOON,
    "created_at": NOON.replace(year=2019),
    "credential_version": 3,
    "secret_ciphertext": "abc=",
    "recovery_code_hashes": CODES,
    "reason": "fraud",
}


def full(command: type[c.Command], **values: Any) -> Any:
    """Create a command with a value in each field."""
    given = VALUES | values
    made = {
        field.name: given[field.name] if field.name in given else example_value(field)
        for field in fields_of(command)
    }
    return command(**made)


def read(command: c.Command) -> c.Command:
    """Send a command as the client does, and read it as the worker does."""
    by_email = not command.creates_user and getattr(command, "email", None) is not None
    body = render_command(
        command.type,
        command_fields(command),
        command_id=uid("command"),
        source="/test",
        user_id=None if by_email else uid("ada"),
    )
    return PARSER.parse(message(body)).command


@pytest.mark.parametrize("command", c.COMMANDS.values(), ids=lambda command: command.__name__)
def test_every_command_is_read_unchanged(command: type[c.Command]) -> None:
    """Every field has a value."""
    given = full(command)
    assert read(given) == given


def other_forms() -> Iterator[tuple[str, Any]]:
    """Other values that mean the same as those above, by field."""
    for name, value in VALUES.items():
        match value:
            case EmailAddress() | PasswordHash() | TokenHash():
                yield name, value.value
            case datetime():
                yield name, value.isoformat()
                yield name, value.astimezone(timezone(timedelta(hours=-7)))
            case tuple():
                yield name, list(value)
            case _:
                pass
    for name in ("token_id", "session_id"):
        yield name, UUID(VALUES[name])
        yield name, VALUES[name].upper()
    yield "role", Role.ADMIN
    yield "roles", [Role.ADMIN]
    yield "recovery_code_hashes", [code.value for code in CODES]


FORMS = [
    (command, name, value)
    for name, value in other_forms()
    for command in c.COMMANDS.values()
    if name in {field.name for field in dataclasses.fields(command)}  # type: ignore[arg-type]
]


def test_another_form_of_a_value_means_the_same() -> None:
    """A UUID, RFC 3339 text, a list, a member of an enumeration, text for a value object."""
    assert len(FORMS) > 40
    for command, name, value in FORMS:
        assert read(full(command, **{name: value})) == full(command), (command, name)


def test_a_non_string_enumeration_member_is_sent_as_its_value() -> None:
    """Of a role, as of any text."""
    assert read(full(c.AssignRole, role=PlainRole.CUSTOMER)) == c.AssignRole("customer")


WRONG: tuple[Any, ...] = (
    b"hunter2",
    7.5,
    True,
    object(),
    {"hunter2": 1},
    {"hunter2"},
    date(2030, 1, 1),
    EmailAddress(b"hunter2"),  # type: ignore[arg-type]
    [object()],
    (uid("x") for _ in range(1)),
    c.UnbanUser,
)
MIXED = {
    "first_name": (UUID(uid("x")), EmailAddress("a@example.com"), PASSWORD, NOON, token("t")),
    "reason": (PASSWORD, NOON, 7, ["fraud"]),
    "session_id": (NOON, token("t"), 7),
    "expires_at": (UUID(uid("x")), 1_900_000_000, timedelta(hours=1)),
    "password_hash": (token("t"), EmailAddress("a@example.com")),
    "token_hash": (PASSWORD, UUID(uid("x"))),
    "credential_version": ("3", 3.0, None.__class__),
    "roles": ("admin", {"admin"}, [7], [None]),
    "email_verified": ("true", 1, 0),
    "recovery_code_hashes": (CODES[0], [PASSWORD], [None]),
}
WRONGS = [
    (command, field.name, value)
    for command in c.COMMANDS.values()
    for field in dataclasses.fields(command)  # type: ignore[arg-type]
    for value in (*WRONG, *MIXED.get(field.name, ()))
    if not (field.name == "email_verified" and value is True)
]


def test_a_value_of_a_wrong_type_is_refused_by_its_fields_name() -> None:
    """In every field of every command: none passes for another, such as a hash for a name."""
    assert len(WRONGS) > 500
    for command, name, value in WRONGS:
        with pytest.raises(InvalidValueError, match=rf"^data\.{name}: ") as caught:
            command_fields(full(command, **{name: value}))
        assert "hunter2" not in str(caught.value), (command, name)


@pytest.mark.parametrize("time", [datetime(2030, 1, 1), datetime.min.replace(tzinfo=NOON.tzinfo)])  # noqa: DTZ001
def test_a_time_without_offset_or_out_of_range_is_refused(time: datetime) -> None:
    """It names no moment."""
    with pytest.raises(InvalidValueError, match=r"^data\.until: "):
        command_fields(c.BanUser("fraud", time))

"""Shared by the tests of message parsing: a valid example and a strategy for every command."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from application.addresses import parse_address
from application.disposition import ReceivedMessage
from application.messages import MessageParser, render_command
from application.messages.commands import command_data
from domain.commands import COMMANDS, Command
from domain.errors import InvalidValueError
from domain.fields import (
    MAX_INTEGER,
    FieldDefinition,
    Flag,
    Items,
    Number,
    Text,
    example_of,
    fields_of,
)
from domain.values import (
    FIRST_CREATION,
    EmailAddress,
    PasswordHash,
    TokenHash,
    parse_creation_time,
)

ROLES: Final = ("customer", "lab_assistant", "admin")
COMMAND_ID: Final = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11"
USER_ID: Final = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
OTHER_ID: Final = "7b0f1c52-58a5-4d43-8a36-0b2b8a3b1c01"
PASSWORD_HASH: Final = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
SENT_AT: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
TIME: Final = "2026-12-24T18:00:00Z"
PARSER: Final = MessageParser(ROLES)


def token_hash(mark: int) -> str:
    """Return a well-formed hash, different for each mark."""
    return f"{mark:064x}"


_OWN: Final[dict[str, dict[str, Any]]] = {
    "RegisterUser": {
        "email": "Ada@Example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "password_hash": PASSWORD_HASH,
    },
    "CreateUser": {
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "roles": ["customer", "admin"],
    },
    "UpdateProfile": {"first_name": "Ada"},
    "RequestEmailVerification": {
        "token_id": OTHER_ID,
        "token_hash": token_hash(1),
        "expires_at": TIME,
    },
    "VerifyEmail": {"token_hash": token_hash(1)},
    "RequestEmailChange": {
        "new_email": "ada@example.org",
        "token_id": OTHER_ID,
        "token_hash": token_hash(2),
        "expires_at": TIME,
    },
    "ConfirmEmailChange": {"token_hash": token_hash(2)},
    "ChangePassword": {"password_hash": PASSWORD_HASH, "credential_version": 1},
    "RequestPasswordReset": {
        "token_id": OTHER_ID,
        "token_hash": token_hash(3),
        "expires_at": TIME,
    },
    "ResetPassword": {"token_hash": token_hash(3), "password_hash": PASSWORD_HASH},
    "StartSession": {
        "session_id": OTHER_ID,
        "refresh_family_hash": token_hash(7),
        "refresh_token_hash": token_hash(4),
        "expires_at": TIME,
        "credential_version": 1,
        "methods": ["pwd"],
    },
    "RotateRefreshToken": {
        "session_id": OTHER_ID,
        "refresh_family_hash": token_hash(7),
        "refresh_token_hash": token_hash(4),
        "next_refresh_token_hash": token_hash(5),
        "expires_at": TIME,
    },
    "RevokeSession": {"session_id": OTHER_ID},
    "RevokeOtherSessions": {"session_id": OTHER_ID},
    "RevokeAllSessions": {},
    "RecordLoginFailure": {},
    "UnlockUser": {},
    "EnableTwoFactor": {
        "secret_ciphertext": "AQIDBAUGBwg=",
        "recovery_code_hashes": [token_hash(mark) for mark in range(8)],
    },
    "DisableTwoFactor": {},
    "UseRecoveryCode": {"code_hash": token_hash(6)},
    "AssignRole": {"role": "admin"},
    "RevokeRole": {"role": "of_former_times"},
    "BanUser": {"reason": "Spam", "until": TIME},
    "UnbanUser": {},
    "DeactivateUser": {"reason": "On leave"},
    "ReactivateUser": {},
    "EraseUser": {},
}
"""Examples that tests rely on; other commands use the examples of their fields."""


def _example(command: type[Command]) -> dict[str, Any]:
    if command.__name__ in _OWN:
        return _OWN[command.__name__]
    by_email = {"email"} if command.may_name_by_email() else set()
    return {name: value for name, value in example_of(command).items() if name not in by_email}


EXAMPLES: Final = {command.__name__: _example(command) for command in COMMANDS.values()}


def message(body: str) -> ReceivedMessage:
    """Return a body as the transport would receive it."""
    return ReceivedMessage(
        message_id="2c1f6a0e-0d7d-4d6b-a6b5-b1d0bf6c2f10",
        body=body,
        receives=1,
        sent_at=SENT_AT.timestamp(),
        group_id=None,
        fifo=False,
    )


def cloud_event(name: str = "RegisterUser", /, **changes: Any) -> dict[str, Any]:
    """Return a command's example as a CloudEvent; the value `...` omits an attribute."""
    text = render_command(
        name, EXAMPLES[name], command_id=COMMAND_ID, user_id=USER_ID, source="/signup"
    )
    event = {**json.loads(text), **changes}
    return {key: value for key, value in event.items() if value is not ...}


def with_data(name: str = "RegisterUser", /, **changes: Any) -> str:
    """Return a command's example with changed data; the value `...` omits a field."""
    data = {**EXAMPLES[name], **changes}
    data = {key: value for key, value in data.items() if value is not ...}
    return json.dumps(cloud_event(name, data=data))


def notification(text: str, **more: Any) -> str:
    """Wrap a text as SNS does without raw delivery."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": "arn:aws:sns:us-east-1:123456789012:commands",
            "Message": text,
            "Timestamp": "2026-11-22T10:00:00.000Z",
            "SignatureVersion": "1",
            "Signature": "EXAMPLEpH+DcEwjAPg8O9mY8dReBSwksfg2S7WKQcikcNKWLQjwu6A4VbeS0QHVCkhRS",
            "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService.pem",
            "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
            **more,
        }
    )


# --- every possible command ----------------------------------------------------------------


def _accepted_by(rule: Any) -> Any:
    def accepts(text: str) -> bool:
        try:
            rule(text)
        except InvalidValueError:
            return False
        return True

    return accepts


_LOCAL = st.text("abcxyzABC019!#$%&'*+/=?^_`{|}~-é漢", min_size=1, max_size=15)
_LABEL = st.text("abcxyz019", min_size=1, max_size=20)
_TOP_LEVEL = st.sampled_from(("com", "ORG", "xn--p1ai", "рф"))
_PRINTABLE = [chr(code) for code in range(32, 127)]
_TOKEN_HASHES = st.text("0123456789abcdef", min_size=64, max_size=64).map(TokenHash.parse)
_TIMES = st.integers(0, 253_000_000_000_000).map(  # milliseconds, the precision of a message
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)
_CREATION_TIMES = st.integers(0, 900_000_000).map(  # seconds, up to 2018
    lambda seconds: FIRST_CREATION + timedelta(seconds=seconds)
)
_BY_CLASS: dict[object, st.SearchStrategy[Any]] = {
    EmailAddress: st.builds("{}@{}.{}".format, _LOCAL, _LABEL, _TOP_LEVEL).map(parse_address),
    PasswordHash: st.builds(
        "$argon2id$v=19$m={},t={},p={}$c29tZXNhbHRzb21lc2FsdA${}".format,
        st.integers(47_104, 1_048_576),
        st.integers(1, 20),
        st.integers(1, 16),
        st.text("ABCabc019+/", min_size=43, max_size=43),
    ).map(PasswordHash.parse),
    TokenHash: _TOKEN_HASHES,
    datetime: _TIMES,
}


def _values(field: FieldDefinition) -> st.SearchStrategy[Any]:
    match field.rule:
        case Number():
            values: st.SearchStrategy[Any] = st.integers(0, MAX_INTEGER)
        case Flag():
            values = st.booleans()
        case Items(item=item, min_items=least, max_items=most):
            texts = _texts(item, field.item_kind)
            values = st.lists(texts, min_size=least or 0, max_size=most, unique=True).map(tuple)
        case Text():
            values = _texts(field.rule, field.kind)
    return st.none() | values if field.nullable else values


def _texts(rule: Text, kind: object) -> st.SearchStrategy[Any]:
    """Return a strategy of valid values, by their type or else by the keywords of the rule."""
    if rule.parse is parse_creation_time:
        return _CREATION_TIMES
    if rule.setting == "roles":
        return st.sampled_from(ROLES)
    if kind in _BY_CLASS:
        return _BY_CLASS[kind]
    if rule.format == "uuid":
        return st.uuids().map(str)
    if rule.pattern is not None:
        texts = st.from_regex(re.compile(rule.pattern, re.ASCII), fullmatch=True)
    else:
        least, most = rule.min_length or 0, rule.max_length or 100
        texts = st.text(_PRINTABLE, min_size=least, max_size=most) | st.text(
            min_size=least, max_size=min(most, 100)
        )
    return texts.filter(_accepted_by(rule.parse)).map(rule.parse)


def commands_of(kind: type[Command]) -> st.SearchStrategy[Command]:
    """Return a strategy for every command of a class."""
    made: st.SearchStrategy[Command] = st.builds(
        kind, **{field.name: _values(field) for field in fields_of(kind)}
    )
    return made.filter(command_data) if kind.needs_a_field else made


any_command = st.sampled_from(list(COMMANDS.values())).flatmap(commands_of)

"""What the tests of the boundary share: a valid example and a strategy for every command."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from application.disposition import ReceivedMessage
from application.messages import MessageParser, render_command
from domain.commands import COMMANDS, Command
from domain.errors import InvalidValueError
from domain.values import EmailAddress, PasswordHash, TokenHash, parse_name, parse_reason

ROLES: Final = ("customer", "lab_assistant", "admin")
COMMAND_ID: Final = "0190b6d2-7d8a-7c1e-9a53-0a1f5d0c9b11"
USER_ID: Final = "5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77"
OTHER_ID: Final = "7b0f1c52-58a5-4d43-8a36-0b2b8a3b1c01"
PASSWORD_HASH: Final = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
SENT_AT: Final = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
TIME: Final = "2026-12-24T18:00:00Z"
PARSER: Final = MessageParser(ROLES)


def token_hash(mark: int) -> str:
    """Give a well-formed hash, another for each mark."""
    return f"{mark:064x}"


EXAMPLES: Final[dict[str, dict[str, Any]]] = {
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
        "refresh_token_hash": token_hash(4),
        "expires_at": TIME,
    },
    "RotateRefreshToken": {
        "session_id": OTHER_ID,
        "refresh_token_hash": token_hash(4),
        "next_refresh_token_hash": token_hash(5),
        "expires_at": TIME,
    },
    "RevokeSession": {"session_id": OTHER_ID},
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


def message(body: str) -> ReceivedMessage:
    """Give a body as the transport would."""
    return ReceivedMessage(
        message_id="2c1f6a0e-0d7d-4d6b-a6b5-b1d0bf6c2f10",
        body=body,
        receives=1,
        sent_at=SENT_AT.timestamp(),
        group_id=None,
        fifo=False,
    )


def cloud_event(name: str = "RegisterUser", /, **changes: Any) -> dict[str, Any]:
    """Give the example of a command as a CloudEvent; a change to `...` leaves the attribute out."""
    text = render_command(
        name, EXAMPLES[name], command_id=COMMAND_ID, user_id=USER_ID, source="/signup"
    )
    event = {**json.loads(text), **changes}
    return {key: value for key, value in event.items() if value is not ...}


def with_data(name: str = "RegisterUser", /, **changes: Any) -> str:
    """Give the example of a command with other data; a change to `...` leaves the field out."""
    data = {**EXAMPLES[name], **changes}
    data = {key: value for key, value in data.items() if value is not ...}
    return json.dumps(cloud_event(name, data=data))


def notification(text: str) -> str:
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
_TEXT = st.text(min_size=1, max_size=100)
_TOKEN_HASHES = st.text("0123456789abcdef", min_size=64, max_size=64).map(TokenHash.parse)
_TIMES = st.integers(0, 253_000_000_000_000).map(  # milliseconds: what a message carries
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)
_BY_CLASS: dict[object, st.SearchStrategy[Any]] = {
    EmailAddress: st.builds("{}@{}.{}".format, _LOCAL, _LABEL, _TOP_LEVEL).map(EmailAddress.parse),
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
_BY_RULE: dict[str, st.SearchStrategy[Any]] = {
    "id": st.uuids().map(str),
    "name": _TEXT.filter(_accepted_by(parse_name)).map(parse_name),
    "reason": _TEXT.filter(_accepted_by(parse_reason)).map(parse_reason),
    "role": st.sampled_from(ROLES),
    "any_role": st.from_regex(r"[a-z][a-z0-9_]{0,49}", fullmatch=True),
    "ciphertext": st.text([chr(code) for code in range(32, 127)], min_size=1, max_size=1024),
    "credential_version": st.integers(0, 2**53 - 1),
    "recovery_codes": st.lists(_TOKEN_HASHES, min_size=8, max_size=16, unique=True).map(tuple),
    "roles": st.lists(st.sampled_from(ROLES), unique=True).map(tuple),
}


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (part for part in get_args(hint) if part is not NoneType)
        return st.none() | _values(inner)
    if get_origin(hint) is Annotated:
        return _BY_RULE[get_args(hint)[1]]
    return _BY_CLASS[hint]


def commands_of(kind: type[Command]) -> st.SearchStrategy[Command]:
    """Give every command of a class."""
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: _values(hints[field.name]) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    made: st.SearchStrategy[Command] = st.builds(kind, **fields)
    if kind.__name__ == "UpdateProfile":
        return made.filter(lambda command: command != kind())
    return made


any_command = st.sampled_from(list(COMMANDS.values())).flatmap(commands_of)

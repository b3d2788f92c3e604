"""Stored items with any content: parsed, or refused by the one declared error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from adapters.dynamodb import MalformedItemError, mapper, records
from application.ports import CommandKey, JobKind, OutboxEntry
from application.repository import BannedAddress, Outcome, Status
from domain.errors import RejectionCode
from domain.events import RecordedEvent
from domain.sessions import Session
from domain.tokens import OneTimeToken
from domain.user import Ban, EmailChange, TwoFactor, User
from domain.values import EmailAddress
from tests import canaries
from tests.builders import NOW, uid
from tests.fuzz.choices import Choices

_TOKEN = OneTimeToken(canaries.TOKEN_HASH, NOW)
_ADDRESS = EmailAddress(canaries.ADDRESS)
_LATER = NOW + timedelta(days=90)
_USER = User(
    user_id=uid("ada"),
    version=3,
    created_at=NOW,
    updated_at=NOW,
    email=_ADDRESS,
    first_name="Ada",
    last_name="Lovelace",
    email_verified=True,
    password_hash=canaries.PASSWORD_HASH,
    credential_version=1,
    roles=("customer", "admin"),
    live_sessions={uid("session"): _LATER},
    failed_logins=1,
    lock_count=1,
    locked_until=NOW,
    ban=Ban("Spam", NOW, address_hash="0" * 64),
    deactivated=True,
    deactivation_reason="On leave",
    two_factor_enabled=True,
    email_verification=_TOKEN,
    email_change=EmailChange(_ADDRESS, _TOKEN),
    password_reset=_TOKEN,
)
_SESSION = Session(
    uid("session"),
    canaries.TOKEN_HASH,
    (canaries.TOKEN_HASH[:32],),
    _LATER,
    replaced_token_hash=canaries.TOKEN_HASH[:32],
    replaced_at=NOW,
    revision=2,
)
_TWO_FACTOR = TwoFactor(canaries.SECRET, (canaries.TOKEN_HASH,), 1)
_EVENT = RecordedEvent("biome.user.UserRegistered.v1", "registration", 1, {"email": _ADDRESS.value})
_OUTCOME = Outcome(
    command_id=uid("command"),
    command_type="biome.user.RegisterUser.v1",
    user_id=uid("ada"),
    by_email=True,
    fingerprint="f",
    status=Status.REJECTED,
    code=RejectionCode.EMAIL_TAKEN,
    events=(_EVENT,),
    version=1,
    recorded_at=NOW,
    expires_at=_LATER,
    source="/test",
    correlation_id="c",
    actor="support/7",
    producer="signup",
    principal="AROASIGNUP",
    traceparent="t",
    tracestate="s",
)
_BANNED = BannedAddress("0" * 64, uid("ada"), NOW)
_KEY = CommandKey(uid("ada"), uid("command"))
_SORT_KEY = records.render_sort_key(NOW, uid("pointer"))
_POINTER = OutboxEntry(
    *("OUTBOX#3", _SORT_KEY, JobKind.PUBLISH, (_KEY,), NOW, "lost"),
    attempts=3,
    touched_at=NOW,
    position=f"COMMAND#{uid('c')}",
    unreadable=1,
    final=True,
    address=_ADDRESS.key,
)


@dataclass(frozen=True, slots=True)
class _Kind:
    item: Any
    parse: Callable[[Any], Any]
    render: Callable[[Any], Any] = lambda _: None


_KINDS: Final = (
    _Kind(mapper.render_user(_USER), mapper.parse_user, mapper.render_user),
    _Kind(
        mapper.render_session(uid("ada"), _SESSION),
        mapper.parse_session,
        lambda session: mapper.render_session(uid("ada"), session),
    ),
    _Kind(
        mapper.render_two_factor(uid("ada"), _TWO_FACTOR),
        mapper.parse_two_factor,
        lambda two_factor: mapper.render_two_factor(uid("ada"), two_factor),
    ),
    _Kind(mapper.render_address(_ADDRESS, uid("ada"), held=True), mapper.parse_address),
    _Kind(mapper.render_banned(_BANNED), mapper.parse_banned, mapper.render_banned),
    _Kind(records.render_outcome(_OUTCOME), records.parse_outcome, records.render_outcome),
    _Kind(records.render_entry(_POINTER), records.parse_entry, records.render_entry),
    _Kind(records.render_entry(_POINTER), records.entry_time),
    _Kind(records.render_outcome(_OUTCOME), records.outcome_key_of),
)
_NUMBERS = ("0", "-1", "1.5", "1E+2", "9" * 38, "-" + "9" * 38, "253402300800")
_NAMES = ("token", "until", "reason", "expires_at", "token_hash", "new_email")
_EVENTS = ("[[]]", '[["t","c",1,{}]]', '[["t","c",true,{"a":[]}]]', "{}", "[" * 5000, "NaN")


def stored_item(data: bytes) -> None:
    """Any item of DynamoDB's JSON is parsed, or refused by an error without its values."""
    choices = Choices(data)
    kind = choices.one_of(_KINDS)
    item = copy.deepcopy(kind.item)
    for _ in range(1 + choices.below(4)):
        place = item
        names = tuple(name for name in place if name not in ("pk", "sk") or choices.below(2))
        name = choices.one_of(names or ("schema",))
        if (inner := place.get(name, {}).get("M")) and choices.below(2):
            place, name = inner, choices.one_of(tuple(inner))
        if choices.below(4) == 0:
            if name not in ("pk", "sk"):  # an item without a key cannot be stored
                place.pop(name, None)
        else:
            place[name] = _key_value(choices) if name in ("pk", "sk") else _value(choices)
    told = ""
    try:
        found = kind.parse(item)
    except MalformedItemError as error:
        told = str(error)
    else:
        kind.render(found)
    assert not canaries.personal_in(told)


def _key_value(choices: Choices) -> Any:
    return {"S": choices.one_of(("USER#", "COMMAND#", "", "0001-01-01T00:00:00+23:59#"))
            + choices.text()}  # fmt: skip


def _value(choices: Choices, depth: int = 0) -> Any:
    kind = choices.below(8 if depth < 2 else 6)
    if kind == 6:
        return {"L": [_value(choices, depth + 1) for _ in range(choices.below(4))]}
    if kind == 7:
        return {"M": {choices.one_of(_NAMES): _value(choices, depth + 1) for _ in range(3)}}
    scalars: tuple[Any, ...] = (
        {"S": choices.text()},
        {"N": choices.one_of(_NUMBERS)},
        {"BOOL": bool(choices.below(2))},
        {"NULL": True},
        {"S": choices.one_of(_EVENTS)},
        {"S": canaries.SECRET + choices.text(4)},
    )
    return scalars[kind]

"""The client reads what the worker stores: written by the worker's mapper, read by the client."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given

from adapters.dynamodb import mapper, records
from adapters.dynamodb.formats import (
    ADDRESS_FORMAT,
    OUTCOME_FORMAT,
    SESSION_FORMAT,
    TWO_FACTOR_FORMAT,
    USER_FORMAT,
    ItemFormat,
)
from application.repository import Outcome, Status
from biome_users import OutcomeView, SessionView, UnreadableError, UserView
from biome_users._addresses import address_key
from biome_users._items import (
    StoredSession,
    last_totp_step,
    live_sessions,
    parse_outcome,
    parse_owner,
    parse_secret,
    parse_user,
)
from domain.sessions import Session
from domain.user import TwoFactor, User
from domain.values import EmailAddress
from tests.builders import email, token, uid
from tests.persistence import new_user, outcome, session, two_factor
from tests.unit.adapters import stored

ADA = uid("ada")


def session_of(item: Any) -> StoredSession:
    """Read a session with its hashes."""
    return StoredSession.parse(item, credentials=True)


@given(stored.users)
def test_a_stored_user_is_read_as_it_is(user: User) -> None:
    """Every field of the view has the value of the worker's aggregate."""
    item = mapper.render_user(user)
    assert parse_user(item) == UserView(
        user_id=user.user_id,
        version=user.version,
        email=None if user.email is None else user.email.value,
        first_name=user.first_name,
        last_name=user.last_name,
        email_verified=user.email_verified,
        password_hash=user.password_hash,
        credential_version=user.credential_version,
        roles=user.roles,
        locked_until=user.locked_until,
        banned=user.ban is not None,
        banned_until=None if user.ban is None else user.ban.until,
        deactivated=user.deactivated,
        erased=user.erased,
        two_factor_enabled=user.two_factor_enabled,
        password_hash_legacy=user.password_hash_legacy,
        locale=user.locale,
        time_zone=user.time_zone,
        live_sessions=tuple(user.live_sessions),
    )
    assert live_sessions(item) == user.live_sessions
    assert last_totp_step(item) == user.last_totp_step


@given(stored.sessions)
def test_a_stored_session_is_read_as_it_is(value: Session) -> None:
    """With its hashes for a login service, and without them for other readers."""
    item: Any = mapper.render_session(ADA, value)
    read = session_of(item)
    assert read.view == SessionView(
        value.session_id,
        value.started_at,
        value.last_used_at,
        value.expires_at,
        value.methods,
        value.device,
    )
    assert (read.family, read.parts) == (value.refresh_family_hash, value.refresh_token_hashes)
    assert (read.replaced, read.replaced_at) == (value.replaced_token_hash, value.replaced_at)
    without = {name: each for name, each in item.items() if "hash" not in name}
    bare = StoredSession.parse(without, credentials=False)
    assert (bare.view, bare.family, bare.parts, bare.replaced) == (read.view, None, (), None)


@given(stored.two_factors)
def test_a_stored_second_factor_is_read_as_it_is(value: TwoFactor) -> None:
    """The ciphertext is what a login service decrypts."""
    assert parse_secret(mapper.render_two_factor(ADA, value)) == value.secret_ciphertext


@given(stored.emails)
def test_a_stored_address_is_found_by_the_key_of_its_text(address: EmailAddress) -> None:
    """The worker and the client derive the same key; a held address has no owner."""
    item: Any = mapper.render_address(address, ADA)
    assert item["pk"]["S"] == f"EMAIL#{address_key(address.value)}"
    assert parse_owner(item) == ADA
    assert parse_owner(mapper.render_address(address, ADA, held=True)) is None


@given(stored.outcomes)
def test_a_stored_outcome_is_read_as_it_is(value: Outcome) -> None:
    """Of an accepted and of a rejected command, with any code."""
    assume((value.code is None) == (value.status is Status.ACCEPTED))
    code = None if value.code is None else value.code.value
    view = OutcomeView(value.command_id, code, value.version)
    assert parse_outcome(records.render_outcome(value)) == view


def test_a_code_of_a_later_worker_is_read() -> None:
    """The list of codes is open."""
    item: Any = {
        **records.render_outcome(outcome("c", "ada")),
        "status": {"S": "rejected"},
        "code": {"S": "TooManyMoons"},
    }
    assert parse_outcome(item).code == "TooManyMoons"


# --- formats ---------------------------------------------------------------------------------

FORMATS: dict[str, tuple[ItemFormat, Any, Any]] = {
    "user": (USER_FORMAT, mapper.render_user(new_user("ada")), parse_user),
    "session": (SESSION_FORMAT, mapper.render_session(ADA, session("phone")), session_of),
    "two factor": (TWO_FACTOR_FORMAT, mapper.render_two_factor(ADA, two_factor()), parse_secret),
    "address": (ADDRESS_FORMAT, mapper.render_address(email("ada"), ADA), parse_owner),
    "outcome": (OUTCOME_FORMAT, records.render_outcome(outcome("c", "ada")), parse_outcome),
}
"""The kinds of items that the client reads: format, item as the worker writes it, reader."""


def session_1() -> Any:
    """Return a session of the first format."""
    item: Any = dict(mapper.render_session(ADA, session("phone")))
    del item["refresh_family_hash"], item["refresh_token_hashes"]
    return item | {
        "schema": {"N": "1"},
        "refresh_token_hash": {"S": token("t").stored},
        "used_token_hashes": {"S": token("u").stored[:16]},
        "session_epoch": {"N": "1"},
    }


OLDER: dict[tuple[str, int], Any] = {
    ("session", 1): session_1(),
    ("outcome", 1): {**records.render_outcome(outcome("c", "ada")), "schema": {"N": "1"}},
}
"""An item of each format that the worker upcasts, by kind and number."""


def test_there_is_an_item_of_each_older_format() -> None:
    """A format that the worker adds must be added here, and to the client."""
    upcasts = {(kind, n) for kind, (each, _, _) in FORMATS.items() for n in each.upcasts}
    assert upcasts == OLDER.keys()


@pytest.mark.parametrize(("kind", "number"), OLDER)
def test_an_older_item_is_read_as_the_worker_reads_it(kind: str, number: int) -> None:
    """The client reads the same from the item and from the worker's upcast of it."""
    item_format, _, read = FORMATS[kind]
    item = OLDER[kind, number]
    assert item["schema"] == {"N": str(number)}
    assert read(item) == read(item_format.upcast(item))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_worker_s_newest_format_is_read_and_a_later_one_is_refused(kind: str) -> None:
    """A later format may mean something else by the same names."""
    item_format, item, read = FORMATS[kind]
    read({**item, "schema": {"N": str(item_format.number)}})
    for schema in ({"N": str(item_format.number + 1)}, {"N": "0"}, {"S": "1"}, None):
        damaged = {**item, "schema": schema}
        with pytest.raises(UnreadableError, match=rf"^{kind} item, attribute schema: "):
            read(damaged)

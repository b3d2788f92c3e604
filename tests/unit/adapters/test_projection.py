"""The attributes that readers without credentials request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dynamodb import formats, mapper, records, table
from adapters.dynamodb.projection import (
    CREDENTIALS,
    OF_OPERATORS,
    OF_READERS,
    completed,
    projection,
)
from application.repository import Outcome
from domain.sessions import RefreshToken, Session
from domain.user import User
from tests.builders import NOW, token, uid
from tests.persistence import session
from tests.unit.adapters import stored

READABLE = {
    "email",
    "first_name",
    "live_sessions",
    "credential_version",
    "two_factor_enabled",
    "ban",
    "deactivated",
    "erased",
}
"""Some attributes that readers and operators cannot do without."""


def requested(item: Any, attributes: tuple[str, ...]) -> Any:
    """Return the part of an item that a read of attributes returns."""
    return completed({name: value for name, value in item.items() if name in attributes})


@given(
    st.tuples(
        stored.users,
        stored.sessions,
        stored.two_factors,
        stored.emails,
        stored.banned,
        stored.outcomes,
        stored.entries(),
    )
)
def test_every_attribute_is_either_a_credential_or_readable(values: tuple[Any, ...]) -> None:
    """An attribute that is added later has to be put into one of the lists."""
    user, session, two_factor, address, ban, outcome, entry = values
    items = [
        mapper.render_user(user),
        mapper.render_session(user.user_id, session),
        mapper.render_two_factor(user.user_id, two_factor),
        mapper.render_address(address, user.user_id, held=True),
        mapper.render_banned(ban),
        records.render_outcome(outcome),
        records.render_reference(outcome),
        records.render_entry(entry),
    ]
    seen = {name for item in items for name in item}
    assert seen - {*OF_OPERATORS} - CREDENTIALS == set()


def test_readers_read_no_more_than_operators_and_neither_reads_credentials() -> None:
    """The lists are what the policies allow."""
    assert CREDENTIALS.isdisjoint(OF_OPERATORS)
    assert READABLE < {*OF_READERS} < {*OF_OPERATORS}


def test_no_attribute_whose_name_speaks_of_a_secret_is_readable() -> None:
    """Exceptions are keyed or no secrets."""
    names = {name for name in OF_OPERATORS if any(w in name for w in ("hash", "token", "secret"))}
    assert names == {"password_hash_legacy"}


@given(stored.users)
def test_a_user_without_credentials_is_equal_but_for_these(user: User) -> None:
    """For readers and for operators."""
    without = replace(
        user, password_hash=None, email_verification=None, email_change=None, password_reset=None
    )
    for attributes in (OF_READERS, OF_OPERATORS):
        assert mapper.parse_user(requested(mapper.render_user(user), attributes)) == without


@given(stored.sessions)
def test_a_session_without_credentials_is_equal_but_for_these(value: Session) -> None:
    """Its hashes are empty."""
    without = replace(
        value, refresh_family_hash="", refresh_token_hashes=(), replaced_token_hash=None
    )
    for attributes in (OF_READERS, OF_OPERATORS):
        item = requested(mapper.render_session(uid("ada"), value), attributes)
        assert mapper.parse_session(item) == without


def test_a_session_without_credentials_accepts_no_token() -> None:
    """Not even its own."""
    phone = session("phone")
    item = requested(mapper.render_session(uid("ada"), phone), OF_READERS)
    read = mapper.parse_session(item)
    presented = RefreshToken(token("phone family"), token("phone 0"))
    assert phone.is_of_family(presented)
    assert not read.is_of_family(presented)
    assert not read.accepts(presented.part, NOW, read.expires_at - NOW)


def test_a_session_of_the_first_format_is_read_without_credentials() -> None:
    """Its hash is the only one that the upcast needs."""
    new = mapper.render_session(uid("ada"), session("phone"))
    hashes = CREDENTIALS & new.keys()
    old = {name: value for name, value in new.items() if name not in hashes}
    old |= {table.TTL_ATTRIBUTE: new[table.TTL_ATTRIBUTE], formats.SCHEMA: {"N": "1"}}
    old["refresh_token_hash"] = {"S": token("old").stored}
    read = mapper.parse_session(requested(old, OF_READERS))
    assert read.refresh_token_hashes == ()


@given(stored.outcomes)
def test_an_outcome_is_read_by_readers_without_fingerprint_and_events(value: Outcome) -> None:
    """Operators read all of it: a fingerprint is keyed."""
    item = records.render_outcome(value)
    read = records.parse_outcome(requested(item, OF_READERS))
    assert (read.status, read.code, read.version) == (value.status, value.code, value.version)
    assert (read.fingerprint, read.events) == ("", ())
    whole = records.parse_outcome(requested(item, OF_OPERATORS))
    assert whole == replace(value, fingerprint=value.lasting_fingerprint)


@pytest.mark.parametrize("attributes", [OF_READERS, OF_OPERATORS])
def test_a_projection_is_within_dynamodbs_limits(attributes: tuple[str, ...]) -> None:
    """4 KB an expression; every name is an alias, since some are reserved words."""
    asked = projection(attributes)
    assert len(asked["ProjectionExpression"]) < 4_096
    assert sorted(asked["ExpressionAttributeNames"].values()) == sorted(attributes)
    assert len(set(attributes)) == len(attributes)

"""Capacity cost of items: the budget of one kilobyte, and the maximum size of an item."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from adapters.dynamodb import mapper, records
from adapters.dynamodb.capacity import (
    MAX_ITEM_BYTES,
    WRITE_UNIT,
    item_size,
    transaction_units,
    write_units,
)
from adapters.dynamodb.change import new_entry, render_change
from application.ports import JobKind
from application.repository import UserChange
from domain import events as e
from domain.policy import MAX_SESSIONS, MAX_TERMS_DOCUMENTS
from domain.tokens import OneTimeToken
from domain.user import AcceptedTerms, Ban, EmailChange
from domain.values import MAX_CIPHERTEXT, MAX_NAME, MAX_PASSWORD_HASH, MAX_REASON, EmailAddress
from tests.builders import NOW, token, uid
from tests.persistence import new_user, outcome, registered, renamed, session, two_factor

if TYPE_CHECKING:
    from adapters.dynamodb.table import Item


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"a": {"S": "abc"}}, 4),
        ({"ä": {"S": "ß€"}}, 2 + 5),
        ({"n": {"N": "12345"}}, 1 + 4),
        ({"b": {"BOOL": True}}, 2),
        ({"l": {"L": [{"S": "ab"}, {"S": "c"}]}}, 1 + 3 + 2 + 3),
        ({"m": {"M": {"x": {"S": "yz"}}}}, 1 + 3 + 1 + 3),
    ],
)
def test_sizes_follow_dynamodbs_rules(item: Any, size: int) -> None:
    """UTF-8 bytes of names and values, three bytes per document, one per element."""
    assert item_size(item) == size


@pytest.mark.parametrize(("size", "units"), [(1, 1), (1024, 1), (1025, 2), (2049, 3)])
def test_units_are_whole_kilobytes(size: int, units: int) -> None:
    """A transaction costs twice as much."""
    assert write_units(size) == units
    assert transaction_units([size, 10]) == 2 * (units + 1)


def items_of(change: UserChange) -> list[Item]:
    """Return the items that a change puts."""
    write = render_change("users", 0, change, NOW)
    return [dict(action["Put"]["Item"]) for action in write.actions]  # type: ignore[arg-type]


def batch_units(change: UserChange) -> float:
    """Return the write units per command of a batch with ten such changes."""
    commands = tuple(key for _ in range(10) for key in render_change("t", 0, change, NOW).commands)
    entry = item_size(records.render_entry(new_entry(JobKind.PUBLISH, commands, NOW)))
    shared = (transaction_units([entry]) + write_units(entry)) / 10  # put, later deleted
    own = transaction_units(map(item_size, items_of(change)))
    started = [session for session in change.saved_sessions if not session.revision]
    return own + shared + len(started)  # the family, which is the index's key, never changes


def traced(change: UserChange) -> UserChange:
    """Set every optional field of the change's outcome that a message may fill."""
    (decided,) = change.outcomes
    decided = replace(decided, traceparent=f"00-{'a' * 32}-{'b' * 16}-01", tracestate="a=b,c=d")
    principal = f"AROA{'X' * 17}"
    decided = replace(decided, actor="support/7", producer="back-office", principal=principal)
    return replace(change, outcomes=(decided,))


def started() -> UserChange:
    """Return a login of a user with five sessions."""
    expires = NOW + timedelta(days=30)
    event = e.RecordedEvent.of(e.SessionStarted(uid("session"), expires), 2)
    user = replace(new_user("ada"), live_sessions={uid(f"{n}"): expires for n in range(5)})
    change = renamed(user)
    return replace(
        change,
        outcomes=(replace(change.outcomes[0], events=(event,)),),
        saved_sessions=(session("phone"),),
    )


def rotated() -> UserChange:
    """Return a rotation late in a session's life."""
    expires = NOW + timedelta(days=30)
    event = e.RecordedEvent.of(e.RefreshTokenRotated(uid("session"), expires), 2)
    change = renamed(new_user("ada"))
    return replace(
        change,
        outcomes=(replace(change.outcomes[0], events=(event,)),),
        saved_sessions=(session("phone", revision=21, used=21),),
    )


@pytest.mark.parametrize(
    ("change", "units"),
    [
        (renamed(new_user("ada")), 4.3),
        (registered("ada"), 6.3),
        (started(), 7.3),
        (rotated(), 6.3),
    ],
    ids=["update", "registration", "login", "rotation"],
)
def test_a_command_stays_within_its_budget(change: UserChange, units: float) -> None:
    """Every item with usual values is below one kilobyte."""
    change = traced(change)
    assert max(map(item_size, items_of(change))) < WRITE_UNIT
    assert batch_units(change) == pytest.approx(units)


WIDE = "\N{GRINNING FACE}"
"""Four bytes in UTF-8."""


def largest_user_item() -> Item:
    """Return a user with every field at its limit, and ten times as many roles as exist."""
    mail = EmailAddress("a" * 64 + "@" + "b" * 189)
    pending = OneTimeToken(token("t").stored, NOW)
    user = replace(
        new_user("ada"),
        email=mail,
        first_name=WIDE * MAX_NAME,
        last_name=WIDE * MAX_NAME,
        email_verified=True,
        password_hash="x" * MAX_PASSWORD_HASH,
        roles=tuple(f"{'r' * 48}{n:02}" for n in range(30)),
        version=10**12,
        credential_version=10**12,
        failed_logins=10**12,
        lock_count=10**12,
        locked_until=NOW,
        ban=Ban(WIDE * MAX_REASON, NOW),
        deactivated=True,
        deactivation_reason=WIDE * MAX_REASON,
        erased=True,
        two_factor_enabled=True,
        email_verification=pending,
        email_change=EmailChange(mail, pending),
        password_reset=pending,
        live_sessions={uid(f"{n}"): NOW for n in range(MAX_SESSIONS)},
        terms={
            f"{'d' * 48}{n:02}": AcceptedTerms("v" * 50, NOW) for n in range(MAX_TERMS_DOCUMENTS)
        },
    )
    return mapper.render_user(user)


def test_no_item_can_outgrow_dynamodb() -> None:
    """With every field at its limit, a user takes 3.4 % of the maximum item size."""
    assert item_size(largest_user_item()) < 0.034 * MAX_ITEM_BYTES
    codes = tuple(token(f"{n}").stored for n in range(16))
    factor = replace(
        two_factor(), secret_ciphertext="x" * MAX_CIPHERTEXT, recovery_code_hashes=codes
    )
    assert item_size(mapper.render_two_factor(uid("ada"), factor)) < 0.01 * MAX_ITEM_BYTES
    full = session("phone", used=21)
    assert item_size(mapper.render_session(uid("ada"), full)) < WRITE_UNIT


def test_a_pointer_to_a_full_transaction_is_small() -> None:
    """It names at most 99 commands."""
    commands = renamed(new_user("ada")).outcomes
    keys = tuple(render_change("t", 0, UserChange(uid("a"), commands), NOW).commands) * 99
    entry = new_entry(JobKind.PUBLISH, keys, NOW)
    assert item_size(records.render_entry(entry)) < 10_000


def test_an_outcome_with_the_longest_address_twice_stays_small() -> None:
    """The largest event holds two addresses."""
    mail = "a" * 64 + "@" + "b" * 189
    event = e.RecordedEvent.of(e.EmailChanged(mail, mail), 2)
    assert item_size(records.render_outcome(outcome("c", "ada", event))) < 2 * WRITE_UNIT

"""Access that was gained before an account was recovered or closed is gone afterwards.

Somebody may have requested a change of the address, a reset or a verification, may hold a session,
or may have checked a login just before. Whatever happened before, none of it works once the owner
has reset or changed the password or ended all sessions, or once the user was banned, deactivated or
erased.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import commands as c
from domain.errors import RejectionCode as Code
from domain.user import User
from tests.builders import rotation, start_session
from tests.unit.domain.given import NOW, TOKEN_ID, ada, decide, password, token
from tests.unit.domain.test_laws import CODES, EMAILS, STORIES, TOKENS, Story, play

FRESH = token("fresh")
NEW = password("the owner's")
LATER = NOW + timedelta(minutes=30)
ENDINGS = ("reset", "change", "revoke", "ban", "deactivate", "erase")


def _ending(kind: str, user: User, now: datetime = NOW) -> list[c.Command]:
    """Return the commands that end the access of others; then the user may log in again."""
    match kind:
        case "reset":
            expires_at = now + timedelta(minutes=5)
            request = c.RequestPasswordReset(TOKEN_ID, FRESH, expires_at)
            return [request, c.ResetPassword(FRESH, NEW)]
        case "change":
            return [c.ChangePassword(NEW, user.credential_version)]
        case "revoke":
            return [c.RevokeAllSessions()]
        case "ban":
            return [c.UnbanUser(), c.BanUser("Spam"), c.UnbanUser()]
        case "deactivate":
            return [c.ReactivateUser(), c.DeactivateUser(), c.ReactivateUser()]
        case _:
            return [c.EraseUser()]


def _attacks(before: User) -> Iterator[c.Command]:
    """Yield each use of what was known before."""
    for known in [*TOKENS, FRESH]:
        yield c.VerifyEmail(known)
        yield c.ConfirmEmailChange(known)
        yield c.ResetPassword(known, password("the thief's"))
        for session_id in before.sessions:
            yield rotation(session_id, known, token("stolen"), LATER)
    for version in range(before.credential_version + 1):
        yield c.ChangePassword(password("the thief's"), version)
        yield c.UpgradePasswordHash(password("the thief's"), version)
        yield c.RequestEmailChange(EMAILS[2], TOKEN_ID, token("thief"), LATER, version)
        yield c.EnableTwoFactor("ciphertext", tuple(CODES[:8]), version)
        yield c.RegenerateRecoveryCodes(tuple(CODES[:8]), version)
        for factor in ({}, {"totp_step": 10**6}, {"recovery_code_hash": CODES[0]}):
            yield start_session(TOKEN_ID, token("s"), LATER, version, **factor)


@given(STORIES, st.sampled_from(ENDINGS))
@settings(max_examples=200)
def test_nothing_from_before_gives_access(story: Story, kind: str) -> None:
    """Every use is rejected or has no effect, whatever the user's state was."""
    played = play(story)
    user = played[-1][1].user if played else story.start
    if user is None or user.erased:
        return
    before, now = copy.deepcopy(user), NOW + timedelta(days=2)
    for command in _ending(kind, user, now):
        decision = decide(command, user, now=now)
        assert decision.code is None
        user = decision.user
        assert user is not None

    for attack in _attacks(before):
        decision = decide(attack, copy.deepcopy(user), now=now)
        assert not decision.changed, attack


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_change_of_the_address_that_was_requested_before_cannot_be_confirmed(kind: str) -> None:
    """Whoever held a session could otherwise take over the account after its recovery."""
    user = ada()
    decide(c.RequestEmailChange(EMAILS[2], TOKEN_ID, token("thief"), LATER), user)
    for command in _ending(kind, user):
        assert decide(command, user).code is None

    confirmed = decide(c.ConfirmEmailChange(token("thief")), user)

    assert confirmed.code is (Code.USER_ERASED if kind == "erase" else Code.TOKEN_INVALID)


def test_five_wrong_guesses_a_day_never_lock_for_more_than_an_hour() -> None:
    """For a year: a stranger who knows an address must not keep its owner out."""
    user = ada()
    for day in range(365):
        now = NOW + timedelta(days=day)
        for _ in range(5):
            decide(c.RecordLoginFailure(), user, now=now)
        assert user.locked_until is not None
        assert user.locked_until - now <= timedelta(hours=1)


def test_a_reset_after_a_stranger_registered_the_address_leaves_nothing_of_theirs() -> None:
    """They chose the password, enabled a second factor and hold a session."""
    user = ada()
    stranger = (
        c.EnableTwoFactor("ciphertext", tuple(CODES[:8])),
        start_session(TOKEN_ID, token("s"), LATER, recovery_code_hash=CODES[0]),
    )
    owner = (
        c.RequestPasswordReset(TOKEN_ID, FRESH, LATER),
        c.ResetPassword(FRESH, NEW),
    )
    for command in (*stranger, *owner):
        assert decide(command, user).code is None

    assert not user.two_factor_enabled
    assert user.email_verified
    rotated = decide(rotation(TOKEN_ID, token("s"), token("t"), LATER), user)
    assert rotated.code is Code.SESSION_NOT_FOUND
    started = start_session("0190b6d2-9c10-7b3e-8d21-5b6f0a9c4e02", token("u"), LATER, 2)
    assert decide(started, user).code is None


@pytest.mark.parametrize(
    ("factor", "code"),
    [
        ({"recovery_code_hash": CODES[0]}, Code.CODE_INVALID),
        ({"totp_step": 7}, Code.SECOND_FACTOR_REPLAYED),
    ],
    ids=["recovery code", "one-time password"],
)
def test_a_second_factor_starts_one_session(factor: dict[str, Any], code: Code) -> None:
    """Two commands with ids of their own present the same factor."""
    user = ada()
    decide(c.EnableTwoFactor("ciphertext", tuple(CODES[:8])), user)
    logins = [start_session(str(UUID(int=n)), token("s"), LATER, **factor) for n in (1, 2)]

    codes = [
        decide(login, user, command_id=str(UUID(int=9 + n))).code for n, login in enumerate(logins)
    ]

    assert codes == [None, code]
    assert len(user.sessions) == 1


def test_a_wrong_recovery_code_counts_and_locks() -> None:
    """A thousand guesses are not possible."""
    user = ada()
    decide(c.EnableTwoFactor("ciphertext", tuple(CODES[:8])), user)

    codes = [decide(c.UseRecoveryCode(token(f"guess {n}")), user).code for n in range(7)]

    assert codes == [Code.CODE_INVALID] * 5 + [Code.USER_LOCKED] * 2

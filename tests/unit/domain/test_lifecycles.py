"""Rules that show over several commands of one user."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from domain import commands as c
from domain.errors import RejectionCode as Code
from domain.handlers import Decision
from domain.policy import DEFAULT_POLICY
from domain.user import User
from tests.builders import start_session
from tests.unit.domain.given import (
    NEW,
    NOW,
    SESSION_ID,
    SOON,
    TOKEN_ID,
    ada,
    decide,
    out,
    password,
    second_factor,
    session,
    token,
    with_session,
)

FAILURE = c.RecordLoginFailure()
START = start_session(SESSION_ID, token("current"), SOON)
RESET = c.ResetPassword(token("reset"), password("second"))


def after(user: User, *commands: c.Command, now: datetime = NOW) -> Decision:
    """Decide commands one after the other, and give the last decision."""
    decision = None
    for command in commands:
        decision = decide(command, user, now=now)
    assert decision is not None
    return decision


def rotation(current: str, following: str) -> c.RotateRefreshToken:
    """Exchange one token for another."""
    return c.RotateRefreshToken(SESSION_ID, token(current), token(following), SOON)


def fail_until_locked(user: User, now: datetime) -> timedelta:
    """Record five failures, and give the lock's duration."""
    after(user, *[FAILURE] * 5, now=now)
    assert user.locked_until is not None
    return user.locked_until - now


def test_a_reset_that_was_asked_for_another_address_verifies_nothing() -> None:
    """The token went to the old one; the change has verified the new one by a token of its own."""
    user = ada()
    ask = c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON)
    change = c.RequestEmailChange(NEW, TOKEN_ID, token("new mail"), SOON)

    assert after(user, ask, change, c.ConfirmEmailChange(token("new mail"))).code is None
    assert after(user, RESET).code is Code.TOKEN_INVALID


def test_a_reset_while_another_address_is_pending_verifies_the_present_one_only() -> None:
    """The pending one waits for its own token."""
    user = ada()
    ask = c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON)
    change = c.RequestEmailChange(NEW, TOKEN_ID, token("new mail"), SOON)

    decision = after(user, change, ask, RESET)

    types = [each.type for each in decision.events]
    assert types == ["biome.user.PasswordReset.v1", "biome.user.EmailVerified.v1"]
    assert [each.sequence for each in decision.events] == [user.version - 1, user.version]
    assert user.email_verified
    assert user.email != NEW


def test_locks_double_up_to_an_hour() -> None:
    """Five minutes, ten, twenty ... and never more than 24 hours."""
    user, now, minutes = ada(), NOW, []
    for _ in range(11):
        lock = fail_until_locked(user, now)
        minutes.append(lock // timedelta(minutes=1))
        now += lock

    assert minutes == [5, 10, 20, 40, 60, 60, 60, 60, 60, 60, 60]


def test_no_number_of_locks_is_too_many() -> None:
    """A count that no user reaches still gives the longest lock."""
    assert DEFAULT_POLICY.lock_duration(10**9) == DEFAULT_POLICY.longest_lock


@pytest.mark.parametrize("command", [START, c.UnlockUser(), RESET], ids=lambda c: type(c).__name__)
def test_the_next_lock_is_short_again_after(command: c.Command) -> None:
    """A login, an unlock and a reset forget the locks before."""
    user = ada(lock_count=6, locked_until=NOW, password_reset=out("reset"))

    after(user, command)

    assert fail_until_locked(user, NOW) == timedelta(minutes=5)


@pytest.mark.parametrize(
    "command",
    [
        c.BanUser("spam"),
        c.DeactivateUser(),
        c.ChangePassword(password("second"), 1),
        RESET,
        c.RevokeAllSessions(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_every_session_is_over_after(command: c.Command) -> None:
    """Its tokens are invalid, also after the ban is lifted or the account reactivated."""
    user = ada(sessions=with_session(session()), password_reset=out("reset"))

    decision = after(user, command, c.UnbanUser(), c.ReactivateUser(), rotation("current", "next"))

    assert decision.code is Code.SESSION_EXPIRED


def test_a_session_that_starts_after_all_were_revoked_lives() -> None:
    """It has the new epoch."""
    decision = after(ada(), c.RevokeAllSessions(), START, rotation("current", "next"))

    assert decision.code is None


def test_a_session_id_is_free_again_once_revoked() -> None:
    """Revocation removes the session."""
    assert after(ada(), START, c.RevokeSession(SESSION_ID), START).code is None


def test_a_session_is_deleted_after_the_reuse_of_a_token() -> None:
    """The holder of the current token, thief or owner, must log in again."""
    user = ada()

    stolen = after(user, START, rotation("current", "next"), rotation("current", "other"))

    assert stolen.code is Code.REFRESH_TOKEN_REUSED
    assert after(user, rotation("next", "more")).code is Code.SESSION_NOT_FOUND


def test_a_session_keeps_its_latest_used_tokens_only() -> None:
    """The stored item stays small: beyond twenty the oldest are forgotten, not the session."""
    user = ada()
    count = 25
    rotations = [rotation(f"token {n}", f"token {n + 1}") for n in range(count)]

    decision = after(user, start_session(SESSION_ID, token("token 0"), SOON), *rotations)

    used = user.sessions[SESSION_ID].used_token_hashes
    assert decision.code is None
    assert used == tuple(token(f"token {n}").stored[:16] for n in range(5, count))
    assert after(user, rotation("token 4", "x")).code is Code.SESSION_NOT_FOUND
    assert after(user, rotation("token 5", "x")).code is Code.REFRESH_TOKEN_REUSED


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (RESET, Code.TOKEN_INVALID),
        (c.ConfirmEmailChange(token("change")), Code.TOKEN_INVALID),
        (c.UseRecoveryCode(token("code")), Code.CODE_INVALID),
    ],
    ids=["ResetPassword", "ConfirmEmailChange", "UseRecoveryCode"],
)
def test_a_token_works_once(command: c.Command, code: Code) -> None:
    """The second time it is as if it had never been."""
    user = ada(
        password_reset=out("reset"), two_factor_enabled=True, two_factor=second_factor("code")
    )
    after(user, c.RequestEmailChange(NEW, TOKEN_ID, token("change"), SOON))

    assert after(user, command).code is None
    assert after(user, command).code is code


@pytest.mark.parametrize(
    ("request_with", "use_of"),
    [
        (
            lambda name: c.RequestEmailVerification(TOKEN_ID, token(name), SOON),
            lambda name: c.VerifyEmail(token(name)),
        ),
        (
            lambda name: c.RequestEmailChange(NEW, TOKEN_ID, token(name), SOON),
            lambda name: c.ConfirmEmailChange(token(name)),
        ),
        (
            lambda name: c.RequestPasswordReset(TOKEN_ID, token(name), SOON),
            lambda name: c.ResetPassword(token(name), password("second")),
        ),
    ],
    ids=["verification", "change", "reset"],
)
def test_only_the_latest_of_several_tokens_works(
    request_with: Callable[[str], c.Command], use_of: Callable[[str], c.Command]
) -> None:
    """A new mail makes the earlier one void."""
    user = ada()

    after(user, request_with("earlier"), request_with("latest"))

    assert after(user, use_of("earlier")).code is Code.TOKEN_INVALID
    assert after(user, use_of("latest")).code is None


def test_a_reset_mailed_to_the_old_address_is_void_after_the_change() -> None:
    """A reader of the old mailbox cannot take the account over."""
    user = ada()

    decision = after(
        user,
        c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON),
        c.RequestEmailChange(NEW, TOKEN_ID, token("change"), SOON),
        c.ConfirmEmailChange(token("change")),
        RESET,
    )

    assert decision.code is Code.TOKEN_INVALID


def test_a_created_user_gets_a_first_password_by_reset() -> None:
    """Credential versions count from there, and a change on the old one is stale."""
    user = ada(password_hash=None, credential_version=0)

    after(user, c.RequestPasswordReset(TOKEN_ID, token("reset"), SOON), RESET)

    assert user.credential_version == 1
    assert after(user, c.ChangePassword(password("third"), 0)).code is Code.CREDENTIAL_STALE
    assert after(user, c.ChangePassword(password("third"), 1)).code is None

"""Rules that show over several commands of one user."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from domain import commands as c
from domain.errors import RejectionCode as Code
from domain.handlers import Context, Decision, handle
from domain.policy import DEFAULT_POLICY, UserPolicy
from domain.user import EmailChange, User
from tests import builders
from tests.builders import start_session
from tests.unit.domain.given import (
    NEW,
    NOW,
    OLDEST,
    SESSION_ID,
    SOON,
    TOKEN_ID,
    ada,
    decide,
    envelope,
    hash_address,
    out,
    part,
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
    return builders.rotation(SESSION_ID, token(current), token(following), SOON)


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
    user = ada(**with_session(session()), password_reset=out("reset"))

    decision = after(user, command, c.UnbanUser(), c.ReactivateUser(), rotation("current", "next"))

    assert decision.code is Code.SESSION_NOT_FOUND


def test_a_session_that_starts_after_all_were_revoked_lives() -> None:
    """It is listed among the live ones."""
    start = start_session(SESSION_ID, token("current"), SOON, 2)
    decision = after(ada(), c.RevokeAllSessions(), start, rotation("current", "next"))

    assert decision.code is None


@pytest.mark.parametrize("ending", [c.RevokeAllSessions(), c.BanUser("spam"), c.DeactivateUser()])
def test_a_login_from_before_access_ended_is_stale(ending: c.Command) -> None:
    """Also once the ban is lifted and the account is reactivated."""
    decision = after(ada(), ending, c.UnbanUser(), c.ReactivateUser(), START)

    assert decision.code is Code.CREDENTIAL_STALE


def test_a_session_id_is_free_again_once_revoked() -> None:
    """Revocation removes the session."""
    assert after(ada(), START, c.RevokeSession(SESSION_ID), START).code is None


def test_the_address_of_an_expired_change_is_removed_with_the_next_change_of_the_user() -> None:
    """It may belong to a person who never asked for an account."""
    user = ada(email_change=EmailChange(NEW, out("change", NOW)))

    after(user, c.UpdateProfile("Augusta"))

    assert user.email_change is None


def test_two_concurrent_exchanges_of_one_token_both_continue() -> None:
    """Two tabs of a browser share a token; each continues with its own next one."""
    user = ada()

    tabs = rotation("current", "tab 1"), rotation("current", "tab 2")
    decision = after(user, START, *tabs, rotation("tab 1", "next 1"), rotation("tab 2", "next 2"))

    assert decision.code is None
    assert user.sessions[SESSION_ID].refresh_token_hashes == (part("next 1"), part("next 2"))


def test_an_exchange_whose_answer_was_lost_can_be_repeated() -> None:
    """The client has only the replaced token, and gets another next one for it."""
    user = ada()

    decision = after(user, START, rotation("current", "lost"), rotation("current", "next"))

    assert decision.code is None
    assert after(user, rotation("next", "more")).code is None


def test_an_exchange_within_the_leeway_does_not_prolong_it() -> None:
    """Otherwise a thief could keep a stolen token valid."""
    user = ada()
    after(user, START, rotation("current", "next"))
    again = decide(rotation("current", "other"), user, now=NOW + timedelta(seconds=9))

    late = decide(rotation("current", "more"), user, now=NOW + timedelta(seconds=10))

    assert (again.code, late.code) == (None, Code.REFRESH_TOKEN_REUSED)


@pytest.mark.parametrize("rotations", [1, 2, 3, 4, 5, 20, 25, 100])
def test_a_stolen_token_is_detected_after_any_number_of_rotations(rotations: int) -> None:
    """The owner comes back later than the leeway; the thief must log in again."""
    user = ada()
    names = ["current", *(f"stolen {n}" for n in range(rotations))]
    after(user, START, *(rotation(old, new) for old, new in pairwise(names)))

    owner = decide(rotation("current", "mine"), user, now=NOW + timedelta(seconds=11))

    assert owner.code is Code.REFRESH_TOKEN_REUSED
    assert after(user, rotation(names[-1], "more")).code is Code.SESSION_NOT_FOUND


@pytest.mark.parametrize("end", ["others", "fifty newer ones"])
def test_the_id_of_an_ended_session_stays_used_within_a_batch(end: str) -> None:
    """Within a batch the ended session is loaded; the result is that of two batches."""
    user = ada()
    other = str(UUID(int=1))
    after(user, START, start_session(other, token("other"), SOON))
    if end == "others":
        after(user, c.RevokeOtherSessions(other))
    else:
        user.live_sessions |= {str(UUID(int=n)): SOON for n in range(2, 50)}
        after(user, start_session(str(UUID(int=50)), token("newest"), SOON))
    assert SESSION_ID not in user.live_sessions

    assert after(user, START).code is Code.SESSION_ALREADY_EXISTS


@pytest.mark.parametrize("behind", [0, 1, 3600])
def test_the_leeway_can_be_switched_off(behind: int) -> None:
    """A deployment may prefer an alarm to two tabs that continue; a slow clock changes nothing."""
    user = ada()
    after(user, START, rotation("current", "next"))
    now = NOW - timedelta(seconds=behind)
    context = Context(now, {}, OLDEST, hash_address, UserPolicy(refresh_leeway=timedelta()))

    decision = handle(envelope(rotation("current", "other")), user, context)

    assert decision.code is Code.REFRESH_TOKEN_REUSED


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

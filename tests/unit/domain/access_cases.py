"""Expected results of the commands about sessions, locks, second factor, bans and erasure."""

from __future__ import annotations

from datetime import timedelta

from domain import commands as c
from domain import events as e
from domain.errors import RejectionCode as Code
from domain.user import Ban, EmailChange, TwoFactor
from tests.builders import rotation, start_session
from tests.unit.domain.given import (
    ADA,
    BEFORE,
    NEW,
    NO_SESSION,
    NOW,
    SESSION_ID,
    SOON,
    Case,
    ada,
    hash_address,
    out,
    second_factor,
    session,
    token,
    with_session,
)

LATER = SOON + timedelta(days=1)
_START = start_session(SESSION_ID, token("current"), SOON)
_STARTED = {
    **with_session(session(started_at=NOW, last_used_at=NOW, methods=("pwd",), revision=0)),
    "failed_logins": 0,
    "lock_count": 0,
    "locked_until": None,
}

_IDLE_END = NOW + timedelta(days=30)
_STEP = int(NOW.timestamp()) // 30
_SECURED = {"two_factor_enabled": True, "two_factor": second_factor("a", "b")}

STARTS = [
    Case(
        "a session starts, and the failures and past locks are forgotten",
        _START,
        ada(failed_logins=4, lock_count=2, locked_until=NOW),
        events=(e.SessionStarted(SESSION_ID, SOON),),
        after=_STARTED,
    ),
    Case(
        "a ban that has passed does not keep the user out",
        _START,
        ada(ban=Ban("spam", NOW)),
        events=(e.SessionStarted(SESSION_ID, SOON),),
        after=_STARTED,
    ),
    Case(
        "a ban is told before a lock and rest",
        _START,
        ada(ban=Ban("spam", None), locked_until=SOON, deactivated=True),
        code=Code.USER_BANNED,
    ),
    Case(
        "a ban for a time keeps the user out",
        _START,
        ada(ban=Ban("spam", SOON)),
        code=Code.USER_BANNED,
    ),
    Case(
        "a lock is told before rest",
        _START,
        ada(locked_until=SOON, deactivated=True),
        code=Code.USER_LOCKED,
    ),
    Case("a resting user stays out", _START, ada(deactivated=True), code=Code.USER_DEACTIVATED),
    Case(
        "a session id is used once",
        _START,
        ada(**with_session(session())),
        code=Code.SESSION_ALREADY_EXISTS,
    ),
    Case(
        "a login that was decided on an earlier password is stale",
        start_session(SESSION_ID, token("current"), SOON, 0),
        code=Code.CREDENTIAL_STALE,
    ),
    Case(
        "a session does not start after its end",
        start_session(SESSION_ID, token("current"), NOW),
        code=Code.SESSION_EXPIRED,
    ),
    Case(
        "a session ends after thirty days without use at most",
        start_session(SESSION_ID, token("current"), NOW + timedelta(days=31), device="Phone"),
        events=(e.SessionStarted(SESSION_ID, _IDLE_END),),
        after={
            **with_session(
                session(
                    expires_at=_IDLE_END,
                    started_at=NOW,
                    last_used_at=NOW,
                    methods=("pwd",),
                    device="Phone",
                    revision=0,
                )
            )
        },
    ),
    Case(
        "a second factor is required if it is enabled",
        _START,
        ada(**_SECURED),
        code=Code.SECOND_FACTOR_REQUIRED,
    ),
    Case(
        "a step of a one-time password is used up",
        start_session(SESSION_ID, token("current"), SOON, totp_step=_STEP),
        ada(last_totp_step=_STEP - 1, **_SECURED),
        events=(e.SessionStarted(SESSION_ID, SOON),),
        after={**_STARTED, "last_totp_step": _STEP},
    ),
    *(
        Case(
            f"a step that is {behind} behind the last one is a replay",
            start_session(SESSION_ID, token("current"), SOON, totp_step=_STEP - behind),
            ada(last_totp_step=_STEP, **_SECURED),
            code=Code.SECOND_FACTOR_REPLAYED,
        )
        for behind in (0, 1)
    ),
    Case(
        "a step of a distant future is invalid, as it would make every later one a replay",
        start_session(SESSION_ID, token("current"), SOON, totp_step=_STEP + 11),
        ada(**_SECURED),
        code=Code.CODE_INVALID,
    ),
    Case(
        "a login with a recovery code spends it",
        start_session(SESSION_ID, token("current"), SOON, recovery_code_hash=token("b")),
        ada(**_SECURED),
        events=(e.RecoveryCodeUsed(1), e.SessionStarted(SESSION_ID, SOON)),
        after={**_STARTED, "two_factor": second_factor("a")},
    ),
    Case(
        "a login with a wrong recovery code counts as a failure",
        start_session(SESSION_ID, token("current"), SOON, recovery_code_hash=token("c")),
        ada(failed_logins=4, **_SECURED),
        code=Code.CODE_INVALID,
        events=(
            e.LoginFailed(5, "second_factor"),
            e.UserLocked(NOW + timedelta(minutes=5)),
        ),
        after={
            "failed_logins": 0,
            "lock_count": 1,
            "locked_until": NOW + timedelta(minutes=5),
            "last_failure_at": NOW,
        },
    ),
    Case(
        "a factor that the user no longer has is ignored",
        start_session(SESSION_ID, token("current"), SOON, totp_step=_STEP),
        ada(),
        events=(e.SessionStarted(SESSION_ID, SOON),),
        after=_STARTED,
    ),
    Case(
        "the fifty-first session ends the oldest, and the expired ones are forgotten",
        _START,
        ada(live_sessions={"expired": NOW, **{str(n): LATER for n in range(50)}}),
        events=(e.SessionRevoked("0"), e.SessionStarted(SESSION_ID, SOON)),
        after={
            **_STARTED,
            "live_sessions": {**{str(n): LATER for n in range(1, 50)}, SESSION_ID: SOON},
        },
    ),
    Case(
        "the id of a session that is over stays used",
        _START,
        ada(**with_session(session(expires_at=BEFORE))),
        code=Code.SESSION_ALREADY_EXISTS,
    ),
]


def _rotate(current: str, following: str = "next") -> c.RotateRefreshToken:
    return rotation(SESSION_ID, token(current), token(following), LATER)


_LEEWAY = timedelta(seconds=10)
_RECENT = NOW - timedelta(seconds=9)
_ROTATED = {"expires_at": LATER, "last_used_at": NOW}


ROTATIONS = [
    Case(
        "a live token is exchanged, and the session continues",
        _rotate("current"),
        ada(**with_session(session(replaced="first"))),
        events=(e.RefreshTokenRotated(SESSION_ID, LATER),),
        after=with_session(session("next", replaced="current", replaced_at=NOW, **_ROTATED)),
    ),
    Case(
        "a session ends ninety days after its start at most",
        rotation(SESSION_ID, token("current"), token("next"), NOW + timedelta(days=20)),
        ada(**with_session(session(started_at=NOW - timedelta(days=80)))),
        events=(e.RefreshTokenRotated(SESSION_ID, NOW + timedelta(days=10)),),
        after=with_session(
            session(
                "next",
                replaced="current",
                replaced_at=NOW,
                expires_at=NOW + timedelta(days=10),
                started_at=NOW - timedelta(days=80),
                last_used_at=NOW,
            )
        ),
    ),
    Case(
        "the token that was just replaced is accepted again, for a second tab",
        _rotate("first"),
        ada(**with_session(session("current", replaced="first", replaced_at=_RECENT))),
        events=(e.RefreshTokenRotated(SESSION_ID, LATER),),
        after=with_session(
            session("current", "next", replaced="first", replaced_at=_RECENT, **_ROTATED)
        ),
    ),
    Case(
        "each of two live tokens is exchanged on its own",
        _rotate("other"),
        ada(**with_session(session("other", "current", replaced="first"))),
        events=(e.RefreshTokenRotated(SESSION_ID, LATER),),
        after=with_session(
            session("current", "next", replaced="other", replaced_at=NOW, **_ROTATED)
        ),
    ),
    Case(
        "a fifth live token replaces the oldest",
        _rotate("first"),
        ada(**with_session(session("a", "b", "c", "d", replaced="first", replaced_at=_RECENT))),
        events=(e.RefreshTokenRotated(SESSION_ID, LATER),),
        after=with_session(
            session("b", "c", "d", "next", replaced="first", replaced_at=_RECENT, **_ROTATED)
        ),
    ),
    Case(
        "an exchange that is repeated with the same next token has no effect",
        _rotate("first", "current"),
        ada(**with_session(session(replaced="first", replaced_at=_RECENT))),
    ),
    Case("a missing session is not found", _rotate("current"), code=Code.SESSION_NOT_FOUND),
    Case(
        "a token of another family finds no session",
        c.RotateRefreshToken(SESSION_ID, token("other"), token("current"), token("next"), LATER),
        ada(**with_session(session())),
        code=Code.SESSION_NOT_FOUND,
    ),
    Case(
        "a session expires at exactly its end",
        _rotate("current"),
        ada(**with_session(session(expires_at=NOW))),
        code=Code.SESSION_EXPIRED,
    ),
    Case(
        "a session that is not listed has ended",
        _rotate("current"),
        ada(sessions=with_session(session())["sessions"]),
        code=Code.SESSION_NOT_FOUND,
    ),
    Case(
        "a token that is not live is reuse: the session ends",
        _rotate("long ago"),
        ada(**with_session(session(replaced="first", replaced_at=_RECENT))),
        code=Code.REFRESH_TOKEN_REUSED,
        events=(e.RefreshTokenReuseDetected(SESSION_ID),),
        after=NO_SESSION,
    ),
    Case(
        "a replaced token is reuse once the leeway has passed",
        _rotate("first"),
        ada(**with_session(session(replaced="first", replaced_at=NOW - _LEEWAY))),
        code=Code.REFRESH_TOKEN_REUSED,
        events=(e.RefreshTokenReuseDetected(SESSION_ID),),
        after=NO_SESSION,
    ),
    *(
        Case(
            f"a clock that is {behind} behind does not prolong the leeway",
            _rotate("first"),
            ada(**with_session(session(replaced="first", replaced_at=NOW + behind))),
            code=Code.REFRESH_TOKEN_REUSED,
            events=(e.RefreshTokenReuseDetected(SESSION_ID),),
            after=NO_SESSION,
        )
        for behind in (_LEEWAY, timedelta(hours=1))
    ),
    Case(
        "a session does not continue until a time that has passed",
        rotation(SESSION_ID, token("current"), token("next"), NOW),
        ada(**with_session(session())),
        code=Code.SESSION_EXPIRED,
    ),
    Case(
        "reuse is reported whatever end is asked for",
        rotation(SESSION_ID, token("long ago"), token("next"), BEFORE),
        ada(**with_session(session())),
        code=Code.REFRESH_TOKEN_REUSED,
        events=(e.RefreshTokenReuseDetected(SESSION_ID),),
        after=NO_SESSION,
    ),
    Case(
        "reuse in an expired session is not reported",
        _rotate("first"),
        ada(**with_session(session(replaced="first", expires_at=NOW))),
        code=Code.SESSION_EXPIRED,
    ),
    Case(
        "a token is not exchanged for itself",
        _rotate("current", "current"),
        ada(**with_session(session())),
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a live token is not exchanged for another live one",
        _rotate("current", "other"),
        ada(**with_session(session("other", "current"))),
        code=Code.TOKEN_INVALID,
    ),
    Case(
        "a replaced token does not become live again",
        _rotate("current", "first"),
        ada(**with_session(session(replaced="first"))),
        code=Code.TOKEN_INVALID,
    ),
]

_OTHERS = {"a": SOON, SESSION_ID: SOON, "expired": NOW, "b": LATER}

REVOCATIONS = [
    Case(
        "a session is revoked",
        c.RevokeSession(SESSION_ID),
        ada(**with_session(session())),
        events=(e.SessionRevoked(SESSION_ID),),
        after={**NO_SESSION},
    ),
    Case("a missing session has no effect", c.RevokeSession(SESSION_ID)),
    Case(
        "an expired session has no effect",
        c.RevokeSession(SESSION_ID),
        ada(**with_session(session(expires_at=NOW))),
    ),
    Case(
        "a session that has ended has no effect",
        c.RevokeSession(SESSION_ID),
        ada(sessions=with_session(session())["sessions"]),
    ),
    Case(
        "all sessions but one are revoked",
        c.RevokeOtherSessions(SESSION_ID),
        ada(live_sessions=_OTHERS),
        events=(e.OtherSessionsRevoked(SESSION_ID, 2),),
        after={"live_sessions": {SESSION_ID: SOON}},
    ),
    Case(
        "the only session has no others to revoke",
        c.RevokeOtherSessions(SESSION_ID),
        ada(**with_session(session())),
    ),
    Case(
        "a session that has expired cannot be the one that continues",
        c.RevokeOtherSessions("expired"),
        ada(live_sessions=_OTHERS),
        code=Code.SESSION_NOT_FOUND,
    ),
    Case(
        "all sessions are revoked without reading them",
        c.RevokeAllSessions(),
        ada(live_sessions=_OTHERS),
        events=(e.AllSessionsRevoked(2),),
        after={"credential_version": 2, "live_sessions": {}},
    ),
]

LOCKS = [
    Case(
        "a failure is counted",
        c.RecordLoginFailure(),
        ada(failed_logins=3),
        events=(e.LoginFailed(4, "password"),),
        after={"failed_logins": 4, "last_failure_at": NOW},
    ),
    Case(
        "the fifth failure locks for five minutes",
        c.RecordLoginFailure(),
        ada(failed_logins=4),
        events=(e.LoginFailed(5, "password"), e.UserLocked(NOW + timedelta(minutes=5))),
        after={
            "failed_logins": 0,
            "lock_count": 1,
            "locked_until": NOW + timedelta(minutes=5),
            "last_failure_at": NOW,
        },
    ),
    Case(
        "a failure while locked has no effect",
        c.RecordLoginFailure(),
        ada(failed_logins=0, locked_until=SOON),
    ),
    Case(
        "a lock that has passed counts again",
        c.RecordLoginFailure(),
        ada(lock_count=1, locked_until=NOW),
        events=(e.LoginFailed(1, "password"),),
        after={"failed_logins": 1, "last_failure_at": NOW},
    ),
    Case(
        "a wrong second factor counts too",
        c.RecordLoginFailure("second_factor"),
        ada(failed_logins=1, last_failure_at=BEFORE),
        events=(e.LoginFailed(2, "second_factor"),),
        after={"failed_logins": 2, "last_failure_at": NOW},
    ),
    Case(
        "failures and locks no longer count a day after the last failure",
        c.RecordLoginFailure(),
        ada(failed_logins=4, lock_count=3, last_failure_at=NOW - timedelta(hours=24)),
        events=(e.LoginFailed(1, "password"),),
        after={"failed_logins": 1, "lock_count": 0, "last_failure_at": NOW},
    ),
    Case(
        "a lock lasts an hour at most",
        c.RecordLoginFailure(),
        ada(failed_logins=4, lock_count=9, last_failure_at=BEFORE),
        events=(e.LoginFailed(5, "password"), e.UserLocked(NOW + timedelta(hours=1))),
        after={
            "failed_logins": 0,
            "lock_count": 10,
            "locked_until": NOW + timedelta(hours=1),
            "last_failure_at": NOW,
        },
    ),
    Case(
        "an unlock forgets all",
        c.UnlockUser(),
        ada(failed_logins=2, lock_count=3, locked_until=SOON),
        events=(e.UserUnlocked(),),
        after={"failed_logins": 0, "lock_count": 0, "locked_until": None},
    ),
    Case(
        "an unlock forgets failures that did not lock yet",
        c.UnlockUser(),
        ada(failed_logins=1),
        events=(e.UserUnlocked(),),
        after={"failed_logins": 0},
    ),
    Case("there is nothing to unlock", c.UnlockUser()),
]

_CODES = tuple(f"code {number}" for number in range(8))
_ENABLE = c.EnableTwoFactor("ciphertext", tuple(token(code) for code in _CODES))
_AT_REST = tuple(token(code).stored for code in _CODES)

TWO_FACTOR = [
    Case(
        "a second factor is kept, its codes hashed once more",
        _ENABLE,
        events=(e.TwoFactorEnabled(),),
        after={
            "two_factor_enabled": True,
            "two_factor_unverified": True,
            "two_factor": TwoFactor("ciphertext", _AT_REST, revision=0),
        },
    ),
    Case(
        "a code that is listed twice works once",
        c.EnableTwoFactor("ciphertext", (token("code 0"), *map(token, _CODES))),
        events=(e.TwoFactorEnabled(),),
        after={
            "two_factor_enabled": True,
            "two_factor_unverified": True,
            "two_factor": TwoFactor("ciphertext", _AT_REST, revision=0),
        },
    ),
    Case(
        "a second factor of a verified address survives a reset",
        _ENABLE,
        ada(email_verified=True),
        events=(e.TwoFactorEnabled(),),
        after={
            "two_factor_enabled": True,
            "two_factor": TwoFactor("ciphertext", _AT_REST, revision=0),
        },
    ),
    Case(
        "all recovery codes are replaced",
        c.RegenerateRecoveryCodes(tuple(map(token, _CODES))),
        ada(two_factor_enabled=True, two_factor=second_factor("a")),
        events=(e.RecoveryCodesRegenerated(len(_AT_REST)),),
        after={"two_factor": TwoFactor("ciphertext", _AT_REST, revision=1)},
    ),
    Case(
        "without a second factor there are no recovery codes",
        c.RegenerateRecoveryCodes(tuple(map(token, _CODES))),
        code=Code.TWO_FACTOR_NOT_ENABLED,
    ),
    Case(
        "a second factor is not replaced",
        _ENABLE,
        ada(two_factor_enabled=True, two_factor=second_factor("a")),
        code=Code.TWO_FACTOR_ALREADY_ENABLED,
    ),
    Case(
        "a second factor is forgotten",
        c.DisableTwoFactor(),
        ada(two_factor_enabled=True, two_factor=second_factor("a")),
        events=(e.TwoFactorDisabled(),),
        after={"two_factor_enabled": False, "two_factor": None},
    ),
    Case("there is no second factor to disable", c.DisableTwoFactor()),
    Case(
        "a recovery code is spent",
        c.UseRecoveryCode(token("b")),
        ada(two_factor_enabled=True, two_factor=second_factor("a", "b", "c")),
        events=(e.RecoveryCodeUsed(2),),
        after={"two_factor": second_factor("a", "c")},
    ),
    Case(
        "the last recovery code is spent",
        c.UseRecoveryCode(token("a")),
        ada(two_factor_enabled=True, two_factor=second_factor("a")),
        events=(e.RecoveryCodeUsed(0),),
        after={"two_factor": second_factor()},
    ),
    Case(
        "an unknown recovery code is refused, and counts as a failure",
        c.UseRecoveryCode(token("d")),
        ada(two_factor_enabled=True, two_factor=second_factor("a", "b")),
        code=Code.CODE_INVALID,
        events=(e.LoginFailed(1, "second_factor"),),
        after={"failed_logins": 1, "last_failure_at": NOW},
    ),
    Case(
        "a locked user cannot guess recovery codes",
        c.UseRecoveryCode(token("a")),
        ada(two_factor_enabled=True, two_factor=second_factor("a"), locked_until=SOON),
        code=Code.USER_LOCKED,
    ),
    Case(
        "no code works without a second factor",
        c.UseRecoveryCode(token("a")),
        code=Code.TWO_FACTOR_NOT_ENABLED,
    ),
]

STALE = [
    Case(
        "a second factor is not enabled by a session from before access ended",
        c.EnableTwoFactor("ciphertext", tuple(token(f"{n}") for n in range(8)), 0),
        code=Code.CREDENTIAL_STALE,
    ),
    Case(
        "recovery codes are not replaced by a session from before access ended",
        c.RegenerateRecoveryCodes(tuple(token(f"{n}") for n in range(8)), 0),
        ada(**_SECURED),
        code=Code.CREDENTIAL_STALE,
    ),
]

BANS = [
    Case(
        "a ban for good ends every session",
        c.BanUser("fraud"),
        events=(e.UserBanned(None),),
        after={"ban": Ban("fraud", None), "credential_version": 2},
    ),
    Case(
        "a ban has an end",
        c.BanUser("spam", SOON),
        events=(e.UserBanned(SOON),),
        after={"ban": Ban("spam", SOON), "credential_version": 2},
    ),
    Case(
        "another end replaces the ban",
        c.BanUser("fraud", LATER),
        ada(ban=Ban("spam", SOON)),
        events=(e.UserBanned(LATER),),
        after={"ban": Ban("fraud", LATER), "credential_version": 2},
    ),
    Case(
        "a ban that has passed is replaced, even by the same",
        c.BanUser("spam"),
        ada(ban=Ban("spam", BEFORE)),
        events=(e.UserBanned(None),),
        after={"ban": Ban("spam", None), "credential_version": 2},
    ),
    Case("the same ban has no effect", c.BanUser("fraud", SOON), ada(ban=Ban("spam", SOON))),
    Case("the same ban for good has no effect", c.BanUser("fraud"), ada(ban=Ban("spam", None))),
    Case("a ban whose end has passed has no effect", c.BanUser("spam", NOW)),
    Case(
        "a ban whose end has passed does not shorten the one in force",
        c.BanUser("spam", BEFORE),
        ada(ban=Ban("fraud", None)),
    ),
    Case(
        "a ban is lifted",
        c.UnbanUser(),
        ada(ban=Ban("spam", None)),
        events=(e.UserUnbanned(),),
        after={"ban": None},
    ),
    Case("there is no ban to lift", c.UnbanUser()),
    Case("a ban that has passed is none", c.UnbanUser(), ada(ban=Ban("spam", NOW))),
]

REST = [
    Case(
        "an account is deactivated, its sessions end",
        c.DeactivateUser("moved"),
        events=(e.UserDeactivated(),),
        after={"deactivated": True, "deactivation_reason": "moved", "credential_version": 2},
    ),
    Case(
        "no reason is needed",
        c.DeactivateUser(),
        events=(e.UserDeactivated(),),
        after={"deactivated": True, "credential_version": 2},
    ),
    Case("a resting account rests", c.DeactivateUser("again"), ada(deactivated=True)),
    Case(
        "an account is woken",
        c.ReactivateUser(),
        ada(deactivated=True, deactivation_reason="moved"),
        events=(e.UserReactivated(),),
        after={"deactivated": False, "deactivation_reason": None},
    ),
    Case("an account that is awake stays so", c.ReactivateUser()),
]

ERASURE = [
    Case(
        "nothing of the person stays",
        c.EraseUser(),
        ada(
            email_verified=True,
            roles=("admin",),
            failed_logins=2,
            lock_count=1,
            locked_until=SOON,
            ban=Ban("spam", None),
            deactivated=True,
            deactivation_reason="moved",
            two_factor_enabled=True,
            two_factor=second_factor("a"),
            email_verification=out("mail"),
            email_change=EmailChange(NEW, out("change")),
            password_reset=out("reset"),
            **with_session(session()),
        ),
        events=(e.UserErased(),),
        after={
            "email": None,
            "first_name": "",
            "last_name": "",
            "email_verified": False,
            "password_hash": None,
            "roles": (),
            "credential_version": 2,
            "failed_logins": 0,
            "lock_count": 0,
            "locked_until": None,
            "ban": Ban("", None, address_hash=hash_address(ADA.key)),
            "deactivated": False,
            "deactivation_reason": None,
            "erased": True,
            "two_factor_enabled": False,
            "two_factor": None,
            "email_verification": None,
            "email_change": None,
            "password_reset": None,
            **NO_SESSION,
        },
    ),
]

CASES = STARTS + ROTATIONS + REVOCATIONS + LOCKS + TWO_FACTOR + STALE + BANS + REST + ERASURE

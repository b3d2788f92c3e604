"""One user, and the effect of each command on that user alone, written from the rules.

It does not use the worker's code. A rule changes the person and returns the names of the events, or
raises `No` with a rejection's code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from domain import commands as c
from domain.policy import DEFAULT_POLICY
from domain.values import EmailAddress, PasswordHash, TokenHash
from tests.builders import FAMILY


class No(Exception):  # noqa: N818 - it says no
    """A rejection, with the events of what changed nevertheless."""

    def __init__(self, code: str, events: list[str] | None = None) -> None:
        super().__init__(code)
        self.events = events or []


@dataclass(slots=True)
class Login:
    """A session: the parts of its refresh token that are live, and the one replaced last."""

    tokens: list[str]
    until: datetime
    started: datetime
    replaced: tuple[str, datetime] | None = None
    ended: bool = False


@dataclass(slots=True)
class Person:
    """The complete state of a user."""

    email: EmailAddress | None
    names: list[str]
    roles: list[str]
    created: datetime | None = None
    """When another system created the account; None: when the command was applied."""
    passwords: int = 0
    hash: str | None = None
    events: int = 0
    verified: bool = False
    failures: int = 0
    locks: int = 0
    locked_until: datetime | None = None
    ban: tuple[datetime | None] | None = None
    banned_address: EmailAddress | None = None
    """The address that a ban of this erased person applies to."""
    resting: bool = False
    erased: bool = False
    last_failure: datetime | None = None
    terms: dict[str, str] = field(default_factory=dict)
    legacy_hash: bool = False
    unverified_codes: bool = False
    """Whether the second factor was enabled before the address was verified."""
    verification: tuple[str, datetime] | None = None
    reset: tuple[str, datetime] | None = None
    change: tuple[EmailAddress, str, datetime] | None = None
    codes: set[str] | None = None
    step: int = 0
    logins: dict[str, Login] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    """Fields of `User` that only one command sets, by name; see `sets`."""

    def copy(self) -> Person:
        """Return an independent copy."""
        logins = {i: replace(x, tokens=[*x.tokens]) for i, x in self.logins.items()}
        return replace(self, logins=logins)  # all other values are replaced, never changed

    def banned(self, now: datetime) -> bool:
        """Return True if a ban is in force."""
        return self.ban is not None and (self.ban[0] is None or self.ban[0] > now)

    def banned_beyond(self, until: datetime | None, now: datetime) -> bool:
        """Return True if a ban is in force that ends later than `until`."""
        if until is None or self.ban is None or not self.banned(now):
            return False
        return self.ban[0] is None or self.ban[0] > until

    def locked(self, now: datetime) -> bool:
        """Return True if a lock is in force."""
        return self.locked_until is not None and self.locked_until > now

    def forget_failures(self) -> None:
        """Reset failures and locks."""
        self.failures = self.locks = 0
        self.locked_until = self.last_failure = None

    def end_access(self) -> None:
        """End every session; no mailed token is valid any longer."""
        self.passwords += 1
        for login in self.logins.values():
            login.ended = True
        self.verification = self.reset = None
        self.change = None

    def record(self, events: Sequence[str], now: datetime) -> None:
        """Count the events; an expired change of the address is removed with them."""
        self.events += len(events)
        if self.change is not None and self.change[2] <= now:
            self.change = None

    def live_logins(self, now: datetime) -> dict[str, Login]:
        """Return the sessions that have neither ended nor expired, oldest first."""
        return {i: x for i, x in self.logins.items() if not x.ended and x.until > now}

    def new_password(self, hashed: PasswordHash) -> None:
        """Record a new password, which ends all access."""
        self.hash, self.legacy_hash = hashed.value, hashed.legacy
        self.end_access()


def check_token(out: tuple[Any, ...] | None, presented: TokenHash, now: datetime) -> None:
    """Raise `No` if a token is not the current one, or is expired."""
    if out is None or out[0] != presented.stored:
        raise No("TokenInvalid")
    if out[1] <= now:
        raise No("TokenExpired")


# --- what each command does to one person -----------------------------------------------------


def _update_profile(person: Person, command: c.UpdateProfile, _: datetime) -> list[str]:
    wanted = [command.first_name or person.names[0], command.last_name or person.names[1]]
    others = {
        name: value
        for name in ("locale", "time_zone")
        if (value := getattr(command, name)) is not None
    }
    changed = wanted != person.names or person.others | others != person.others
    person.names, person.others = wanted, person.others | others
    return ["ProfileUpdated"] if changed else []


def issued(command: Any, now: datetime, longest: timedelta) -> tuple[str, datetime]:
    """Return a requested token's hash and end, which is limited."""
    if command.expires_at <= now:
        raise No("TokenExpired")
    return command.token_hash.stored, min(command.expires_at, now + longest)


def _request_verification(person: Person, command: Any, now: datetime) -> list[str]:
    token = issued(command, now, DEFAULT_POLICY.verification_lifetime)
    if person.verified:
        return []
    person.verification = token
    return ["EmailVerificationRequested"]


def _verify(person: Person, command: c.VerifyEmail, now: datetime) -> list[str]:
    if person.verified:
        return []
    check_token(person.verification, command.token_hash, now)
    person.verified, person.verification = True, None
    return ["EmailVerified"]


def _change_password(person: Person, command: c.ChangePassword, _: datetime) -> list[str]:
    if command.credential_version != person.passwords:
        raise No("CredentialStale")
    person.new_password(command.password_hash)
    return ["PasswordChanged"]


def _request_reset(person: Person, command: c.RequestPasswordReset, now: datetime) -> list[str]:
    person.reset = issued(command, now, DEFAULT_POLICY.reset_lifetime)
    return ["PasswordResetRequested"]


def _reset(person: Person, command: c.ResetPassword, now: datetime) -> list[str]:
    check_token(person.reset, command.token_hash, now)
    unlocked = ["UserUnlocked"] if person.locked(now) else []
    person.new_password(command.password_hash)
    person.forget_failures()
    verified = [] if person.verified else ["EmailVerified"]
    person.verified = True
    disabled = _disable(person, None, now) if person.unverified_codes else []
    return ["PasswordReset", *verified, *disabled, *unlocked]


def _cancel_change(person: Person, _: Any, __: datetime) -> list[str]:
    waits, person.change = person.change is not None, None
    return ["EmailChangeCancelled"] if waits else []


def _upgrade_hash(person: Person, command: c.UpgradePasswordHash, _: datetime) -> list[str]:
    if command.credential_version != person.passwords or person.hash is None:
        raise No("CredentialStale")
    hashed = command.password_hash.value
    changed, person.hash, person.legacy_hash = hashed != person.hash, hashed, False
    return ["PasswordHashUpgraded"] if changed else []


def _accept(person: Person, command: c.AcceptTerms, _: datetime) -> list[str]:
    if person.terms.get(command.document) == command.version:
        return []
    person.terms = {**person.terms, command.document: command.version}
    return ["TermsAccepted"]


def _start(person: Person, command: c.StartSession, now: datetime) -> list[str]:
    for wrong, code in (
        (person.banned(now), "UserBanned"),
        (person.locked(now), "UserLocked"),
        (person.resting, "UserDeactivated"),
        (command.session_id in person.logins, "SessionAlreadyExists"),
        (command.expires_at <= now, "SessionExpired"),
        (command.credential_version != person.passwords, "CredentialStale"),
    ):
        if wrong:
            raise No(code)
    used = [] if person.codes is None else _second_factor(person, command, now)
    token = _part(command.refresh_token_hash)
    live = person.live_logins(now)
    surplus = list(live)[: max(len(live) - 49, 0)]
    for login_id, login in person.logins.items():
        login.ended = login_id not in live or login_id in surplus
    until = min(command.expires_at, now + DEFAULT_POLICY.session_idle_lifetime)
    person.logins[command.session_id] = Login([token], until, now)
    person.forget_failures()
    return [*used, *("SessionRevoked" for _ in surplus), "SessionStarted"]


def _part(token: TokenHash) -> str:
    return token.stored[:32]


def _second_factor(person: Person, command: c.StartSession, now: datetime) -> list[str]:
    if command.recovery_code_hash is not None:
        return _spend(person, command.recovery_code_hash, now)
    if command.totp_step is None:
        raise No("SecondFactorRequired")
    if command.totp_step <= person.step:
        raise No("SecondFactorReplayed")
    if command.totp_step > now.timestamp() // 30 + 10:
        raise No("CodeInvalid")
    person.step = command.totp_step
    return []


def _spend(person: Person, code: TokenHash, now: datetime) -> list[str]:
    assert person.codes is not None
    if code.stored not in person.codes:
        raise No("CodeInvalid", _fail(person, None, now))
    person.codes = person.codes - {code.stored}
    return ["RecoveryCodeUsed"]


def _rotate(person: Person, command: c.RotateRefreshToken, now: datetime) -> list[str]:
    login = person.logins.get(command.session_id)
    if login is None or login.ended or command.refresh_family_hash != FAMILY:
        raise No("SessionNotFound")
    if login.until <= now:
        raise No("SessionExpired")
    shown, following = _part(command.refresh_token_hash), _part(command.next_refresh_token_hash)
    last, since = login.replaced or (None, now)
    if shown not in login.tokens and (last != shown or abs(now - since) >= timedelta(seconds=10)):
        del person.logins[command.session_id]
        raise No("RefreshTokenReused", ["RefreshTokenReuseDetected"])
    if command.expires_at <= now:
        raise No("SessionExpired")
    if shown not in login.tokens and following in login.tokens:
        return []
    if following in {*login.tokens, last}:
        raise No("TokenInvalid")
    if shown in login.tokens:
        login.tokens.remove(shown)
        login.replaced = shown, now
    login.tokens = [*login.tokens, following][-4:]
    login.until = min(
        command.expires_at,
        now + DEFAULT_POLICY.session_idle_lifetime,
        login.started + DEFAULT_POLICY.session_lifetime,
    )
    return ["RefreshTokenRotated"]


def _revoke(person: Person, command: c.RevokeSession, now: datetime) -> list[str]:
    if command.session_id not in person.live_logins(now):
        return []
    del person.logins[command.session_id]
    return ["SessionRevoked"]


def _revoke_others(person: Person, command: c.RevokeOtherSessions, now: datetime) -> list[str]:
    live = person.live_logins(now)
    if command.session_id not in live:
        raise No("SessionNotFound")
    for login_id, login in person.logins.items():
        login.ended = login_id != command.session_id
    return ["OtherSessionsRevoked"] if len(live) > 1 else []


def _revoke_all(person: Person, _: Any, __: datetime) -> list[str]:
    person.end_access()
    return ["AllSessionsRevoked"]


def _fail(person: Person, _: Any, now: datetime) -> list[str]:
    if person.locked(now):
        return []
    if person.last_failure and now - person.last_failure >= DEFAULT_POLICY.failures_lifetime:
        person.forget_failures()
    person.failures += 1
    person.last_failure = now
    if person.failures < DEFAULT_POLICY.failures_before_lock:
        return ["LoginFailed"]
    duration = min(DEFAULT_POLICY.first_lock * 2**person.locks, DEFAULT_POLICY.longest_lock)
    person.locked_until, person.failures = now + duration, 0
    person.locks += 1
    return ["LoginFailed", "UserLocked"]


def _unlock(person: Person, _: Any, __: datetime) -> list[str]:
    if not (person.failures or person.locks or person.locked_until):
        return []
    person.forget_failures()
    return ["UserUnlocked"]


def check_credential(person: Person, version: int | None) -> None:
    """Reject a command that names an earlier credential version."""
    if version is not None and version != person.passwords:
        raise No("CredentialStale")


def _enable(person: Person, command: c.EnableTwoFactor, _: datetime) -> list[str]:
    check_credential(person, command.credential_version)
    if person.codes is not None:
        raise No("TwoFactorAlreadyEnabled")
    person.codes = {code.stored for code in command.recovery_code_hashes}
    person.unverified_codes = not person.verified
    return ["TwoFactorEnabled"]


def _regenerate(person: Person, command: c.RegenerateRecoveryCodes, _: datetime) -> list[str]:
    check_credential(person, command.credential_version)
    if person.codes is None:
        raise No("TwoFactorNotEnabled")
    person.codes = {code.stored for code in command.recovery_code_hashes}
    return ["RecoveryCodesRegenerated"]


def _disable(person: Person, _: Any, __: datetime) -> list[str]:
    enabled, person.codes, person.unverified_codes = person.codes is not None, None, False
    return ["TwoFactorDisabled"] if enabled else []


def _use_code(person: Person, command: c.UseRecoveryCode, now: datetime) -> list[str]:
    if person.codes is None:
        raise No("TwoFactorNotEnabled")
    if person.locked(now):
        raise No("UserLocked")
    return _spend(person, command.code_hash, now)


def _assign(person: Person, command: c.AssignRole, _: datetime) -> list[str]:
    if command.role in person.roles:
        return []
    person.roles = [*person.roles, command.role]
    return ["RoleAssigned"]


def _revoke_role(person: Person, command: c.RevokeRole, _: datetime) -> list[str]:
    if command.role not in person.roles:
        return []
    person.roles = [role for role in person.roles if role != command.role]
    return ["RoleRevoked"]


def _ban(person: Person, command: c.BanUser, now: datetime) -> list[str]:
    past = command.until is not None and command.until <= now
    if past or (person.banned(now) and person.ban == (command.until,)):
        return []
    person.ban = (command.until,)
    person.end_access()
    return ["UserBanned"]


def _unban(person: Person, _: Any, now: datetime) -> list[str]:
    if not person.banned(now):
        return []
    person.ban = None
    return ["UserUnbanned"]


def _deactivate(person: Person, _: Any, __: datetime) -> list[str]:
    if person.resting:
        return []
    person.resting = True
    person.end_access()
    return ["UserDeactivated"]


def _reactivate(person: Person, _: Any, __: datetime) -> list[str]:
    was, person.resting = person.resting, False
    return ["UserReactivated"] if was else []


def _erase(person: Person, _: Any, now: datetime) -> list[str]:
    ban, address = (person.ban, person.email) if person.banned(now) else (None, None)
    remains = Person(
        None,
        ["", ""],
        [],
        created=person.created,
        passwords=person.passwords + 1,
        events=person.events,
    )
    for name in Person.__slots__:
        setattr(person, name, getattr(remains, name))
    person.erased = True
    person.ban, person.banned_address = ban, address
    return ["UserErased"]


def sets(name: str, event: str) -> Callable[[Person, Any, datetime], list[str]]:
    """Return the rule of a command that only sets the field of its name."""

    def set_it(person: Person, command: Any, _: datetime) -> list[str]:
        value = getattr(command, name)
        changed = person.others.get(name) != value
        person.others = {**person.others, name: value}
        return [event] if changed else []

    return set_it


RULES: dict[str, Callable[[Person, Any, datetime], list[str]]] = {
    "UpdateProfile": _update_profile,
    "RequestEmailVerification": _request_verification,
    "VerifyEmail": _verify,
    "CancelEmailChange": _cancel_change,
    "UpgradePasswordHash": _upgrade_hash,
    "AcceptTerms": _accept,
    "RegenerateRecoveryCodes": _regenerate,
    "ChangePassword": _change_password,
    "RequestPasswordReset": _request_reset,
    "ResetPassword": _reset,
    "StartSession": _start,
    "RotateRefreshToken": _rotate,
    "RevokeOtherSessions": _revoke_others,
    "RevokeSession": _revoke,
    "RevokeAllSessions": _revoke_all,
    "RecordLoginFailure": _fail,
    "UnlockUser": _unlock,
    "EnableTwoFactor": _enable,
    "DisableTwoFactor": _disable,
    "UseRecoveryCode": _use_code,
    "AssignRole": _assign,
    "RevokeRole": _revoke_role,
    "BanUser": _ban,
    "UnbanUser": _unban,
    "DeactivateUser": _deactivate,
    "ReactivateUser": _reactivate,
    "EraseUser": _erase,
}
"""By the name of the command; the model has the rules of commands that concern other users."""

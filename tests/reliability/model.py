"""The business in its simplest form, written from the rules and not from the code.

One dictionary of people, no versions, no table, no network: `Model.decide` says how a command
ends. `serial.py` asks it whether what the workers did is what some order of the commands gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from domain import commands as c
from domain.model import OneTimeToken
from domain.values import EmailAddress, TokenHash
from tests.reliability.invariants import Stored

Answer = tuple[str | None, tuple[str, ...]]
"""The code of a rejection, and the names of the events."""


class No(Exception):  # noqa: N818 - it says no
    """A rejection."""


@dataclass(slots=True)
class Login:
    """A session: the tokens it has had, the last of them good."""

    tokens: list[str]
    epoch: int
    until: datetime


@dataclass(slots=True)
class Person:
    """All there is to know of a user."""

    email: EmailAddress | None
    names: list[str]
    roles: list[str]
    passwords: int = 0
    events: int = 0
    verified: bool = False
    epoch: int = 0
    failures: int = 0
    locks: int = 0
    locked_until: datetime | None = None
    ban: tuple[datetime | None] | None = None
    resting: bool = False
    erased: bool = False
    verification: tuple[str, datetime] | None = None
    reset: tuple[str, datetime] | None = None
    change: tuple[EmailAddress, str, datetime] | None = None
    codes: set[str] | None = None
    logins: dict[str, Login] = field(default_factory=dict)

    def copy(self) -> Person:
        """Give the same person, who goes their own way."""
        logins = {i: Login([*x.tokens], x.epoch, x.until) for i, x in self.logins.items()}
        return replace(self, logins=logins)  # all else is replaced, never changed

    def banned(self, now: datetime) -> bool:
        """Whether a ban is in force."""
        return self.ban is not None and (self.ban[0] is None or self.ban[0] > now)

    def locked(self, now: datetime) -> bool:
        """Whether a lock is in force."""
        return self.locked_until is not None and self.locked_until > now

    def forget_failures(self) -> None:
        """Be trusted again."""
        self.failures = self.locks = 0
        self.locked_until = None

    def new_password(self) -> None:
        """A password was set: every session ends, and a reset that was asked for is void."""
        self.passwords += 1
        self.epoch += 1
        self.reset = None


class Model:
    """The people, by id."""

    def __init__(self) -> None:
        """Start with nobody."""
        self.people: dict[str, Person] = {}

    def copy(self) -> Model:
        """Give the same people, who go their own way."""
        other = Model()
        other.people = {user_id: person.copy() for user_id, person in self.people.items()}
        return other

    def owner(self, address: EmailAddress) -> str | None:
        """Say who has an address."""
        return next(
            (i for i, p in self.people.items() if p.email and p.email.key == address.key), None
        )

    def decide(self, user_id: str | None, command: c.Command, now: datetime) -> Answer:
        """Carry out a command, or refuse it."""
        address = getattr(command, "email", None)
        if user_id is None and address is not None:
            user_id = self.owner(address)
            if user_id is None and isinstance(command, c.RequestPasswordReset):
                return None, ("CommandHadNoEffect",)
        try:
            events = self._carry_out(user_id, command, now)
        except No as no:
            return str(no), ("CommandRejected",)
        if not events:
            return None, ("CommandHadNoEffect",)
        assert user_id is not None
        self.people[user_id].events += len(events)
        if "RefreshTokenReuseDetected" in events:
            return "RefreshTokenReused", (*events, "CommandRejected")
        return None, tuple(events)

    def _carry_out(self, user_id: str | None, command: Any, now: datetime) -> list[str]:
        person = self.people.get(user_id or "")
        if isinstance(command, c.RegisterUser | c.CreateUser):
            assert user_id is not None
            return self._create(user_id, person, command)
        if person is None:
            raise No("UserNotFound")
        if person.erased:
            raise No("UserErased")
        name = type(command).__name__
        if name in {"RequestEmailChange", "ConfirmEmailChange"}:
            return self._change_email(person, command, now)
        return _RULES[name](person, command, now)

    def _create(self, user_id: str, person: Person | None, command: Any) -> list[str]:
        if person is not None:
            raise No("UserErased" if person.erased else "UserAlreadyExists")
        if self.owner(command.email):
            raise No("EmailTaken")
        names = [command.first_name, command.last_name]
        signs_up = isinstance(command, c.RegisterUser)
        roles = [] if signs_up else list(dict.fromkeys(command.roles))
        self.people[user_id] = Person(command.email, names, roles, passwords=int(signs_up))
        return ["UserRegistered" if signs_up else "UserCreated"]

    def _change_email(self, person: Person, command: Any, now: datetime) -> list[str]:
        if isinstance(command, c.RequestEmailChange):
            if command.new_email == person.email:
                return []
            self._must_be_free(command.new_email, person)
            person.change = command.new_email, command.token_hash.stored, command.expires_at
            return ["EmailChangeRequested"]
        _check(person.change[1:] if person.change else None, command.token_hash, now)
        assert person.change is not None
        self._must_be_free(person.change[0], person)
        person.email, person.verified = person.change[0], True
        person.change = person.verification = person.reset = None
        return ["EmailChanged"]

    def _must_be_free(self, address: EmailAddress, person: Person) -> None:
        owner = self.owner(address)
        if owner is not None and self.people[owner] is not person:
            raise No("EmailTaken")

    def differences(self, stored: Stored) -> list[str]:
        """Say where what is stored is not as it is here."""
        found = [] if self.people.keys() == stored.users.keys() else ["the users"]
        for user_id in self.people.keys() & stored.users.keys():
            here, there = self._facts(user_id), _facts(stored, user_id)
            found += [
                f"{user_id} {n}: {here[n]} != {there[n]}" for n in here if here[n] != there[n]
            ]
        return found

    def _facts(self, user_id: str) -> dict[str, Any]:
        p = self.people[user_id]
        live = {i: login.tokens[-1] for i, login in p.logins.items() if login.epoch == p.epoch}
        return {
            "email": p.email, "names": p.names, "roles": p.roles, "version": p.events,
            "passwords": p.passwords, "verified": p.verified, "epoch": p.epoch,
            "failures": p.failures, "locks": p.locks, "locked until": p.locked_until,
            "ban": p.ban, "resting": p.resting, "erased": p.erased, "codes": p.codes,
            "verification": p.verification, "reset": p.reset, "change": p.change, "logins": live,
        }  # fmt: skip


def _facts(stored: Stored, user_id: str) -> dict[str, Any]:
    u, factor = stored.users[user_id], stored.two_factors.get(user_id)
    change = u.email_change
    return {
        "email": u.email, "names": [u.first_name, u.last_name], "roles": list(u.roles),
        "version": u.version, "passwords": u.credential_version, "verified": u.email_verified,
        "epoch": u.session_epoch, "failures": u.failed_logins, "locks": u.lock_count,
        "locked until": u.locked_until, "ban": (u.ban.until,) if u.ban else None,
        "resting": u.deactivated, "erased": u.erased,
        "codes": set(factor.recovery_code_hashes) if factor else None,
        "verification": _out(u.email_verification), "reset": _out(u.password_reset),
        "change": (change.new_email, *(_out(change.token) or ())) if change else None,
        "logins": {
            id_: session.refresh_token_hash
            for (owner, id_), session in stored.sessions.items()
            if owner == user_id and session.session_epoch == u.session_epoch
        },
    }  # fmt: skip


def _out(token: OneTimeToken | None) -> tuple[str, datetime] | None:
    return (token.token_hash, token.expires_at) if token else None


def _check(out: tuple[Any, ...] | None, presented: TokenHash, now: datetime) -> None:
    if out is None or out[0] != presented.stored:
        raise No("TokenInvalid")
    if out[1] <= now:
        raise No("TokenExpired")


# --- what each command does to one person -----------------------------------------------------


def _update_profile(person: Person, command: c.UpdateProfile, _: datetime) -> list[str]:
    wanted = [command.first_name or person.names[0], command.last_name or person.names[1]]
    changed, person.names = wanted != person.names, wanted
    return ["ProfileUpdated"] if changed else []


def _request_verification(person: Person, command: Any, _: datetime) -> list[str]:
    if person.verified:
        return []
    person.verification = command.token_hash.stored, command.expires_at
    return ["EmailVerificationRequested"]


def _verify(person: Person, command: c.VerifyEmail, now: datetime) -> list[str]:
    if person.verified:
        return []
    _check(person.verification, command.token_hash, now)
    person.verified, person.verification = True, None
    return ["EmailVerified"]


def _change_password(person: Person, command: c.ChangePassword, _: datetime) -> list[str]:
    if command.credential_version != person.passwords:
        raise No("CredentialStale")
    person.new_password()
    return ["PasswordChanged"]


def _request_reset(person: Person, command: c.RequestPasswordReset, _: datetime) -> list[str]:
    person.reset = command.token_hash.stored, command.expires_at
    return ["PasswordResetRequested"]


def _reset(person: Person, command: c.ResetPassword, now: datetime) -> list[str]:
    _check(person.reset, command.token_hash, now)
    unlocked = ["UserUnlocked"] if person.locked(now) else []
    person.new_password()
    person.forget_failures()
    return ["PasswordReset", *unlocked]


def _start(person: Person, command: c.StartSession, now: datetime) -> list[str]:
    for wrong, code in (
        (person.banned(now), "UserBanned"),
        (person.locked(now), "UserLocked"),
        (person.resting, "UserDeactivated"),
        (command.session_id in person.logins, "SessionAlreadyExists"),
    ):
        if wrong:
            raise No(code)
    token = command.refresh_token_hash.stored
    person.logins[command.session_id] = Login([token], person.epoch, command.expires_at)
    person.forget_failures()
    return ["SessionStarted"]


def _rotate(person: Person, command: c.RotateRefreshToken, now: datetime) -> list[str]:
    login = person.logins.get(command.session_id)
    if login is None:
        raise No("SessionNotFound")
    if login.until <= now or login.epoch != person.epoch:
        raise No("SessionExpired")
    shown, following = command.refresh_token_hash.stored, command.next_refresh_token_hash.stored
    if shown in login.tokens[:-1]:
        del person.logins[command.session_id]
        return ["RefreshTokenReuseDetected"]
    if shown != login.tokens[-1]:
        raise No("SessionNotFound")
    if following in login.tokens:
        raise No("TokenInvalid")
    login.tokens.append(following)
    login.until = command.expires_at
    return ["RefreshTokenRotated"]


def _revoke(person: Person, command: c.RevokeSession, now: datetime) -> list[str]:
    login = person.logins.get(command.session_id)
    if login is None or login.until <= now or login.epoch != person.epoch:
        return []
    del person.logins[command.session_id]
    return ["SessionRevoked"]


def _revoke_all(person: Person, _: Any, __: datetime) -> list[str]:
    person.epoch += 1
    return ["AllSessionsRevoked"]


def _fail(person: Person, _: Any, now: datetime) -> list[str]:
    if person.locked(now):
        return []
    person.failures += 1
    if person.failures < 5:
        return ["LoginFailed"]
    minutes = min(5 * 2**person.locks, 24 * 60)
    person.locked_until, person.failures = now + timedelta(minutes=minutes), 0
    person.locks += 1
    return ["LoginFailed", "UserLocked"]


def _unlock(person: Person, _: Any, __: datetime) -> list[str]:
    if not (person.failures or person.locks or person.locked_until):
        return []
    person.forget_failures()
    return ["UserUnlocked"]


def _enable(person: Person, command: c.EnableTwoFactor, _: datetime) -> list[str]:
    if person.codes is not None:
        raise No("TwoFactorAlreadyEnabled")
    person.codes = {code.stored for code in command.recovery_code_hashes}
    return ["TwoFactorEnabled"]


def _disable(person: Person, _: Any, __: datetime) -> list[str]:
    enabled, person.codes = person.codes is not None, None
    return ["TwoFactorDisabled"] if enabled else []


def _use_code(person: Person, command: c.UseRecoveryCode, _: datetime) -> list[str]:
    if person.codes is None:
        raise No("TwoFactorNotEnabled")
    if command.code_hash.stored not in person.codes:
        raise No("CodeInvalid")
    person.codes = person.codes - {command.code_hash.stored}
    return ["RecoveryCodeUsed"]


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
    person.epoch += 1
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
    person.epoch += 1
    return ["UserDeactivated"]


def _reactivate(person: Person, _: Any, __: datetime) -> list[str]:
    was, person.resting = person.resting, False
    return ["UserReactivated"] if was else []


def _erase(person: Person, _: Any, __: datetime) -> list[str]:
    remains = Person(None, ["", ""], [], person.passwords, person.events, epoch=person.epoch + 1)
    for name in Person.__slots__:
        setattr(person, name, getattr(remains, name))
    person.erased = True
    return ["UserErased"]


_RULES: dict[str, Callable[[Person, Any, datetime], list[str]]] = {
    "UpdateProfile": _update_profile,
    "RequestEmailVerification": _request_verification,
    "VerifyEmail": _verify,
    "ChangePassword": _change_password,
    "RequestPasswordReset": _request_reset,
    "ResetPassword": _reset,
    "StartSession": _start,
    "RotateRefreshToken": _rotate,
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

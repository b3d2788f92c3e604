"""The business rules in their simplest form, written from the rules and not from the code.

One dictionary of people, without versions, tables or network: `Model.decide` returns how a command
ends. `serial.py` uses it to check that the workers did what some order of the commands does.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from domain import commands as c
from domain.policy import DEFAULT_POLICY
from domain.tokens import OneTimeToken
from domain.user import User
from domain.values import EmailAddress
from tests.reliability.invariants import Stored
from tests.reliability.person import RULES, No, Person, check_credential, check_token, issued

COMPARED = {
    "email_verified", "password_hash", "credential_version", "roles",
    "failed_logins", "lock_count", "locked_until", "ban", "deactivated", "deactivation_reason",
    "erased", "two_factor_enabled", "email_verification", "email_change", "password_reset",
    "two_factor", "two_factor_unverified", "last_failure_at", "terms", "password_hash_legacy",
    "last_totp_step", "live_sessions",
}  # fmt: skip
"""Fields of a user that `_facts` compares, or that follow from what it compares."""
Answer = tuple[str | None, tuple[str, ...]]
"""The code of a rejection, and the names of the events."""
OTHERS = {
    field.name: field.default
    for field in fields(User)
    if field.name not in COMPARED and field.default is not MISSING
}
"""Fields of a user for which the model has no name of its own, with their defaults."""
IMPORTED_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)
"""Commands state times before it as `created_at`; the tests' own clocks are later."""
MAX_HOURS = {
    "StartSession": 1, "RotateRefreshToken": 1, "RecordLoginFailure": 1,
    "UnlockUser": 24, "UnbanUser": 24, "ReactivateUser": 24, "DisableTwoFactor": 24,
    "AssignRole": 24, "RevokeRole": 24, "EnableTwoFactor": 24, "RegenerateRecoveryCodes": 24,
    "UseRecoveryCode": 1,
}  # fmt: skip
"""The age, in hours, above which a command has expired."""


class Model:
    """The people, by id."""

    def __init__(self) -> None:
        """Start without users."""
        self.people: dict[str, Person] = {}
        self.held: set[str] = set()
        """Addresses of people who were erased while banned, until a relay releases them."""

    def copy(self) -> Model:
        """Return an independent copy."""
        other = Model()
        other.held = {*self.held}
        other.people = {user_id: person.copy() for user_id, person in self.people.items()}
        return other

    def owner(self, address: EmailAddress) -> str | None:
        """Return the id of the user with an address, or None."""
        return next(
            (i for i, p in self.people.items() if p.email and p.email.key == address.key), None
        )

    def decide(
        self,
        user_id: str | None,
        command: c.Command,
        now: datetime,
        sent_at: datetime | None = None,
    ) -> Answer:
        """Apply or reject a command; return its answer. `sent_at` is `None` for a young command."""
        max_hours = MAX_HOURS.get(type(command).__name__)
        if sent_at and max_hours and now - sent_at > timedelta(hours=max_hours):
            return "CommandExpired", ("CommandRejected",)
        if sent_at and isinstance(command, c.BanUser) and now - sent_at > timedelta(hours=24):
            person = self.people.get(user_id or "")
            if person is not None and person.banned_beyond(command.until, now):
                return "CommandExpired", ("CommandRejected",)
        address = getattr(command, "email", None)
        if user_id is None and address is not None:
            user_id = self.owner(address)
        try:
            if user_id is None and address is not None:
                events = _without_owner(command, now)
            else:
                events = self._carry_out(user_id, command, now)
        except No as no:
            if no.events:
                assert user_id is not None
                self.people[user_id].record(no.events, now)
            return str(no), (*no.events, "CommandRejected")
        if not events:
            return None, ("CommandHadNoEffect",)
        assert user_id is not None
        self.people[user_id].record(events, now)
        return None, tuple(events)

    def _carry_out(self, user_id: str | None, command: Any, now: datetime) -> list[str]:
        person = self.people.get(user_id or "")
        if isinstance(command, c.RegisterUser | c.CreateUser):
            assert user_id is not None
            return self._create(user_id, person, command, now)
        if person is None:
            raise No("UserNotFound")
        if person.erased and not (isinstance(command, c.UnbanUser) and person.banned(now)):
            raise No("UserErased")
        name = type(command).__name__
        if name in {"RequestEmailChange", "ConfirmEmailChange"}:
            return self._change_email(person, command, now)
        if name not in RULES:
            raise NotImplementedError(f"add {name} to RULES in tests/reliability/person.py")
        events = RULES[name](person, command, now)
        if name == "EraseUser" and person.banned_address is not None:
            self.held.add(person.banned_address.key)
        return events

    def _create(
        self, user_id: str, person: Person | None, command: Any, now: datetime
    ) -> list[str]:
        if person is not None:
            raise No("UserErased" if person.erased else "UserAlreadyExists")
        if self.owner(command.email) or self._banned(command.email, now):
            raise No("EmailTaken")
        names = [command.first_name, command.last_name or ""]
        signs_up = isinstance(command, c.RegisterUser)
        roles = [] if signs_up else list(dict.fromkeys(command.roles))
        person = Person(command.email, names, roles)
        person.others = {"locale": command.locale, "time_zone": command.time_zone}
        if not signs_up:
            person.verified = command.email_verified is True
            person.created = command.created_at
        if command.password_hash is not None:
            hashed = command.password_hash
            person.passwords, person.hash, person.legacy_hash = 1, hashed.value, hashed.legacy
        self.people[user_id] = person
        return ["UserRegistered" if signs_up else "UserCreated"]

    def _change_email(self, person: Person, command: Any, now: datetime) -> list[str]:
        if isinstance(command, c.RequestEmailChange):
            check_credential(person, command.credential_version)
            token = issued(command, now, DEFAULT_POLICY.email_change_lifetime)
            if command.new_email == person.email:
                return []
            self._must_be_free(command.new_email, person, now)
            person.change = command.new_email, *token
            return ["EmailChangeRequested"]
        check_token(person.change[1:] if person.change else None, command.token_hash, now)
        assert person.change is not None
        self._must_be_free(person.change[0], person, now)
        person.email, person.verified = person.change[0], True
        person.change = person.verification = person.reset = None
        return ["EmailChanged"]

    def _must_be_free(self, address: EmailAddress, person: Person, now: datetime) -> None:
        owner = self.owner(address)
        if owner is not None and self.people[owner] is not person:
            raise No("EmailTaken")
        if self._banned(address, now):
            raise No("EmailTaken")

    def _banned(self, address: EmailAddress, now: datetime) -> bool:
        banned = (p.banned_address for p in self.people.values() if p.banned(now))
        return address.key in self.held or any(b and b.key == address.key for b in banned)

    def differences(self, stored: Stored) -> list[str]:
        """Return the differences between the stored state and this model."""
        found = [] if self.people.keys() == stored.users.keys() else ["the users"]
        for user_id in self.people.keys() & stored.users.keys():
            here, there = self._facts(user_id), _facts(stored, user_id)
            found += [
                f"{user_id} {n}: {here[n]} != {there[n]}" for n in here if here[n] != there[n]
            ]
        return found

    def _facts(self, user_id: str) -> dict[str, Any]:
        p = self.people[user_id]
        live = {i: tuple(login.tokens) for i, login in p.logins.items() if not login.ended}
        return {
            "created": p.created,
            "email": p.email, "names": p.names, "roles": p.roles, "version": p.events,
            "passwords": p.passwords, "verified": p.verified,
            "failures": p.failures, "locks": p.locks, "locked until": p.locked_until,
            "last failure": p.last_failure, "hash": p.hash,
            "legacy hash": p.legacy_hash, "terms": p.terms, "unverified codes": p.unverified_codes,
            "step": p.step,
            "ban": p.ban, "resting": p.resting, "erased": p.erased, "codes": p.codes,
            "verification": p.verification, "reset": p.reset, "change": p.change, "logins": live,
        } | {name: p.others.get(name, default) for name, default in OTHERS.items()}  # fmt: skip


def _without_owner(command: c.Command, now: datetime) -> list[str]:
    """Answer a command that names its user by an unknown address: nothing reveals that."""
    if isinstance(command, c.ResetPassword):
        raise No("TokenInvalid")
    issued(command, now, DEFAULT_POLICY.reset_lifetime)
    return []


def _facts(stored: Stored, user_id: str) -> dict[str, Any]:
    u, factor = stored.users[user_id], stored.two_factors.get(user_id)
    change = u.email_change
    return {
        "created": u.created_at if u.created_at < IMPORTED_BEFORE else None,
        "email": u.email, "names": [u.first_name, u.last_name], "roles": list(u.roles),
        "version": u.version, "passwords": u.credential_version, "verified": u.email_verified,
        "failures": u.failed_logins, "locks": u.lock_count,
        "locked until": u.locked_until, "last failure": u.last_failure_at,
        "hash": u.password_hash, "legacy hash": u.password_hash_legacy,
        "terms": {document: accepted.version for document, accepted in u.terms.items()},
        "unverified codes": u.two_factor_unverified, "step": u.last_totp_step,
        "ban": (u.ban.until,) if u.ban else None,
        "resting": u.deactivated, "erased": u.erased,
        "codes": set(factor.recovery_code_hashes) if factor else None,
        "verification": _out(u.email_verification), "reset": _out(u.password_reset),
        "change": (change.new_email, *(_out(change.token) or ())) if change else None,
        "logins": {
            id_: session.refresh_token_hashes
            for (owner, id_), session in stored.sessions.items()
            if owner == user_id and id_ in u.live_sessions
        },
    } | {name: getattr(u, name) for name in OTHERS}  # fmt: skip


def _out(token: OneTimeToken | None) -> tuple[str, datetime] | None:
    return (token.token_hash, token.expires_at) if token else None

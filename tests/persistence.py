"""Changes for tests of the stores; ids and addresses are derived from short names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import cycle

from application.outbox import Outbox
from application.ports import CommandKey, OutboxEntry
from application.repository import (
    BannedAddress,
    CommitReport,
    LoadRequest,
    Outcome,
    Status,
    UserChange,
    UserRepository,
)
from domain import events as e
from domain.errors import RejectionCode
from domain.sessions import Session
from domain.user import Ban, TwoFactor, User
from tests.builders import NOW, PASSWORD, email, token, uid

LATER = NOW + timedelta(seconds=1)
"""After everything that is committed at NOW."""
LIFETIME = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Store:
    """A repository, and the outbox that its commits fill.

    Each call of the outbox's `pending` uses the next shard.
    """

    repository: UserRepository
    outbox: Outbox[Outcome]


def shards() -> cycle[int]:
    """Return the outbox's shards in turn."""
    return cycle(range(8))


def outcome(
    command: str,
    user: str | None,
    *events: e.RecordedEvent,
    version: int = 1,
    by_email: bool = False,
    code: RejectionCode | None = None,
) -> Outcome:
    """Create the outcome of a command."""
    return Outcome(
        command_id=uid(command),
        command_type="biome.user.RegisterUser.v1",
        user_id=None if user is None else uid(user),
        by_email=by_email,
        fingerprint=token(f"fingerprint {command}").value,
        status=Status.ACCEPTED if code is None else Status.REJECTED,
        code=code,
        events=events,
        version=version,
        recorded_at=NOW,
        expires_at=NOW + LIFETIME,
        source="/sign-up",
        correlation_id=uid(f"correlation {command}"),
    )


def new_user(name: str, address: str | None = None) -> User:
    """Create a user as after registration."""
    return User(
        user_id=uid(name),
        version=1,
        created_at=NOW,
        updated_at=NOW,
        email=email(address or name),
        first_name="Ada",
        last_name="Lovelace",
        password_hash=PASSWORD.value,
        credential_version=1,
        roles=("customer",),
    )


def registered(name: str, address: str | None = None, command: str | None = None) -> UserChange:
    """Register a user, with the address of the same name unless another is given."""
    user = new_user(name, address)
    assert user.email is not None
    event = e.RecordedEvent.of(e.UserRegistered(user.email.value), 1)
    decided = outcome(command or f"register {name}", name, event)
    return UserChange(uid(name), (decided,), 0, user, claimed=user.email)


def renamed(user: User, first_name: str = "Grace", command: str | None = None) -> UserChange:
    """Change a user's first name."""
    version = user.version + 1
    event = e.RecordedEvent.of(e.ProfileUpdated(("first_name",)), version)
    decided = outcome(command or f"rename {user.user_id} {version}", None, event, version=version)
    return UserChange(
        user.user_id,
        (replace(decided, user_id=user.user_id),),
        user.version,
        replace(user, version=version, first_name=first_name, sessions={}, two_factor=None),
    )


def moved(user: User, address: str) -> UserChange:
    """Replace a user's address."""
    change = renamed(user, command=f"move {user.user_id} to {address}")
    assert change.user is not None
    changed = replace(change.user, email=email(address))
    return replace(change, user=changed, claimed=email(address), released=user.email)


BANNED = BannedAddress("0" * 64, uid("ada"), NOW + timedelta(days=1))
"""The ban of an address whose user was erased."""


def erased(user: User, ban: BannedAddress | None = None) -> UserChange:
    """Erase a user; with `ban`, the ban of the address remains."""
    version = user.version + 1
    event = e.RecordedEvent.of(e.UserErased(), version)
    decided = outcome(f"erase {user.user_id} {version}", None, event, version=version)
    left = None if ban is None else Ban("", ban.until, address_hash=ban.address_hash)
    tombstone = replace(
        user, version=version, email=None, first_name="", last_name="", erased=True, ban=left
    )
    return UserChange(
        user.user_id,
        (replace(decided, user_id=user.user_id),),
        user.version,
        tombstone,
        released=None if ban else user.email,
        held=user.email if ban else None,
        banned=ban,
        scrub=True,
    )


def session(name: str, *, revision: int = 0, used: int = 0) -> Session:
    """Create a session whose refresh token was exchanged `used` times."""
    return Session(
        session_id=uid(f"session {name}"),
        refresh_family_hash=token(f"{name} family").stored,
        refresh_token_hashes=(token(f"{name} {used}").stored[:32],),
        replaced_token_hash=token(f"{name} {used - 1}").stored[:32] if used else None,
        replaced_at=NOW if used else None,
        expires_at=NOW + timedelta(days=30),
        revision=revision,
    )


def two_factor(*, revision: int = 0) -> TwoFactor:
    """Create a second factor of the usual size."""
    codes = tuple(token(f"code {n}").stored for n in range(8))
    return TwoFactor("c2VjcmV0" * 16, codes, revision)


def commit(store: Store, *changes: UserChange) -> CommitReport:
    """Commit at NOW."""
    return store.repository.commit(changes, NOW)


def must_commit(store: Store, *changes: UserChange) -> CommitReport:
    """Commit at NOW; all changes must succeed."""
    report = commit(store, *changes)
    assert not report.conflicts
    assert not report.failures
    return report


def committed(store: Store, name: str) -> User:
    """Register a user and read the stored user."""
    must_commit(store, registered(name))
    user = store.repository.get(uid(name))
    assert user is not None
    return user


def load_user(store: Store, name: str, *sessions: str) -> User:
    """Read a user with second factor and some sessions."""
    request = LoadRequest(
        two_factors={uid(name)},
        sessions={(uid(name), uid(f"session {each}")) for each in sessions},
    )
    return store.repository.load(request).users[uid(name)]


def keys_of(*changes: UserChange) -> set[CommandKey]:
    """Return the keys of the outcomes of changes."""
    return {CommandKey(o.user_id, o.command_id) for change in changes for o in change.outcomes}


def pending(store: Store, limit: int = 10) -> list[OutboxEntry]:
    """Return the pending pointers of all shards."""
    return [entry for _ in range(8) for entry in store.outbox.pending(LATER, limit).entries]


def scrub(outbox: Outbox[Outcome], user_id: str) -> int:
    """Scrub a user from the beginning to the end; return how many outcomes were unreadable."""
    unreadable, after = 0, None
    while True:
        page = outbox.scrub(user_id, after)
        unreadable, after = unreadable + page.unreadable, page.last
        if after is None:
            return unreadable

"""Commit to memory, under DynamoDB's conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from adapters.errors import ItemRefusedError
from adapters.memory.store import MemoryStore, copy_outcome, random_shard
from application.ports import CommandKey, JobKind, OutboxEntry
from application.repository import HELD, CommitReport, Conflict, Outcome, UserChange
from domain.sessions import Session
from domain.values import EmailAddress, render_time

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def commit(store: MemoryStore, changes: Sequence[UserChange], now: datetime) -> CommitReport:
    """Commit changes; see the port. One call is one transaction with one outbox entry."""
    conflicts: dict[int, Conflict] = {}
    failures: dict[int, Exception] = {}
    commands: list[CommandKey] = []
    entries: tuple[OutboxEntry, ...] = ()
    with store.lock:
        for index, change in enumerate(changes):
            if _writes_twice(change):
                failures[index] = ItemRefusedError("memory: a change writes one item twice")
                continue
            conflict = _conflict(store, change)
            if conflict is not None:
                conflicts[index] = conflict
                continue
            _apply(store, change, now)
            commands += _command_keys(change)
        if len(conflicts) + len(failures) < len(changes):
            entries = (_add_entry(store, JobKind.PUBLISH, commands, now),)
    return CommitReport(entries, conflicts, failures)


def _writes_twice(change: UserChange) -> bool:
    """Return True if a change names an item twice, which DynamoDB rejects in a transaction."""
    outcomes = [key for outcome in change.outcomes for key in _keys_of(outcome)]
    sessions = (*change.saved_sessions, *_stored(change.removed_sessions))
    ids = [session.session_id for session in sessions]
    return len({*outcomes}) < len(outcomes) or len({*ids}) < len(ids)


# --- conditions ----------------------------------------------------------------------------


def _conflict(store: MemoryStore, change: UserChange) -> Conflict | None:
    """Return the reason against committing a change; a duplicate comes before all others."""
    if any(key in store.outcomes for o in change.outcomes for key in _keys_of(o)):
        return Conflict.DUPLICATE
    if change.user_id is None:
        return None
    if _stale(store, change.user_id, change):
        return Conflict.STALE
    claimed, released = _moved_addresses(change)
    if claimed is not None and claimed.key in store.addresses:
        return Conflict.ADDRESS_TAKEN
    for given_up in (released, change.held):
        if given_up is not None and store.addresses.get(given_up.key) != change.user_id:
            return Conflict.ADDRESS_TAKEN
    return None


def _stale(store: MemoryStore, user_id: str, change: UserChange) -> bool:
    stored = store.users.get(user_id)
    if change.user is not None and change.read_version != (stored.version if stored else 0):
        return True
    for session in (*change.saved_sessions, *_stored(change.removed_sessions)):
        kept = store.sessions.get((user_id, session.session_id))
        if session.revision != (kept.revision if kept else 0):
            return True
    two_factor = change.saved_two_factor or change.removed_two_factor
    if two_factor is None or (change.saved_two_factor is None and not two_factor.revision):
        return False
    factor = store.two_factors.get(user_id)
    return two_factor.revision != (factor.revision if factor else 0)


def _stored(sessions: Iterable[Session]) -> list[Session]:
    return [session for session in sessions if session.revision]


def _moved_addresses(change: UserChange) -> tuple[EmailAddress | None, EmailAddress | None]:
    claimed, released = change.claimed, change.released
    if claimed is not None and released is not None and claimed.key == released.key:
        return None, None  # another spelling of the same address
    return claimed, released


# --- effects -------------------------------------------------------------------------------


def _apply(store: MemoryStore, change: UserChange, now: datetime) -> None:
    for outcome in change.outcomes:
        _add_outcome(store, outcome)
    if change.user_id is None:
        return
    if change.user is not None:
        ends = {key: _as_ttl(end) for key, end in change.user.live_sessions.items()}
        store.users[change.user_id] = replace(
            change.user, sessions={}, live_sessions=ends, two_factor=None
        )
    _apply_sessions(store, change.user_id, change)
    _apply_two_factor(store, change.user_id, change)
    claimed, released = _moved_addresses(change)
    if released is not None:
        del store.addresses[released.key]
    if claimed is not None:
        store.addresses[claimed.key] = change.user_id
    if change.held is not None:
        store.addresses[change.held.key] = HELD
        store.held[change.held.key] = change.user_id
    if change.banned is not None:
        store.banned[change.banned.address_hash] = change.banned
    if change.unbanned is not None:
        store.banned.pop(change.unbanned, None)
    if change.scrub:
        _add_entry(store, JobKind.SCRUB, _command_keys(change)[-1:], now, change.held)


def _apply_sessions(store: MemoryStore, user_id: str, change: UserChange) -> None:
    for session in change.saved_sessions:
        store.sessions[user_id, session.session_id] = replace(
            session,
            revision=session.revision + 1,
            expires_at=_as_ttl(session.expires_at),
        )
    for session in _stored(change.removed_sessions):
        del store.sessions[user_id, session.session_id]


def _apply_two_factor(store: MemoryStore, user_id: str, change: UserChange) -> None:
    saved = change.saved_two_factor
    if saved is not None:
        store.two_factors[user_id] = replace(saved, revision=saved.revision + 1)
    elif change.removed_two_factor is not None:
        store.two_factors.pop(user_id, None)


def _add_outcome(store: MemoryStore, outcome: Outcome) -> None:
    kept = replace(
        copy_outcome(outcome),
        fingerprint=outcome.lasting_fingerprint,
        expires_at=_as_ttl(outcome.expires_at),
    )
    store.outcomes[CommandKey(outcome.user_id, outcome.command_id)] = kept
    if outcome.by_email and outcome.user_id is not None:
        store.outcomes[CommandKey(None, outcome.command_id)] = kept.reference()


def _as_ttl(time: datetime) -> datetime:
    """Return a time as DynamoDB's TTL stores it: whole seconds, not before 1970."""
    return max(time.replace(microsecond=0), EPOCH)


def _keys_of(outcome: Outcome) -> list[CommandKey]:
    keys = [CommandKey(outcome.user_id, outcome.command_id)]
    if outcome.by_email and outcome.user_id is not None:
        keys.append(CommandKey(None, outcome.command_id))
    return keys


def _command_keys(change: UserChange) -> list[CommandKey]:
    return [CommandKey(outcome.user_id, outcome.command_id) for outcome in change.outcomes]


def _add_entry(
    store: MemoryStore,
    kind: JobKind,
    commands: Sequence[CommandKey],
    now: datetime,
    held: EmailAddress | None = None,
) -> OutboxEntry:
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    entry = OutboxEntry(
        partition=str(random_shard()),
        sort_key=f"{render_time(now)}#{store.serial():012}",
        kind=kind,
        commands=tuple(commands),
        recorded_at=now,
        address=None if held is None else held.key,
    )
    store.entries[entry.partition, entry.sort_key] = entry
    return entry

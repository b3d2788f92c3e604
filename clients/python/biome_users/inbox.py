"""Process each event once, in the order of its user, and detect events that are missing."""

from __future__ import annotations

import json
import sqlite3
from typing import Final, Protocol

from biome_users.event_types import UserErased
from biome_users.events import Event, event_of

REPETITIONS_END: Final = 15 * 86_400.0
"""Seconds. A queue keeps a message for 14 days at most: after that, none is repeated."""


class InboxStore(Protocol):
    """Storage of an inbox, in the database of the service.

    No method commits: the service commits it together with the effects of the events.
    """

    def add_seen(self, event_id: str, now: float) -> bool:
        """Store the id of an event; return False if it is stored already."""
        ...

    def delete_seen(self, before: float) -> None:
        """Delete the ids that were stored before a time, in seconds since the epoch."""

    def position(self, user_id: str) -> int:
        """Return the sequence of the user's last processed event; 0 before the first one."""
        ...

    def set_position(self, user_id: str, sequence: int) -> None:
        """Store the position, and delete waiting events of the user up to it."""

    def add_waiting(self, user_id: str, sequence: int, now: float, event: str) -> None:
        """Store an event, as JSON, that arrived before an earlier one."""

    def waiting(self, user_id: str, sequence: int) -> str | None:
        """Return a waiting event."""
        ...

    def waiting_since(self, before: float) -> list[str]:
        """Return the ids of up to 100 users with an event that waits since before a time."""
        ...


class Inbox:
    """Removes repetitions of events and orders the events of each user.

    Call `take` in the transaction that stores the effects of the events, and delete the message
    from the queue after the commit. Then a crash at any time loses nothing and repeats no effect.

    An inbox needs all events of a user that have a `sequence`. A subscription with a filter by type
    leaves gaps: compare sequences yourself there.
    """

    def __init__(self, store: InboxStore, patience: float = 60.0) -> None:
        """Set the store, and the seconds after which a missing event counts as a gap."""
        self._store = store
        self._patience = patience

    def take(self, event: Event, now: float) -> list[Event]:
        """Return the events that are to be processed now, in order, after one has arrived.

        Args:
            event: the event that arrived.
            now: the time, in seconds since the epoch.
        """
        if not self._store.add_seen(event.id, now):
            return []
        user_id, sequence = event.user_id, event.sequence
        if sequence is None or user_id is None:
            return [event]  # the answer to a command, which has no order
        if sequence <= self._store.position(user_id):
            return []  # an erasure or a state that was read is later
        if isinstance(event.data, UserErased):
            self._store.set_position(user_id, sequence)
            return [event]  # the last event; events before it have no effect any more
        self._store.add_waiting(user_id, sequence, now, event.model_dump_json())
        return self._release(user_id)

    def gaps(self, now: float) -> list[str]:
        """Return the ids of users of whom an event is missing for longer than `patience` seconds.

        Read the user's present state, process it, and call `skip_to` with its version.
        """
        return self._store.waiting_since(now - self._patience)

    def skip_to(self, user_id: str, version: int) -> list[Event]:
        """Treat all events up to a version as processed; return those to be processed now."""
        self._store.set_position(user_id, max(version, self._store.position(user_id)))
        return self._release(user_id)

    def prune(self, now: float) -> None:
        """Delete the ids of events that cannot be repeated any more."""
        self._store.delete_seen(now - REPETITIONS_END)

    def _release(self, user_id: str) -> list[Event]:
        due: list[Event] = []
        following = self._store.position(user_id) + 1
        while (text := self._store.waiting(user_id, following)) is not None:
            self._store.set_position(user_id, following)
            due.append(_load(text))
            following += 1
        return due


def _load(text: str) -> Event:
    """Return an event that was stored by `model_dump_json`."""
    return event_of(json.loads(text))


class SqliteInboxStore:
    """Stores an inbox in SQLite, in tables whose names begin with `inbox_`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use a connection; creates the tables if they do not exist."""
        self._db = db
        db.executescript(
            """
            CREATE TABLE IF NOT EXISTS inbox_seen (event_id TEXT PRIMARY KEY, at REAL)
                WITHOUT ROWID;
            CREATE INDEX IF NOT EXISTS inbox_seen_at ON inbox_seen (at);
            CREATE TABLE IF NOT EXISTS inbox_position
                (user_id TEXT PRIMARY KEY, sequence INTEGER) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS inbox_waiting
                (user_id TEXT, sequence INTEGER, at REAL, event TEXT,
                 PRIMARY KEY (user_id, sequence)) WITHOUT ROWID;
            CREATE INDEX IF NOT EXISTS inbox_waiting_at ON inbox_waiting (at);
            """
        )

    def add_seen(self, event_id: str, now: float) -> bool:
        """Store the id of an event; return False if it is stored already."""
        query = "INSERT OR IGNORE INTO inbox_seen VALUES (?, ?)"
        return self._db.execute(query, (event_id, now)).rowcount == 1

    def delete_seen(self, before: float) -> None:
        """Delete the ids that were stored before a time."""
        self._db.execute("DELETE FROM inbox_seen WHERE at < ?", (before,))

    def position(self, user_id: str) -> int:
        """Return the sequence of the user's last processed event."""
        query = "SELECT sequence FROM inbox_position WHERE user_id = ?"
        found = self._db.execute(query, (user_id,)).fetchone()
        return found[0] if found else 0

    def set_position(self, user_id: str, sequence: int) -> None:
        """Store the position, and delete waiting events of the user up to it."""
        query = "INSERT OR REPLACE INTO inbox_position VALUES (?, ?)"
        self._db.execute(query, (user_id, sequence))
        passed = "DELETE FROM inbox_waiting WHERE user_id = ? AND sequence <= ?"
        self._db.execute(passed, (user_id, sequence))

    def add_waiting(self, user_id: str, sequence: int, now: float, event: str) -> None:
        """Store an event that arrived before an earlier one."""
        query = "INSERT OR IGNORE INTO inbox_waiting VALUES (?, ?, ?, ?)"
        self._db.execute(query, (user_id, sequence, now, event))

    def waiting(self, user_id: str, sequence: int) -> str | None:
        """Return a waiting event."""
        query = "SELECT event FROM inbox_waiting WHERE user_id = ? AND sequence = ?"
        found = self._db.execute(query, (user_id, sequence)).fetchone()
        return found[0] if found else None

    def waiting_since(self, before: float) -> list[str]:
        """Return the ids of up to 100 users with an event that waits since before a time."""
        query = "SELECT DISTINCT user_id FROM inbox_waiting WHERE at <= ? LIMIT 100"
        return [user_id for (user_id,) in self._db.execute(query, (before,))]

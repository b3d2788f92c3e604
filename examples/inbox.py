"""Gives each event once, in the order of its user, and tells where one is missing."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

Event = dict[str, Any]

REPETITIONS_END = 15 * 86_400
"""Seconds. A queue keeps a message for 14 days at most: after that none comes again."""

TABLES = """
CREATE TABLE IF NOT EXISTS seen (event_id TEXT PRIMARY KEY, at REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS seen_at ON seen (at);
CREATE TABLE IF NOT EXISTS position (user_id TEXT PRIMARY KEY, sequence INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS waiting (user_id TEXT, sequence INTEGER, at REAL, event TEXT,
                                    PRIMARY KEY (user_id, sequence)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_at ON waiting (at);
"""


class Inbox:
    """What has come and what is awaited, in a database, so that memory stays small.

    It never commits: call it in the transaction that writes what you make of the events, and
    delete a message from the queue after that. Then a crash at any moment loses nothing and
    does nothing twice.

    It needs all events of a user that have a `sequence`: a subscription that leaves types out
    sees gaps everywhere, and compares sequences instead.
    """

    def __init__(self, db: sqlite3.Connection, patience: float = 60.0) -> None:
        """Wait `patience` seconds for a missing event before it is called a gap."""
        self._db = db
        self._patience = patience
        db.executescript(TABLES)

    def take(self, event: Event, now: float) -> list[Event]:
        """Take an event that came; give those that are to be acted upon now, in order."""
        new = self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (event["id"], now))
        if new.rowcount == 0:
            return []  # a repetition
        if "sequence" not in event:
            return [event]  # an answer to a command (category `command`): of no order
        user_id, sequence = event["subject"], int(event["sequence"])
        if sequence <= self.position(user_id):
            return []  # overtaken by an erasure, or by a state that was read
        if event["type"].startswith("biome.user.UserErased."):
            self._move(user_id, sequence)  # the last one, and what came before is void
            return [event]
        row = (user_id, sequence, now, json.dumps(event))
        self._db.execute("INSERT OR IGNORE INTO waiting VALUES (?, ?, ?, ?)", row)
        return self._release(user_id)

    def gaps(self, now: float) -> list[str]:
        """Give the ids of users of whom an event has been missing for too long.

        Read the user's present state, act upon it, and go on with `skip_to` its version.
        """
        query = "SELECT DISTINCT user_id FROM waiting WHERE at <= ? LIMIT 100"
        return [user_id for (user_id,) in self._db.execute(query, (now - self._patience,))]

    def skip_to(self, user_id: str, version: int) -> list[Event]:
        """Take all events up to a version for done; give those that are to be acted upon now."""
        self._move(user_id, max(version, self.position(user_id)))
        return self._release(user_id)

    def prune(self, now: float) -> None:
        """Forget the ids of events that cannot come again."""
        self._db.execute("DELETE FROM seen WHERE at < ?", (now - REPETITIONS_END,))

    def position(self, user_id: str) -> int:
        """Give the sequence of the user's last event that was given out; 0: none was."""
        query = "SELECT sequence FROM position WHERE user_id = ?"
        found = self._db.execute(query, (user_id,)).fetchone()
        return found[0] if found else 0

    def _move(self, user_id: str, sequence: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO position VALUES (?, ?)", (user_id, sequence))
        passed = "DELETE FROM waiting WHERE user_id = ? AND sequence <= ?"
        self._db.execute(passed, (user_id, sequence))

    def _release(self, user_id: str) -> list[Event]:
        query = "SELECT event FROM waiting WHERE user_id = ? AND sequence = ?"
        due: list[Event] = []
        following = self.position(user_id) + 1
        while found := self._db.execute(query, (user_id, following)).fetchone():
            self._move(user_id, following)
            due.append(json.loads(found[0]))
            following += 1
        return due

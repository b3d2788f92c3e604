"""Build a snapshot from items, even if some of them are invalid."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adapters.dynamodb import mapper, records, table
from adapters.dynamodb.errors import MalformedItemError
from application.ports import Snapshot

if TYPE_CHECKING:
    from adapters.dynamodb.reads import Key
    from adapters.dynamodb.table import Item


@dataclass(slots=True)
class SnapshotReader:
    """Parse item by item, so that an invalid item does not prevent reading the others."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    errors: list[MalformedItemError] = field(default_factory=list)
    """The errors of the items in `snapshot.unreadable`."""

    def read(self, items: Mapping[Key, Item], unread: Collection[Key] = ()) -> None:
        """Add items to the snapshot, and the keys that were not read.

        Sessions and second factors whose user is not among the items are left out.
        """
        self.snapshot.unread.update(map(_concerned, unread))
        for key in _users_first(items):
            try:
                self._add(key, items[key])
            except MalformedItemError as error:
                self.snapshot.unreadable.add(_concerned(key))
                self.errors.append(error)

    def _add(self, key: Key, item: Item) -> None:
        if key.sort == table.USER:
            user = mapper.parse_user(item)
            self.snapshot.users[user.user_id] = user
        elif key.sort == table.EMAIL:
            self.snapshot.addresses[_concerned(key)] = mapper.parse_address(item)
        elif key.sort.startswith(table.COMMAND_PREFIX):
            self.snapshot.outcomes[records.outcome_key_of(item)] = records.parse_outcome(item)
        else:
            self._add_part(key, item)

    def _add_part(self, key: Key, item: Item) -> None:
        user = self.snapshot.users.get(_concerned(key))
        if user is None:
            return
        if key.sort == table.TWO_FACTOR:
            user.two_factor = mapper.parse_two_factor(item)
        else:
            session = mapper.parse_session(item)
            user.sessions[session.session_id] = session


def _users_first(items: Iterable[Key]) -> list[Key]:
    return sorted(items, key=lambda key: key.sort != table.USER)


def _concerned(key: Key) -> str:
    """Return the user id, the address key or the command id that an item is about."""
    return key.partition.partition("#")[2]

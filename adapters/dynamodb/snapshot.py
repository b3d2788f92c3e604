"""Build a snapshot from items, even if some of them are invalid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from adapters.dynamodb import mapper, records, table
from adapters.errors import MalformedItemError
from application.repository import Snapshot

if TYPE_CHECKING:
    from adapters.dynamodb.reads import Key
    from adapters.dynamodb.table import Item


def read_snapshot(
    items: Mapping[Key, Item], unread: Collection[Key] = ()
) -> tuple[Snapshot, list[MalformedItemError]]:
    """Return the snapshot of items and of keys that were not read, and the errors of bad items.

    An invalid item does not prevent reading the others. Sessions and second factors whose user is
    not among the items are left out.
    """
    snapshot, errors = Snapshot(unread=set(map(_concerned, unread))), []
    for key in sorted(items, key=lambda key: key.sort != table.USER):  # users first
        try:
            _add(snapshot, key, items[key])
        except MalformedItemError as error:
            snapshot.unreadable.add(_concerned(key))
            errors.append(error)
    return snapshot, errors


def _add(snapshot: Snapshot, key: Key, item: Item) -> None:
    if key.sort == table.USER:
        user = mapper.parse_user(item)
        snapshot.users[user.user_id] = user
    elif key.sort == table.EMAIL:
        snapshot.addresses[_concerned(key)] = mapper.parse_address(item)
    elif key.sort == table.BANNED:
        snapshot.banned[_concerned(key)] = mapper.parse_banned(item)
    elif key.sort.startswith(table.COMMAND_PREFIX):
        snapshot.outcomes[records.outcome_key_of(item)] = records.parse_outcome(item)
    elif owner := snapshot.users.get(_concerned(key)):
        if key.sort == table.TWO_FACTOR:
            owner.two_factor = mapper.parse_two_factor(item)
        else:
            session = mapper.parse_session(item)
            owner.sessions[session.session_id] = session


def _concerned(key: Key) -> str:
    """Return the user id, address key, hash of an address or command id that an item is about."""
    return key.partition.partition("#")[2]

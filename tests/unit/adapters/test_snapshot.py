"""Snapshots with items that cannot be parsed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adapters.dynamodb import DynamoDBUserRepository, MalformedItemError, mapper, records
from application.ports import CommandKey
from application.repository import LoadRequest
from tests.builders import email, uid
from tests.persistence import new_user, outcome, session, two_factor
from tests.unit.adapters.wire import Wire, answer

BY_ADDRESS = CommandKey(None, uid("by address"))
REQUEST = LoadRequest(
    users={uid("ada"), uid("grace")},
    sessions={(uid("ada"), uid("session phone"))},
    two_factors={uid("ada")},
    addresses={"a#da@example.com", "grace@example.com"},
    outcomes={
        CommandKey(uid("ada"), uid("c")),
        CommandKey(uid("grace"), uid("c")),
        BY_ADDRESS,
    },
)


def stored() -> dict[str, Any]:
    """Return the items of Ada, of Grace, and of a command without a user, by name."""
    alone = replace(outcome("by address", None), by_email=True)
    return {
        "user": mapper.render_user(new_user("ada")),
        "session": mapper.render_session(uid("ada"), session("phone")),
        "two factor": mapper.render_two_factor(uid("ada"), two_factor()),
        "address": mapper.render_address(email("a#da"), uid("ada")),
        "outcome": records.render_outcome(outcome("c", "ada")),
        "reference": records.render_outcome(alone),
        "grace": mapper.render_user(new_user("grace")),
        "grace's address": mapper.render_address(email("grace"), uid("grace")),
        "grace's outcome": records.render_outcome(outcome("c", "grace")),
    }


def _of_a_later_format(item: Any) -> None:
    item["schema"] = {"N": "3"}


def _without_format(item: Any) -> None:
    del item["schema"]


def _empty(item: Any) -> None:
    for name in set(item) - {"pk", "sk", "schema"}:
        del item[name]


DAMAGES: list[Callable[[Any], None]] = [_of_a_later_format, _without_format, _empty]
CONCERNED = {
    "user": uid("ada"),
    "session": uid("ada"),
    "two factor": uid("ada"),
    "address": "a#da@example.com",
    "outcome": uid("ada"),
    "reference": BY_ADDRESS.command_id,
}


def repository(items: dict[str, Any]) -> DynamoDBUserRepository:
    """Create a repository on a table with some items."""
    wire = Wire(rest=lambda: answer({"Responses": {"users": list(items.values())}}))
    return DynamoDBUserRepository(wire.client, "users")


def test_of_whole_items_nothing_is_unreadable() -> None:
    """All are found; the tests below only damage one of them."""
    snapshot = repository(stored()).load(REQUEST)
    assert snapshot.unreadable == set()
    assert snapshot.users.keys() == REQUEST.users
    assert snapshot.users[uid("ada")].sessions.keys() == {uid("session phone")}
    assert snapshot.users[uid("ada")].two_factor == two_factor()
    assert snapshot.addresses.keys() == REQUEST.addresses
    assert snapshot.outcomes.keys() == REQUEST.outcomes


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", CONCERNED)
def test_an_item_that_cannot_be_read_concerns_its_own_user_only(
    kind: str, damage: Callable[[Any], None]
) -> None:
    """The snapshot names its user, and has all other items."""
    items = stored()
    damage(items[kind])
    snapshot = repository(items).load(REQUEST)
    assert snapshot.unreadable == {CONCERNED[kind]}
    assert snapshot.users[uid("grace")] == new_user("grace")
    assert snapshot.addresses["grace@example.com"] == uid("grace")
    assert CommandKey(uid("grace"), uid("c")) in snapshot.outcomes
    assert (uid("ada") in snapshot.users) == (kind != "user")


READS: dict[str, Callable[[DynamoDBUserRepository], object]] = {
    "user": lambda users: users.get_many([uid("grace"), uid("ada")]),
    "address": lambda users: users.get_by_email(email("a#da")),
    "reference": lambda users: users.outcome(BY_ADDRESS),
}


@pytest.mark.parametrize("kind", READS)
def test_reading_one_unreadable_item_raises(kind: str) -> None:
    """A missing user, owner or outcome would be a wrong answer."""
    items = stored()
    _of_a_later_format(items[kind])
    with pytest.raises(MalformedItemError, match="later format"):
        READS[kind](repository({kind: items[kind]}))

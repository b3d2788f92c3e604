"""The inbox with its SQLite store: each event once, in order, and no gap unnoticed."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biome_users import Event, Inbox, SqliteInboxStore, UnknownEvent
from biome_users.event_types import CommandRejected
from biome_users.events import event_of
from biome_users.testing import sample_event

PATIENCE = 60.0


def event(user: str, sequence: int, name: str = "ProfileUpdated") -> Event:
    """Create an event of a user, with one id for each position in the history."""
    data = {"changed": ["first_name"]} if name == "ProfileUpdated" else {}
    return event_of(
        {
            "id": f"{user} {sequence}",
            "user_id": user,
            "sequence": f"{sequence:020d}",
            "type": f"biome.user.{name}.v1",
            "time": "2026-11-30T09:00:00Z",
            "command_id": f"command {user} {sequence}",
            "data": data,
            "afterwards": "added",
        }
    )


HISTORY = [
    event(user, n) for user, length in (("a", 5), ("b", 3), ("c", 1)) for n in range(1, length + 1)
]


class Machine:
    """An inbox on a database in memory, what it has given out, and the clock."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:")
        self.now = 1000.0
        self.given: dict[str, list[int]] = defaultdict(list)
        self.restart()

    def restart(self) -> None:
        """Create the inbox again from the content of the database."""
        self.inbox = Inbox(SqliteInboxStore(self.db), PATIENCE)

    def take(self, one: Event, *, crash: bool = False) -> None:
        """Handle an event and commit; or crash before the commit."""
        due = self.inbox.take(one, self.now)
        if crash:
            self.db.rollback()
            return
        self.db.commit()
        self.note(due)

    def note(self, due: list[Event]) -> None:
        """Act upon events."""
        for each in due:
            assert each.user_id is not None
            assert each.sequence is not None
            self.given[each.user_id].append(each.sequence)

    def rows(self, table: str) -> int:
        """Count what a table holds."""
        (count,) = self.db.execute(f"SELECT count(*) FROM inbox_{table}").fetchone()
        assert isinstance(count, int)
        return count


@pytest.fixture
def machine() -> Any:
    """An empty inbox."""
    made = Machine()
    yield made
    made.db.close()


arrivals = st.lists(st.sampled_from(HISTORY), max_size=12).flatmap(
    lambda repeated: st.permutations(HISTORY + repeated)
)


@settings(max_examples=50)
@given(arrivals, st.lists(st.sampled_from(["", "crash", "restart"]), min_size=21, max_size=21))
def test_any_order_with_repetitions_and_crashes_gives_the_history_once_in_order(
    arrived: list[Event], accidents: list[str]
) -> None:
    """After a crash the queue delivers the event again, because it was not deleted."""
    machine = Machine()
    for one, accident in zip(arrived, accidents, strict=False):
        if accident == "restart":
            machine.restart()
        if accident == "crash":
            machine.take(one, crash=True)
        machine.take(one)
    assert machine.given == {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3], "c": [1]}
    assert machine.rows("waiting") == 0
    assert machine.inbox.gaps(machine.now + PATIENCE) == []
    machine.db.close()


@settings(max_examples=50)
@given(arrivals, st.sets(st.integers(0, len(HISTORY) - 1)))
def test_whatever_is_missing_is_a_gap_and_nothing_is_given_past_it(
    arrived: list[Event], missing: set[int]
) -> None:
    """Each user gets the longest sequence without a gap; later events report a gap."""
    lost = {HISTORY[place].id for place in missing}
    machine = Machine()
    for one in arrived:
        if one.id not in lost:
            machine.take(one)
    waiting = []
    for user, length in (("a", 5), ("b", 3), ("c", 1)):
        came = [n for n in range(1, length + 1) if f"{user} {n}" not in lost]
        beginning = [n for n in came if came[:n] == list(range(1, n + 1))]
        assert machine.given[user] == beginning
        if len(came) > len(beginning):
            waiting.append(user)
    assert machine.inbox.gaps(machine.now) == []
    assert sorted(machine.inbox.gaps(machine.now + PATIENCE)) == waiting
    machine.db.close()


def test_after_a_gap_it_goes_on_from_the_state_that_was_read(machine: Machine) -> None:
    """Events up to that state are skipped, and those after it are passed on."""
    for n in (1, 3, 4, 7):
        machine.take(event("a", n))
    with machine.db:
        machine.note(machine.inbox.skip_to("a", 6))
    assert machine.given["a"] == [1, 7]
    machine.take(event("a", 2))
    machine.take(event("a", 8))
    assert machine.given["a"] == [1, 7, 8]
    assert machine.rows("waiting") == 0


def test_an_older_state_takes_nothing_back(machine: Machine) -> None:
    """The position only grows."""
    machine.take(event("a", 1))
    machine.take(event("a", 2))
    machine.inbox.skip_to("a", 1)
    assert SqliteInboxStore(machine.db).position("a") == 2


@settings(max_examples=50)
@given(st.permutations([*HISTORY[:4], event("a", 5, "UserErased")]))
def test_an_erasure_counts_at_once_and_nothing_comes_after_it(
    arrived: list[Event],
) -> None:
    """This holds whatever it overtook; no event of the erased user stays stored."""
    machine = Machine()
    for one in arrived:
        machine.take(one)
    assert machine.given["a"][-1] == 5
    assert machine.given["a"][:-1] == list(range(1, len(machine.given["a"])))
    assert machine.rows("waiting") == 0
    machine.db.close()


def test_an_answer_to_a_command_is_given_once_and_at_once(machine: Machine) -> None:
    """It has no sequence, and may have no subject."""
    answer = sample_event(CommandRejected).model_copy(update={"sequence": None, "user_id": None})
    assert machine.inbox.take(answer, machine.now) == [answer]
    assert machine.inbox.take(answer, machine.now) == []


def test_unknown_types_and_fields_are_passed_on(machine: Machine) -> None:
    """They have their place in the order."""
    tomorrow = event("a", 1, "UserTeleported")
    (taken,) = machine.inbox.take(tomorrow, machine.now)
    assert isinstance(taken.data, UnknownEvent)
    assert taken == tomorrow
    machine.take(event("a", 2))
    assert machine.given["a"] == [2]


# --- bounds ----------------------------------------------------------------------------------


def test_ids_are_forgotten_when_they_cannot_come_again(machine: Machine) -> None:
    """Not earlier, because a queue keeps its messages for 14 days."""
    machine.take(event("a", 1))
    machine.inbox.prune(machine.now + 14 * 86_400)
    assert machine.rows("seen") == 1
    machine.inbox.prune(machine.now + 16 * 86_400)
    assert machine.rows("seen") == 0
    machine.take(event("a", 1))
    assert machine.given["a"] == [1]

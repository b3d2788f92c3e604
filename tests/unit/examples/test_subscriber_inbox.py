"""The inbox of the subscriber example: each event once, in order, and no gap unnoticed."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import sqlite3
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = Path(__file__).parents[3] / "examples"
PATIENCE = 60.0


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("inbox", EXAMPLES / "inbox.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULE = _load()


def event(user: str, sequence: int, name: str = "ProfileUpdated") -> dict[str, Any]:
    """Create an event of a user, with one id for each position in the history."""
    return {
        "id": f"{user} {sequence}",
        "subject": user,
        "sequence": f"{sequence:020d}",
        "type": f"biome.user.{name}.v1",
        "data": {},
        "afterwards": "added",
    }


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
        self.inbox = MODULE.Inbox(self.db, PATIENCE)

    def take(self, one: dict[str, Any], *, crash: bool = False) -> None:
        """Handle an event and commit; or crash before the commit."""
        due = self.inbox.take(one, self.now)
        if crash:
            self.db.rollback()
            return
        self.db.commit()
        self.note(due)

    def note(self, due: list[dict[str, Any]]) -> None:
        """Act upon events."""
        for each in due:
            self.given[each["subject"]].append(int(each["sequence"]))

    def rows(self, table: str) -> int:
        """Count what a table holds."""
        (count,) = self.db.execute(f"SELECT count(*) FROM {table}").fetchone()
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
    arrived: list[dict[str, Any]], accidents: list[str]
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
    arrived: list[dict[str, Any]], missing: set[int]
) -> None:
    """Each user gets the longest sequence without a gap; later events report a gap."""
    lost = {HISTORY[place]["id"] for place in missing}
    machine = Machine()
    for one in arrived:
        if one["id"] not in lost:
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
    assert machine.inbox.position("a") == 2


@settings(max_examples=50)
@given(st.permutations([*HISTORY[:4], event("a", 5, "UserErased")]))
def test_an_erasure_counts_at_once_and_nothing_comes_after_it(
    arrived: list[dict[str, Any]],
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
    answer = {"id": "x", "type": "biome.user.CommandRejected.v1", "data": {}}
    assert machine.inbox.take(answer, machine.now) == [answer]
    assert machine.inbox.take(answer, machine.now) == []


def test_unknown_types_and_fields_are_passed_on(machine: Machine) -> None:
    """They have their place in the order."""
    tomorrow = event("a", 1, "UserTeleported")
    assert machine.inbox.take(tomorrow, machine.now) == [tomorrow]
    machine.take(event("a", 2))
    assert machine.given["a"] == [2]


@pytest.mark.parametrize(
    "malformed",
    [
        {},
        {"id": "x", "sequence": "1", "type": "t"},
        {"id": "x", "subject": "a", "sequence": "one", "type": "t"},
        {"id": "x", "subject": "a", "sequence": None, "type": "t"},
        {"id": "x", "subject": "a", "sequence": "1"},
        {"id": [], "subject": "a", "sequence": "1", "type": "t"},
        [],
        "text",
        None,
    ],
)
def test_an_invalid_event_raises_and_stores_nothing(machine: Machine, malformed: Any) -> None:
    """The message stays in its queue, and is not known when it comes again."""
    with (
        pytest.raises((KeyError, TypeError, ValueError, sqlite3.ProgrammingError)),
        machine.db,
    ):
        machine.inbox.take(malformed, machine.now)
    assert [machine.rows(table) for table in ("seen", "waiting", "position")] == [0, 0, 0]


# --- the same in Node ------------------------------------------------------------------------

NODE = """
import { createInterface } from "node:readline";
const { Inbox } = await import(process.argv[1]);
const PATIENCE = 60;
for await (const line of createInterface({ input: process.stdin })) {
  let inbox = new Inbox(PATIENCE);
  const given = {};
  const note = ({ subject, sequence }) => (given[subject] ??= []).push(Number(sequence));
  for (const event of JSON.parse(line)) {
    const saved = JSON.stringify(inbox.state());
    if (event === "restart") inbox = new Inbox(PATIENCE, JSON.parse(saved));
    else if (event?.skip) inbox.skipTo(event.skip, event.to).forEach(note);
    else {
      try {
        inbox.take(event, 0).forEach(note);
      } catch (error) {
        const unchanged = saved === JSON.stringify(inbox.state());
        (given.errors ??= []).push(error.name + (unchanged ? "" : " changed"));
      }
    }
  }
  const gaps = [inbox.gaps(PATIENCE - 1), inbox.gaps(PATIENCE).sort()];
  console.log(JSON.stringify({ given, gaps, waiting: inbox.state().waiting.length }));
}
"""


def in_node(*scenes: list[Any]) -> list[dict[str, Any]]:
    """Play scenes in one Node process: events, restarts, skips; give what came of each."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    done = subprocess.run(
        ["node", "--input-type=module", "-e", NODE, str(EXAMPLES / "node" / "inbox.mjs")],
        input="\n".join(json.dumps(scene) for scene in scenes),
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_in_node_any_order_with_repetitions_and_restarts_gives_the_history_once() -> None:
    """As in Python, with 300 arrivals shuffled by one seed."""
    chance = random.Random(5)
    scenes = []
    for _ in range(300):
        scene: list[Any] = [*HISTORY, *chance.choices(HISTORY, k=8), "restart", "restart"]
        chance.shuffle(scene)
        scenes.append(scene)
    expected = {"given": {"a": [1, 2, 3, 4, 5], "b": [1, 2, 3], "c": [1]}, "waiting": 0}
    for came in in_node(*scenes):
        assert came == {**expected, "gaps": [[], []]}


def test_in_node_gaps_erasures_and_malformed_events_are_as_in_python() -> None:
    """One scene for each."""
    gap = [event("a", n) for n in (1, 3, 4, 7)]
    erased = [event("a", 1), event("a", 3), event("a", 4, "UserErased"), event("a", 2)]
    malformed: list[Any] = [{}, [], "text", 1, None, {**event("a", 1), "sequence": "one"}]
    malformed += [{**event("a", 1), "data": None}, {**event("a", 1), "subject": 1}]
    answer = {"id": "x", "type": "t", "subject": "z", "data": {}}
    seen = in_node(
        gap, [*gap, {"skip": "a", "to": 6}, event("a", 2)], erased, [*malformed, answer, answer]
    )
    assert seen[0] == {"given": {"a": [1]}, "gaps": [[], ["a"]], "waiting": 3}
    assert seen[1] == {"given": {"a": [1, 7]}, "gaps": [[], []], "waiting": 0}
    assert seen[2] == {"given": {"a": [1, 4]}, "gaps": [[], []], "waiting": 0}
    assert seen[3]["given"] == {"errors": ["TypeError"] * len(malformed), "z": [None]}


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

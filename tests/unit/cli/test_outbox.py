"""`user-worker outbox`, on a store in memory and a topic that can refuse events."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from application.outbox import OutboxPage, OutboxPosition
from application.ports import CommandKey, EventMessage, JobKind, OutboxEntry, PublishFailure
from application.relay import MAX_ATTEMPTS
from cli import composition
from cli.app import run
from cli.commands import outbox as outbox_command
from tests.builders import uid
from tests.persistence import Store, must_commit, registered
from tests.unit.operations.recorded_progress import RecordedProgress
from worker.errors import ExitCode
from worker.settings import Settings


class Topic(MemoryEventPublisher):
    """A topic that can refuse events."""

    refusal: PublishFailure | None = None
    refused: Collection[str] = ()
    """User ids, if only their events are refused."""

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Refuse all events, or some, if `refusal` is set."""
        refused = [m for m in messages if self.refusal and m.user_id in (self.refused or m.user_id)]
        super().publish([message for message in messages if message not in refused])
        return {m.event_id: self.refusal for m in refused if self.refusal}


class Damaged(MemoryOutbox):
    """An outbox with one entry that cannot be read."""

    def pages(self) -> Iterator[OutboxPage]:
        """Add the entry to the pages."""
        yield from super().pages()
        yield OutboxPage((), (OutboxPosition("OUTBOX#3", "2026-11-22T10:00:00.000Z#odd"),))


class World:
    """Environment of the command line."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Start with an empty store."""
        self._capsys = capsys
        self.kept = MemoryStore()
        self.outbox: MemoryOutbox = MemoryOutbox(self.kept)
        self.publisher = Topic()
        self.settings = Settings()

    def left_behind(self, name: str, age: float = 3_600.0) -> str:
        """Commit a registration with unpublished events; return the entry's id."""
        store = Store(MemoryUserRepository(self.kept), self.outbox)
        (entry,) = must_commit(store, registered(name)).entries
        del self.kept.entries[entry.partition, entry.sort_key]
        recorded_at = datetime.now(UTC) - timedelta(seconds=age)
        moved = replace(entry, recorded_at=recorded_at, sort_key=f"{recorded_at}#{uid(name)}")
        self.kept.entries[moved.partition, moved.sort_key] = moved
        return uid(name)

    def erased(self, name: str, *, final: bool = False, due_in: float = -3_600.0) -> str:
        """Leave a scrub job behind; return the entry's id."""
        due = datetime.now(UTC) + timedelta(seconds=due_in)
        key = ("3", f"{due}#{uid(name)}")
        commands = (CommandKey(uid(name), uid("erase")),)
        self.kept.entries[key] = OutboxEntry(*key, JobKind.SCRUB, commands, due, final=final)
        return uid(name)

    def park(self, name: str, reason: str = "the topic rejects an event: too large") -> None:
        """Park an entry."""
        (entry,) = [e for e in self.kept.entries.values() if e.sort_key.endswith(name)]
        self.outbox.park(entry, reason)

    def entries(self) -> list[OutboxEntry]:
        """Return the entries of the outbox."""
        return [*self.kept.entries.values()]

    def published(self) -> list[str]:
        """Return the user ids of the published events."""
        return [message.user_id for message in self.publisher.published]

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run `user-worker outbox`; return exit code, standard output and standard error."""
        self._capsys.readouterr()
        code = run(["outbox", *words])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture
def world(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    """A world for this test only."""
    made = World(capsys)
    monkeypatch.setattr(composition, "aws", lambda: made)
    return made


def rows(out: str) -> list[dict[str, Any]]:
    """Parse JSON lines."""
    return [json.loads(line) for line in out.splitlines()]


def test_entries_are_listed_with_age_kind_users_and_why_they_are_parked(world: World) -> None:
    """Parked entries come last; nothing changes."""
    world.left_behind("ada")
    world.park(world.left_behind("grace", 7_200))
    before = world.entries()
    code, out, _ = world.run("list", "--json")
    assert code == ExitCode.OK
    first, last = rows(out)
    assert (first["id"], first["kind"], first["user_ids"]) == (uid("ada"), "publish", [uid("ada")])
    assert 3_600 <= first["age_seconds"] < 3_700
    assert (last["shard"], last["parked_because"]) == (
        "parked",
        "the topic rejects an event: too large",
    )
    shown = world.run("list")[1]
    assert uid("grace") in shown
    assert "2h" in shown
    assert world.entries() == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--user", uid("ada")], ["ada"]),
        (["--user", uid("nobody")], []),
        (["--parked"], ["grace"]),
        (["--limit", "1"], ["ada"]),
    ],
)
def test_entries_are_listed_by_user_and_place(
    world: World, words: list[str], expected: list[str]
) -> None:
    """No more entries than requested are listed."""
    world.left_behind("ada")
    world.park(world.left_behind("grace"))
    code, out, err = world.run("list", "--json", *words)
    assert (code, [row["id"] for row in rows(out)]) == (ExitCode.OK, [uid(n) for n in expected])
    assert ("there are more" in err) is ("--limit" in words)


def test_what_cannot_be_read_is_listed_all_the_same(world: World) -> None:
    """It is listed by its position; publishing leaves it."""
    world.outbox = Damaged(world.kept)
    code, out, _ = world.run("list", "--json")
    assert (code, rows(out)[0]["kind"], rows(out)[0]["id"]) == (ExitCode.OK, "unreadable", "odd")
    assert world.run("list")[0] == ExitCode.OK
    assert rows(world.run("publish", "--json")[1])[0]["done"] == 0


def test_no_id_is_taken_for_another_thing(world: World) -> None:
    """A mistyped id and an unknown id are both reported."""
    world.left_behind("ada")
    assert world.run("list", "--user", "ada")[0] == ExitCode.USAGE
    assert world.run("publish", uid("grace"))[0] == ExitCode.NEGATIVE
    assert len(world.entries()) == 1


def test_publishing_does_what_the_relay_would_and_no_more(world: World) -> None:
    """A recent entry may be in progress; a parked entry is published only on request."""
    world.left_behind("ada")
    world.left_behind("young", 1)
    world.park(world.left_behind("grace"))
    code, out, _ = world.run("publish", "--json")
    assert (code, rows(out)) == (
        ExitCode.OK,
        [{"done": 1, "parked": 0, "left": 0, "unreadable": 0, "for_workers": 0}],
    )
    assert world.published() == [uid("ada")]
    assert world.run("publish", "--now")[0] == ExitCode.OK
    assert world.published() == [uid("ada"), uid("young")]
    assert [entry.parked_because is None for entry in world.entries()] == [False]


@pytest.mark.parametrize("words", [["--parked"], [uid("grace")]])
def test_what_is_parked_is_published_when_the_cause_is_mended(
    world: World, words: list[str]
) -> None:
    """All parked entries, or one by its id."""
    world.park(world.left_behind("grace"))
    assert world.run("publish", *words)[0] == ExitCode.OK
    assert (world.published(), world.entries()) == ([uid("grace")], [])


def test_what_is_refused_again_is_parked_again_with_the_new_reason(world: World) -> None:
    """The exit code is 1; nothing leaves the outbox unpublished."""
    world.park(world.left_behind("grace"))
    world.publisher.refusal = PublishFailure("InvalidParameter", permanent=True)
    code, _, err = world.run("publish", "--parked")
    assert code == ExitCode.NEGATIVE
    assert "not all entries could be published" in err
    (entry,) = world.entries()
    assert entry.parked_because == "the topic rejects an event: InvalidParameter"


def test_if_the_topic_is_unavailable_all_events_stay_in_the_outbox(world: World) -> None:
    """The exit code is 3; parked entries are in a shard now, and so not lost either."""
    for n in range(6):
        world.left_behind(f"user{n}")
    world.park(world.left_behind("grace"))
    world.publisher.refusal = PublishFailure("Unavailable", permanent=False)
    code, out, err = world.run("publish", "--parked", "--json")
    assert code == ExitCode.ENVIRONMENT
    assert rows(out) == [{"done": 0, "parked": 0, "left": 7, "unreadable": 0, "for_workers": 0}]
    assert "7 entries could not be published" in err
    assert len(world.entries()) == 7
    world.publisher.refusal = None
    assert world.run("publish", "--parked")[0] == ExitCode.OK
    assert len(world.published()) == 7
    assert world.entries() == []


def test_refused_entries_hold_up_no_others_and_are_counted(world: World) -> None:
    """As with the relay: one attempt per run, and parked with the reason after the last one."""
    bad = {world.left_behind(f"bad{n}", 7_200) for n in range(22)}
    for n in range(60):
        world.left_behind(f"good{n}")
    world.publisher.refusal = PublishFailure("InternalError", permanent=False, answered=True)
    world.publisher.refused = bad
    code, out, _ = world.run("publish", "--json")
    assert code == ExitCode.ENVIRONMENT
    assert rows(out) == [{"done": 60, "parked": 0, "left": 22, "unreadable": 0, "for_workers": 0}]
    assert {entry.attempts for entry in world.entries()} == {1}
    assert "failed 1 time" in world.run("list")[1]
    for _ in range(MAX_ATTEMPTS - 1):
        code, out, _ = world.run("publish", "--json")
    assert (code, rows(out)[0]["parked"]) == (ExitCode.NEGATIVE, 22)
    assert all("InternalError" in str(entry.parked_because) for entry in world.entries())


@pytest.mark.parametrize("final", [False, True])
def test_scrub_jobs_are_left_to_the_workers(world: World, final: bool) -> None:
    """An operator may not write items of users. Named, or all that are due."""
    world.left_behind("ada")
    job = world.erased("ada", final=final)
    for words in (["publish"], ["publish", job]):
        code, out, _ = world.run(*words, "--json")
        assert (code, rows(out)[0]["for_workers"]) == (ExitCode.OK, 1)
    assert world.published() == [uid("ada")]
    [entry] = world.entries()
    assert (entry.kind, entry.attempts) == (JobKind.SCRUB, 0)
    assert all(outcome.fingerprint for outcome in world.kept.outcomes.values())
    assert "1 for workers" in world.run("publish")[1]


def test_a_parked_scrub_job_is_put_back_for_the_workers(world: World) -> None:
    """The relay of a worker finds it in its shard."""
    world.park(world.erased("ada"), "an unforeseen error")
    code, out, _ = world.run("publish", "--parked", "--json")
    assert (code, rows(out)[0]["for_workers"]) == (ExitCode.OK, 1)
    [entry] = world.entries()
    assert entry.parked_because is None


def test_a_final_scrub_that_is_not_due_is_listed_with_its_time(world: World) -> None:
    """It is neither due nor for the workers yet."""
    world.erased("ada", final=True, due_in=900.0)
    assert world.run("publish", "--now")[:2] == (ExitCode.OK, "nothing to publish\n")
    # ages have one decimal: within a twentieth of a second it is due in 15 minutes
    assert re.search(r"in 1[45]m  final scrub of 1", world.run("list")[1])


def test_an_entry_whose_outcome_is_missing_is_not_deleted(world: World) -> None:
    """There is nothing to publish, and a person has to know."""
    name = world.left_behind("ada")
    world.kept.outcomes.clear()
    assert world.run("publish", name)[0] == ExitCode.NEGATIVE
    (entry,) = world.entries()
    assert entry.parked_because == "1 of its outcomes is missing"


def test_a_given_entry_that_is_not_found_is_reported(world: World) -> None:
    """The others are published; the exit code and a message report the mistyped id."""
    entry = world.left_behind("ada")
    code, out, err = world.run("publish", entry, "mistyped", "--json")
    assert (code, rows(out)[0]["done"]) == (ExitCode.NEGATIVE, 1)
    assert "1 of the given ids is not in the outbox" in err
    code, out, err = world.run("publish", entry)
    assert (code, out) == (ExitCode.NEGATIVE, "")
    assert "1 of the given ids" in err


def test_a_given_entry_that_cannot_be_read_is_a_failure(world: World) -> None:
    """`list` shows it, so it exists; a newer worker may read it."""
    world.outbox = Damaged(world.kept)
    code, out, err = world.run("publish", "odd", "--json")
    assert (code, rows(out)[0]["unreadable"]) == (ExitCode.NEGATIVE, 1)
    assert "not all entries could be published" in err
    assert world.run("publish")[0] == ExitCode.OK


def test_nothing_to_publish_is_reported(world: World) -> None:
    """It is not a failure."""
    assert world.run("publish")[:2] == (ExitCode.OK, "nothing to publish\n")
    assert world.run("list")[:2] == (ExitCode.OK, "no entries found\n")


def test_progress_moves_with_each_batch_of_entries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar ends at the number of entries."""
    progress = RecordedProgress()
    monkeypatch.setattr(outbox_command, "TerminalProgress", lambda: progress)
    for number in range(250):
        world.left_behind(f"user{number}")
    assert world.run("publish")[0] == ExitCode.OK
    assert progress.done == progress.totals == {"publishing": 250}
    assert len(progress.steps["publishing"]) >= 3

"""A migration always ends with the same table, and loses no worker's write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from adapters.dynamodb import mapper, records
from domain.user import Ban
from operations.migration.counts import Counts
from operations.migration.kinds import KINDS, target
from operations.migration.metered import MeteredTable
from operations.migration.pages import PageMigration
from operations.migration.scan import Migration, Progress
from operations.migration.throughput import Bucket
from tests.builders import email, uid
from tests.persistence import BANNED, new_user, outcome
from tests.reliability.in_process_dynamodb import ANSWERED, InProcessDynamoDB
from tests.reliability.wire import Fault, Wire, applicable, at
from tests.unit.operations.migrate_world import (
    EXPANDED,
    NEXT,
    MigratedDynamoDB,
    address_item,
    change,
    check,
    damaged_items,
    migrate,
    migrate_over,
    old_table,
    put,
    stored_user,
)

DAMAGED = damaged_items()
SPOILT = {(item["pk"]["S"], item["sk"]["S"]) for item in DAMAGED}
TAKEN = frozenset({uid("alan")})


def test_everything_old_is_brought_up_and_the_rest_is_left() -> None:
    """Formats, the index and addresses are migrated.

    Problems that a person must solve are reported, without personal data.
    """
    database = old_table()
    counts = migrate(database)
    check(database, DAMAGED, TAKEN)
    parts = {key: n for key, n in counts.found.items() if key[0] != "address"}
    assert parts == {
        ("user", 1): 4,
        ("session", 2): 1,
        ("two factor", 1): 1,
        ("outcome", 2): 1,
        ("outbox pointer", 1): 1,
    }
    assert (counts.changed, counts.indexed, counts.conflicts, counts.gone) == (5, 1, 0, 0)
    assert (counts.reserved, counts.released) == (2, 3)
    assert (counts.bad, counts.taken) == (4, 1)
    told = {(f.kind, f.attribute, f.rule) for f in counts.findings}
    assert told == {
        ("user", "schema", "is missing"),
        ("session", "schema", "is of a later format than 3"),
        ("session", "schema", "is 2, but the item lacks an attribute that its upcast needs"),
        ("unknown", "pk, sk", "are not a key that the worker writes"),
        ("user", "email", "is also the address of another user"),
    }
    assert not any("@" in finding.key for finding in counts.findings)
    assert f"USER#{uid('alan')}/USER" in {finding.key for finding in counts.findings}


def test_a_second_migration_changes_nothing() -> None:
    """A migration is idempotent."""
    database = old_table()
    migrate(database)
    before = deepcopy(database.items)
    counts = migrate(database)
    assert database.items == before
    assert (counts.changed, counts.reserved, counts.released) == (0, 0, 0)


def test_a_dry_run_counts_what_a_run_would_do_and_writes_nothing() -> None:
    """The figures can be checked before the migration."""
    database = old_table()
    before = deepcopy(database.items)
    dry = migrate(database, dry_run=True)
    assert database.items == before
    counts = migrate(database)
    names = ("changed", "indexed", "reserved", "released", "taken", "bad")
    assert [getattr(dry, n) for n in names] == [getattr(counts, n) for n in names]


@pytest.mark.parametrize("segments", [1, 3, 8])
def test_the_number_of_segments_changes_nothing(segments: int) -> None:
    """Each item is in one segment."""
    database, other = old_table(), old_table()
    migrate(database, segments=segments)
    migrate(other)
    assert database.items == other.items


# --- interruptions -------------------------------------------------------------------------


def run(faults: dict[int, Fault]) -> Wire:
    """Migrate with faults at calls of these numbers, and check the result."""
    database, wire = old_table(), Wire(at(faults))
    try:
        migrate_over(wire, database)
        check(database, DAMAGED, TAKEN)
        assert database.items == PEACE.items
    except AssertionError as error:
        error.add_note(f"run({faults}):\n{wire}")
        raise
    return wire


PEACE = old_table()
migrate(PEACE)


def test_whatever_becomes_of_any_call_it_ends_the_same() -> None:
    """Crashes before and after, refusals, lost and late answers, repeated and partial calls."""
    for number, (operation, _) in enumerate(run({}).calls):
        for fault in Fault:
            if fault in applicable(operation):
                run({number: fault})


def test_a_second_crash_anywhere_later_changes_nothing() -> None:
    """The second run crashes too."""
    for number in range(len(run({}).calls)):
        crashed = {number: Fault.CRASH_AFTER}
        for later in range(number + 1, len(run(crashed).calls)):
            run({**crashed, later: Fault.CRASH_BEFORE})


# --- workers at the same time --------------------------------------------------------------


def erase(database: InProcessDynamoDB, name: str) -> None:
    """Leave a tombstone, release the address, delete sessions, scrub the outcome."""
    change(database, name, number=2, email=None, first_name="", last_name="", erased=True)
    for key in list(database.items):
        if key[0] == f"USER#{uid(name)}" and key[1].startswith("SESSION#"):
            del database.items[key]
        elif key[0] == f"USER#{uid(name)}" and key[1].startswith("COMMAND#"):
            database.items[key] = {**database.items[key], "fingerprint": {"S": ""}}


WORK: dict[str, tuple[Callable[[InProcessDynamoDB], Any], Callable[[InProcessDynamoDB], bool]]] = {
    "an old worker renames ada": (
        lambda db: change(db, "ada", first_name="Augusta"),
        lambda db: getattr(stored_user(db, "ada"), "first_name", None) == "Augusta",
    ),
    "a new worker renames ada": (
        lambda db: change(db, "ada", number=2, first_name="Augusta"),
        lambda db: getattr(stored_user(db, "ada"), "first_name", None) == "Augusta",
    ),
    "grace moves back": (  # to an address that is about to be released
        lambda db: change(db, "grace", number=2, email=email("grace-before")),
        lambda db: getattr(stored_user(db, "grace"), "email", None) == email("grace-before"),
    ),
    "grace moves": (  # from an address that is about to be reserved
        lambda db: change(db, "grace", number=2, email=email("grace-after")),
        lambda db: getattr(stored_user(db, "grace"), "email", None) == email("grace-after"),
    ),
    "ada is erased": (
        lambda db: erase(db, "ada"),
        lambda db: (
            getattr(stored_user(db, "ada"), "erased", False)
            and db.items[f"USER#{uid('ada')}", f"COMMAND#{uid('register')}"]["fingerprint"]
            == {"S": ""}
            and not any(
                key[0] == f"USER#{uid('ada')}" and key[1].startswith("SESSION#")
                for key in db.items
                if key not in SPOILT
            )
        ),
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_a_worker_between_any_two_calls_loses_nothing_and_leaves_nothing_old(name: str) -> None:
    """Its write stays, in the current format at the end."""
    work, holds = WORK[name]
    peaceful = Wire()
    migrate_over(peaceful, undamaged())
    for number in range(len(peaceful.calls)):
        database = undamaged()
        calls = 0

        def pause(_: str, at: int = number, db: MigratedDynamoDB = database) -> None:
            nonlocal calls
            if calls == at:
                work(db)
            calls += 1

        counts = migrate_over(Wire(pause=pause), database)
        assert holds(database), number
        if name != "an old worker renames ada":  # it may write behind the scan
            check(database, [], TAKEN)
        # An address may be released while alan is being checked: the next run finds it.
        migrate(database)
        check(database, [], frozenset() if "erased" in name else TAKEN)
        assert counts.bad == 0


def undamaged() -> MigratedDynamoDB:
    """Create the old table without the damaged items."""
    database = old_table()
    for key in SPOILT:
        del database.items[key]
    return database


def test_what_a_worker_brought_up_itself_is_counted_as_a_conflict() -> None:
    """This is not a failure: the worker wrote the newer format."""
    database = undamaged()

    def pause(operation: str) -> None:
        if operation == "put_item":
            for name in ("ada", "grace", "edsger", "alan"):
                change(database, name, number=2)

    counts = migrate_over(Wire(pause=pause), database)
    assert counts.conflicts == counts.found["user", 1] > 0
    assert counts.changed == counts.found["session", 2] == 1


def test_a_put_that_was_sent_twice_is_counted_as_one_change() -> None:
    """The SDK repeats a call without an answer.

    The second call is refused, because the first took effect.
    """
    database = undamaged()
    counts = migrate_over(Wire(lambda _, name, *__: _doubled(name)), database)
    assert (counts.changed, counts.indexed, counts.conflicts) == (5, 1, 0)


def _doubled(operation: str) -> Fault | None:
    return Fault.REPEATED if operation == "put_item" else None


def test_what_is_removed_meanwhile_stays_removed() -> None:
    """A session that was revoked, or deleted by its time to live, is not restored."""
    database = undamaged()
    doomed = next(key for key in database.items if key[1].startswith("SESSION#"))

    def pause(operation: str) -> None:
        if operation == "put_item":
            database.items.pop(doomed, None)

    counts = migrate_over(Wire(pause=pause), database)
    assert doomed not in database.items
    assert counts.gone == 1


def test_counts_add_up() -> None:
    """Counts of two migrations are added."""
    one, other = migrate(old_table()), migrate(old_table())
    both = Counts()
    both.add(one)
    both.add(other)
    assert both.items == 2 * one.items
    assert both.left == 2 * one.left == len(both.findings)


def test_another_migration_between_any_two_calls_does_no_harm() -> None:
    """Two concurrent migrations do everything twice, and end with the same table."""
    peaceful = Wire()
    migrate_over(peaceful, old_table())
    for number in range(len(peaceful.calls)):
        database = old_table()
        calls = 0

        def pause(_: str, at: int = number, db: MigratedDynamoDB = database) -> None:
            nonlocal calls
            if calls == at:
                migrate(db)
            calls += 1

        migrate_over(Wire(pause=pause), database)
        assert database.items == PEACE.items, number


# --- the release that reads the newer format, and writes the older ---------------------------


def test_a_release_that_still_writes_the_older_format_brings_nothing_up() -> None:
    """Workers of the previous release may run beside it, and could not read the new format."""
    database = MigratedDynamoDB()
    put(database, mapper.render_user(new_user("ada")), address_item("ada", "ada"))
    newer = mapper.render_user(new_user("grace")) | {"schema": {"N": "2"}, "locale": {"S": "de"}}
    put(database, newer, address_item("grace", "grace"))
    before = deepcopy(database.items)
    counts = migrate(database, kinds=EXPANDED)
    assert database.items == before
    assert (counts.found["user", 1], counts.found["user", 2]) == (1, 1)
    assert (counts.changed, counts.left) == (0, 0)
    assert (target(EXPANDED)["user"], target(NEXT)["user"]) == (1, 2)


def test_migrate_keeps_the_items_of_an_erased_banned_user() -> None:
    """The scrub job releases the address, later than a batch that did not read the ban commits."""
    database = MigratedDynamoDB()
    ban = Ban("", None, address_hash=BANNED.address_hash)
    tombstone = replace(new_user("ada"), email=None, erased=True, ban=ban)
    held = mapper.render_address(email("ada"), uid("ada"), held=True)
    put(database, mapper.render_user(tombstone), held, mapper.render_banned(BANNED))
    before = deepcopy(database.items)
    counts = migrate(database, kinds=EXPANDED)
    assert database.items == before
    assert (counts.found["banned address", 1], counts.items, counts.left) == (1, 3, 0)
    assert (counts.released, counts.reserved) == (0, 0)


# --- what it costs ---------------------------------------------------------------------------


def test_looking_at_a_sound_table_costs_half_a_read_unit_for_each_user_and_address() -> None:
    """In addition to the scan, the other side of each pair is read once, not consistently."""
    database, users = MigratedDynamoDB(), 30
    client: Any = database
    for number in range(users):
        name = f"user-{number}"
        put(database, mapper.render_user(new_user(name)), address_item(name, name))
    reads = Bucket(1e9)
    metered = MeteredTable(client, "users", reads, Bucket(1e9))
    Migration(metered, PageMigration(metered), Progress.start(1), threading.Event(), 7).run(
        lambda _: None
    )
    scanned = 2 * users / 2  # half a unit per item in this table
    assert 0 < reads.spent - scanned <= 2 * users / 2


def test_outcomes_of_the_older_format_are_brought_up_and_the_others_only_counted() -> None:
    """Most items of a table are outcomes: those in the current format need not be returned."""
    database = MigratedDynamoDB()
    put(database, *(records.render_outcome(outcome(f"c-{n}", "ada")) for n in range(9)))
    kind = KINDS["outcome"]
    now, following = kind.item_format.number, kind.item_format.number + 1
    newer = replace(
        kind.item_format, number=following, upcasts={**kind.item_format.upcasts, now: dict}
    )
    after = {**KINDS, "outcome": replace(kind, item_format=newer)}
    for kinds, number, changed in [(KINDS, now, 0), (after, now, 9), (after, following, 0)]:
        counts = migrate(database, kinds=kinds)
        assert (counts.found["outcome", number], counts.items, counts.changed) == (9, 9, changed)
    assert {item["schema"]["N"] for item in database.items.values()} == {str(following)}


class Lagging(MigratedDynamoDB):
    """A table whose eventually consistent reads miss recent writes."""

    def batch_get_item(self, *, RequestItems: Any, **rest: Any) -> dict[str, Any]:  # noqa: N803
        """Read items; an eventually consistent read finds nothing."""
        if not RequestItems["users"]["ConsistentRead"]:
            return {"Responses": {"users": []}, **ANSWERED}
        return super().batch_get_item(RequestItems=RequestItems, **rest)


def test_what_a_cheap_read_does_not_know_is_looked_at_again_before_anything_is_done() -> None:
    """A recently registered user keeps the address, and no problem is reported."""
    database = Lagging()
    put(database, mapper.render_user(new_user("ada")), address_item("ada", "ada"))
    before = deepcopy(database.items)
    counts = migrate(database, kinds=KINDS)
    assert database.items == before
    assert (counts.items, counts.reserved, counts.released, counts.left) == (2, 0, 0, 0)

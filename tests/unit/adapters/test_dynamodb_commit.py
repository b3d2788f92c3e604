"""How a commit handles each possible answer of DynamoDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from adapters.aws import client as aws
from adapters.dynamodb import DynamoDBUserRepository, Retries
from adapters.dynamodb.cancellation import classify_cancellation
from adapters.dynamodb.change import Write, render_change
from adapters.dynamodb.commit import MAX_ACTIONS, MAX_BYTES, THROTTLED_CALLS, pack
from adapters.errors import ItemRefusedError
from application.ports import StoreUnavailableError, ThrottledError
from application.repository import CommitReport, Conflict, UserChange
from tests.builders import NOW
from tests.persistence import moved, new_user, registered, renamed, session
from tests.unit.adapters.wire import Answer, Wire, answer, cancelled, error, page

pytestmark = pytest.mark.usefixtures("no_backoff")

OK = "None"
FAILED = "ConditionalCheckFailed"
CONTENDED = "TransactionConflict"
ADA = (OK, OK, OK)
"""The outcome, user and address of a registration."""


def commit(wire: Wire, *changes: UserChange, pauses: list[float] | None = None) -> CommitReport:
    """Commit on a wire, without delays."""
    slept: list[float] = [] if pauses is None else pauses
    retries = Retries(tries=4, sleep=slept.append)
    return DynamoDBUserRepository(wire.client, "users", retries).commit(changes, NOW)


def names(*users: str) -> list[UserChange]:
    """Return registrations: three actions each."""
    return [registered(user) for user in users]


def sizes(wire: Wire) -> list[int]:
    """Return the number of actions in each request."""
    return [len(request["TransactItems"]) for request in wire.requests]


# --- cancellation reasons ------------------------------------------------------------------

FOUR = (Conflict.DUPLICATE, Conflict.STALE, Conflict.ADDRESS_TAKEN, Conflict.STALE)


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((OK, OK, OK, OK), None),
        ((FAILED, OK, OK, OK), Conflict.DUPLICATE),
        ((OK, FAILED, OK, OK), Conflict.STALE),
        ((OK, OK, FAILED, OK), Conflict.ADDRESS_TAKEN),
        ((OK, OK, OK, CONTENDED), Conflict.CONTENTION),
        ((FAILED, FAILED, FAILED, CONTENDED), Conflict.DUPLICATE),
        ((OK, FAILED, FAILED, OK), Conflict.STALE),
        ((OK, CONTENDED, FAILED, OK), Conflict.ADDRESS_TAKEN),
        ((OK, "ThrottlingError", OK, FAILED), Conflict.STALE),
        ((OK, "ThrottlingError", OK, OK), StoreUnavailableError),
        ((OK, "ProvisionedThroughputExceeded", CONTENDED, OK), StoreUnavailableError),
        ((OK, "SomethingNew", OK, OK), StoreUnavailableError),
        ((OK, "ItemCollectionSizeLimitExceeded", OK, OK), ItemRefusedError),
        ((OK, "ValidationError", "ThrottlingError", OK), ItemRefusedError),
    ],
)
def test_the_weightiest_reason_counts(
    codes: tuple[str, ...], expected: Conflict | type[Exception] | None
) -> None:
    """A duplicate before all others; a decision on old state before other faults."""
    found = classify_cancellation(FOUR, codes)
    if isinstance(expected, type):
        assert isinstance(found, expected)
    else:
        assert found is expected


def test_changes_without_a_reason_are_tried_again_at_once_without_the_others() -> None:
    """In the same commit, with a new entry and a new token."""
    wire = Wire(cancelled(*ADA, FAILED, OK, OK, OK, OK, FAILED, *ADA, OK))
    pauses: list[float] = []
    report = commit(wire, *names("a", "b", "c", "d"), pauses=pauses)
    assert report.conflicts == {1: Conflict.DUPLICATE, 2: Conflict.ADDRESS_TAKEN}
    assert not report.failures
    assert sizes(wire) == [13, 7]
    assert pauses == []
    (entry,) = report.entries
    kept = [registered(name).outcomes[0].command_id for name in ("a", "d")]
    assert [key.command_id for key in entry.commands] == kept
    tokens = [request["ClientRequestToken"] for request in wire.requests]
    assert len(set(tokens)) == 2


def test_a_passing_conflict_of_transactions_is_tried_again_after_a_pause() -> None:
    """Changes without the conflict do not wait."""
    wire = Wire(cancelled(*ADA, OK, CONTENDED, OK, OK))
    pauses: list[float] = []
    report = commit(wire, *names("a", "b"), pauses=pauses)
    assert not report.conflicts
    assert not report.failures
    assert sizes(wire) == [7, 4, 4]
    assert len(pauses) == 1
    assert 0 <= pauses[0] <= 0.05


def test_a_lasting_conflict_of_transactions_is_contention() -> None:
    """After a few attempts the caller decides again."""
    wire = Wire(rest=lambda: cancelled(OK, CONTENDED, OK, OK))
    pauses: list[float] = []
    report = commit(wire, *names("a"), pauses=pauses)
    assert report.conflicts == {0: Conflict.CONTENTION}
    assert (report.entries, len(wire.requests), len(pauses)) == ((), 4, 3)


def test_a_transaction_still_in_progress_is_asked_for_by_the_same_token() -> None:
    """The first answer was lost: a new token would commit twice, or fail as a duplicate."""
    wire = Wire(error("TransactionInProgressException"))
    report = commit(wire, *names("a"))
    assert len(report.entries) == 1
    first, second = wire.requests
    assert first == second


def test_a_transaction_that_stays_in_progress_is_contention() -> None:
    """Reading again shows whether it was committed."""
    wire = Wire(rest=lambda: error("TransactionInProgressException"))
    assert commit(wire, *names("a")).conflicts == {0: Conflict.CONTENTION}
    assert all(request == wire.requests[0] for request in wire.requests)
    assert len(wire.requests) == 4 * aws.ATTEMPTS  # botocore tries this error again by itself


def test_one_throttled_item_fails_its_change_alone() -> None:
    """The others are committed."""
    wire = Wire(cancelled(*ADA, OK, "ThrottlingError", OK, OK))
    report = commit(wire, *names("a", "b"))
    assert isinstance(report.failures[1], ThrottledError)
    assert report.failures.keys() == {1}
    assert len(report.entries) == 1


def test_what_is_throttled_for_all_users_and_the_outbox_is_the_table() -> None:
    """No single user is the cause then."""
    throttled = ("ThrottlingError",) * 7
    report = commit(Wire(cancelled(*throttled)), *names("a", "b"))
    assert report.failures.keys() == {0, 1}
    assert not any(isinstance(error, ThrottledError) for error in report.failures.values())


def test_a_throttled_shard_of_the_outbox_is_replaced_by_another() -> None:
    """The users' own items are not throttled."""
    wire = Wire(cancelled(*ADA, "ThrottlingError"))
    pauses: list[float] = []
    report = commit(wire, *names("a"), pauses=pauses)
    assert (len(report.entries), report.failures, len(pauses)) == (1, {}, 1)
    first, second = (request["TransactItems"][-1] for request in wire.requests)
    assert first["Put"]["Item"]["sk"] != second["Put"]["Item"]["sk"]


def test_an_outbox_that_stays_throttled_fails_all() -> None:
    """The attempts are bounded, and it is not the users' items that are throttled."""
    wire = Wire(rest=lambda: cancelled(*ADA, "ThrottlingError"))
    report = commit(wire, *names("a"))
    assert type(report.failures[0]) is StoreUnavailableError
    assert len(wire.requests) == 4


HOT = "ThrottlingException"


def hot(request: dict[str, Any]) -> bool:
    """Return True if a request contains the throttled user."""
    return "hot@example.com" in str(request)


@pytest.mark.parametrize("code", [HOT, "ProvisionedThroughputExceededException"])
@pytest.mark.parametrize("place", [0, 4, 9])
def test_a_call_that_is_throttled_for_one_user_commits_the_others(code: str, place: int) -> None:
    """DynamoDB may refuse the whole call: bisection finds the throttled items."""
    wire = Wire(rest=lambda: error(code) if hot(wire.requests[-1]) else answer())
    users = [f"u{number}" for number in range(10)]
    users[place] = "hot"
    report = commit(wire, *names(*users))
    assert report.failures.keys() == {place}
    assert isinstance(report.failures[place], ThrottledError)
    assert sum(len(entry.commands) for entry in report.entries) == 9


def test_a_table_that_is_throttled_is_not_asked_for_each_user() -> None:
    """After a few throttled calls in a row, the rest fails without a call."""
    wire = Wire(rest=lambda: error(HOT))
    report = commit(wire, *names(*(f"u{number}" for number in range(20))))
    assert report.failures.keys() == set(range(20))
    assert sum(not isinstance(e, ThrottledError) for e in report.failures.values()) > 15
    assert len(wire.requests) == THROTTLED_CALLS * aws.ATTEMPTS  # botocore tries each again


@pytest.mark.parametrize(
    "cancellation",
    [
        cancelled(*ADA, OK),
        cancelled(),
        error("TransactionCanceledException"),
    ],
    ids=["for no reason", "without reasons", "without the list"],
)
def test_a_cancellation_that_blames_no_change_fails_all(cancellation: Answer) -> None:
    """There are no endless retries."""
    wire = Wire(cancellation)
    report = commit(wire, *names("a"))
    assert isinstance(report.failures[0], StoreUnavailableError)
    assert len(wire.requests) == 1


# --- answers that name nobody --------------------------------------------------------------


def poisoned(request: dict[str, Any]) -> bool:
    """Return True if a request contains the user whom DynamoDB refuses."""
    return "poison@example.com" in str(request)


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: error("ValidationException"),
        lambda: error("SerializationException"),
        lambda: page(b"", 413),
    ],
    ids=["validation", "serialization", "too large"],
)
def test_a_refusal_that_names_no_item_is_bisected(
    refusal: Callable[[], Answer],
) -> None:
    """The others are committed; only the invalid one is refused permanently."""
    wire = Wire(rest=lambda: refusal() if poisoned(wire.requests[-1]) else answer())
    report = commit(wire, *names("a", "b", "c", "poison", "d", "e", "f", "g"))
    assert report.failures.keys() == {3}
    assert isinstance(report.failures[3], ItemRefusedError)
    assert not report.conflicts
    assert sum(len(entry.commands) for entry in report.entries) == 7
    assert len(wire.requests) <= 7


def junk() -> Iterator[tuple[str, Callable[[], Answer]]]:
    """Return everything that may come in place of an answer."""
    url = "https://dynamodb"
    yield "503", lambda: page(b"<html>down</html>", 503)
    yield "500", lambda: error("InternalServerError", 500)
    yield "throttled", lambda: error("ThrottlingException")
    yield "throughput", lambda: error("ProvisionedThroughputExceededException")
    yield "limit", lambda: error("RequestLimitExceeded")
    yield "no table", lambda: error("ResourceNotFoundException")
    yield "denied", lambda: error("AccessDeniedException")
    yield "mismatch", lambda: error("IdempotentParameterMismatchException")
    yield "not json", lambda: page(b"<html>a proxy's page</html>", 200)
    yield "empty", lambda: page(b"", 200)
    yield "no json in an error", lambda: page(b"<html>no</html>", 403)
    yield "another json", lambda: page(b"[1, 2]", 400)
    yield "no endpoint", lambda: EndpointConnectionError(endpoint_url=url)
    yield "connect timeout", lambda: ConnectTimeoutError(endpoint_url=url)
    yield "read timeout", lambda: ReadTimeoutError(endpoint_url=url)
    yield "closed", lambda: ConnectionClosedError(endpoint_url=url)
    yield "reset", lambda: ConnectionResetError(104, "reset")
    yield "unforeseen", lambda: RuntimeError("from deep inside")


JUNK = dict(junk())


@pytest.mark.parametrize("kind", JUNK)
def test_whatever_comes_in_place_of_an_answer_is_a_failure_for_later(kind: str) -> None:
    """A commit never raises; the cause is kept for the log."""
    wire = Wire(rest=JUNK[kind])
    report = commit(wire, *names("a", "b"))
    assert report.failures.keys() == {0, 1}
    for failure in report.failures.values():
        assert isinstance(failure, StoreUnavailableError)
        assert failure.__cause__ is not None
    assert report.entries == ()


@pytest.mark.parametrize("kind", ["503", "throttled", "closed", "read timeout", "no endpoint"])
def test_a_passing_failure_is_tried_again_with_the_same_token(kind: str) -> None:
    """So an attempt with a lost answer does not take effect twice."""
    wire = Wire(JUNK[kind]())
    report = commit(wire, *names("a"))
    assert not report.failures
    first, second = wire.requests
    assert first == second
    assert first["ClientRequestToken"]


def test_one_transactions_failure_leaves_the_others_committed() -> None:
    """Each transaction is independent."""
    changes = names(*(f"user{n}" for n in range(35)))  # 33 fit one transaction
    wire = Wire(answer(), error("AccessDeniedException"))
    report = commit(wire, *changes)
    assert report.failures.keys() == {33, 34}
    assert [len(entry.commands) for entry in report.entries] == [33]


# --- packing -------------------------------------------------------------------------------


def write(index: int, change: UserChange) -> Write:
    """Return a rendered change."""
    return render_change("users", index, change, NOW)


def test_ten_updates_are_one_call_of_twenty_one_actions() -> None:
    """A user and an outcome each, and one entry."""
    wire = Wire()
    report = commit(wire, *(renamed(new_user(f"user{n}")) for n in range(10)))
    assert (wire.operations, sizes(wire)) == (["TransactWriteItems"], [21])
    assert len(report.entries) == 1


def test_thirty_registrations_are_one_call_of_ninety_one_actions() -> None:
    """The maximum of a task."""
    wire = Wire()
    report = commit(wire, *(registered(f"user{n}") for n in range(30)))
    assert (wire.operations, sizes(wire)) == (["TransactWriteItems"], [91])
    assert [len(entry.commands) for entry in report.entries] == [30]


def test_a_transaction_has_at_most_a_hundred_actions() -> None:
    """Including the entry's action, and no change is split."""
    packs = pack([write(n, registered(f"user{n}")) for n in range(100)])
    assert [len(each) for each in packs] == [33, 33, 33, 1]
    assert all(sum(len(w.actions) for w in each) < MAX_ACTIONS for each in packs)


def test_a_transaction_has_at_most_four_megabytes() -> None:
    """The estimated size counts."""
    writes = [write(n, registered(f"user{n}")) for n in range(4)]
    for each in writes:
        each.size = MAX_BYTES // 2 - 10_000
    assert [len(each) for each in pack(writes)] == [1, 1, 1, 1] or len(pack(writes)) == 2
    writes[0].size = MAX_BYTES * 2
    assert len(pack(writes)[0]) == 1


def test_two_writes_to_one_item_never_share_a_transaction() -> None:
    """DynamoDB would refuse the whole transaction."""
    ada = new_user("ada")
    for second in (renamed(ada, command="other"), registered("grace", "ada")):
        assert len(pack([write(0, moved(ada, "countess")), write(1, second)])) == 2


def test_an_action_for_each_item_with_its_condition() -> None:
    """A change with every kind of item: no item is named twice."""
    change = moved(new_user("ada"), "countess")
    change = replace(
        change,
        saved_sessions=(session("new"), session("old", revision=4)),
        removed_sessions=(session("gone", revision=2),),
        scrub=True,
    )
    rendered = write(0, change)
    found = []
    for action in rendered.actions:
        (body,) = action.values()
        part: Any = body
        item = part.get("Item") or part["Key"]
        kind = item["sk"]["S"].partition("#")[0]
        found.append((next(iter(action)), kind, part["ConditionExpression"]))
    assert found == [
        ("Put", "COMMAND", "attribute_not_exists(pk)"),
        ("Put", "USER", "version = :v"),
        ("Put", "SESSION", "attribute_not_exists(pk)"),
        ("Put", "SESSION", "revision = :r"),
        ("Delete", "SESSION", "revision = :r"),
        ("Put", "EMAIL", "attribute_not_exists(pk)"),
        ("Delete", "EMAIL", "user_id = :u"),
        ("Put", "2026-11-22T10:00:00.000Z", "attribute_not_exists(pk)"),
    ]
    assert len(rendered.keys) == len(rendered.actions)

"""Number of calls of reads and outbox, and their handling of partial answers and failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.dynamodb import (
    DynamoDBOutbox,
    DynamoDBUserRepository,
    Retries,
    mapper,
    records,
    table,
)
from adapters.dynamodb.change import new_entry
from adapters.dynamodb.formats import ItemFormat
from application.outbox import ScrubPage
from application.ports import CommandKey, JobKind, OutboxEntry, StoreUnavailableError
from application.repository import LoadRequest
from tests.builders import NOW, email, uid
from tests.persistence import new_user, outcome
from tests.unit.adapters.wire import Wire, answer, error, page

pytestmark = pytest.mark.usefixtures("no_backoff")

POINTER = new_entry(JobKind.PUBLISH, (CommandKey(uid("ada"), uid("c")),), NOW)
IMPATIENT = Retries(tries=3, sleep=lambda _: None)


def repository(wire: Wire, retries: Retries = IMPATIENT) -> DynamoDBUserRepository:
    """Create a repository on a wire."""
    return DynamoDBUserRepository(wire.client, "users", retries)


def outbox(wire: Wire, retries: Retries = IMPATIENT, **options: Any) -> DynamoDBOutbox:
    """Create an outbox on a wire."""
    return DynamoDBOutbox(wire.client, "users", retries, **options)


def everything(wire: Wire) -> Any:
    """Answer a BatchGetItem without items."""
    return answer({"Responses": {"users": []}, "UnprocessedKeys": {}})


# --- loading -------------------------------------------------------------------------------


def test_ten_users_and_their_outcomes_are_one_consistent_call() -> None:
    """Including addresses, sessions and second factors."""
    wire = Wire(rest=lambda: everything(wire))
    users = {uid(f"user{n}") for n in range(10)}
    request = LoadRequest(
        users=users,
        sessions={(user, uid("session")) for user in users},
        two_factors=users,
        addresses={f"{n}@example.com" for n in range(10)},
        outcomes={CommandKey(user, uid("command")) for user in users},
    )
    repository(wire).load(request)
    (sent,) = wire.requests
    assert sent["RequestItems"]["users"]["ConsistentRead"] is True
    assert len(sent["RequestItems"]["users"]["Keys"]) == 50


def test_a_hundred_keys_fit_a_call() -> None:
    """More keys need further calls; each key is read once."""
    wire = Wire(rest=lambda: everything(wire))
    repository(wire).load(LoadRequest(addresses={f"{n}@example.com" for n in range(201)}))
    keys = [request["RequestItems"]["users"]["Keys"] for request in wire.requests]
    assert [len(each) for each in keys] == [100, 100, 1]


def test_nothing_to_load_is_no_call() -> None:
    """An empty BatchGetItem would be an error."""
    wire = Wire()
    repository(wire).load(LoadRequest())
    assert wire.requests == []


def test_unprocessed_keys_are_asked_for_again_after_a_pause() -> None:
    """The items of both answers are combined."""
    ada, grace = (mapper.render_user(new_user(name)) for name in ("ada", "grace"))
    left = {"users": {"Keys": [{"pk": grace["pk"], "sk": grace["sk"]}], "ConsistentRead": True}}
    wire = Wire(
        answer({"Responses": {"users": [ada]}, "UnprocessedKeys": left}),
        answer({"Responses": {"users": [grace]}, "UnprocessedKeys": {}}),
    )
    pauses: list[float] = []
    reader = repository(wire, Retries(base=1, cap=1, tries=3, sleep=pauses.append))
    found = reader.get_many([uid("ada"), uid("grace")])
    assert found.keys() == {uid("ada"), uid("grace")}
    assert wire.requests[1]["RequestItems"]["users"] == left["users"]
    assert len(pauses) == 1
    assert 0 <= pauses[0] <= 1


def test_keys_that_stay_unprocessed_end_the_load() -> None:
    """After a bounded number of attempts; part of a snapshot must not be taken for all of it."""
    left = {"users": {"Keys": [{"pk": {"S": "a"}, "sk": {"S": "b"}}], "ConsistentRead": True}}
    wire = Wire(rest=lambda: answer({"Responses": {"users": []}, "UnprocessedKeys": left}))
    with pytest.raises(StoreUnavailableError):
        repository(wire).get(uid("ada"))
    assert len(wire.requests) == 3


READS: dict[str, Callable[[Wire], object]] = {
    "load": lambda wire: repository(wire).get(uid("ada")),
    "history": lambda wire: repository(wire).history(uid("ada")),
    "outcome page": lambda wire: repository(wire).outcome_page(uid("ada"), 10),
    "pending": lambda wire: outbox(wire).pending(NOW),
    "outcomes": lambda wire: outbox(wire).outcomes([POINTER]),
    "status": lambda wire: outbox(wire).status(),
    "scrub": lambda wire: outbox(wire).scrub(uid("ada")),
    "close": lambda wire: outbox(wire).close([POINTER]),
    "close several": lambda wire: outbox(wire).close([POINTER, _other(POINTER)]),
    "park": lambda wire: outbox(wire).park(POINTER, "reason"),
    "update": lambda wire: outbox(wire).update(POINTER, replace(POINTER, attempts=1)),
}


def _other(entry: OutboxEntry) -> OutboxEntry:
    return new_entry(entry.kind, entry.commands, NOW)


FAILURES: dict[str, Callable[[], Any]] = {
    "503": lambda: page(b"<html>", 503),
    "throttled": lambda: error("ProvisionedThroughputExceededException"),
    "no table": lambda: error("ResourceNotFoundException"),
    "a page": lambda: page(b"<html>", 200),
    "reset": lambda: ConnectionResetError(104, "reset"),
    "unforeseen": lambda: RuntimeError("from deep inside"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("call", READS)
def test_whatever_comes_in_place_of_an_answer_means_unavailable(call: str, failure: str) -> None:
    """Never an empty result, and never botocore's own error."""
    wire = Wire(rest=FAILURES[failure])
    with pytest.raises(StoreUnavailableError):
        READS[call](wire)


def test_an_address_that_changes_hands_between_two_reads_finds_the_new_owner() -> None:
    """The first owner, read after the change, has another address."""
    address, grace = email("countess"), replace(new_user("grace"), email=email("countess"))
    found = [
        mapper.render_address(address, uid("ada")),
        mapper.render_user(new_user("ada")),
        mapper.render_address(address, uid("grace")),
        mapper.render_user(grace),
    ]
    wire = Wire(*(answer({"Responses": {"users": [item]}}) for item in found))
    assert repository(wire).get_by_email(address) == grace


def test_the_latest_of_a_long_history_are_found_on_whatever_page_they_are() -> None:
    """Pages are in order of command ids; the result is the latest of all pages."""
    decided = [
        replace(outcome(f"command {n}", "ada"), recorded_at=NOW + timedelta(seconds=n))
        for n in (5, 1, 4, 0, 3, 2)
    ]
    items = [records.render_outcome(each) for each in decided]
    last = {"pk": items[2]["pk"], "sk": items[2]["sk"]}
    wire = Wire(
        answer({"Items": items[:3], "LastEvaluatedKey": last}), answer({"Items": items[3:]})
    )
    found = repository(wire).history(uid("ada"), limit=3)
    assert found == [decided[0], decided[2], decided[4]]


def test_a_page_of_outcomes_reads_one_item_more_than_it_returns() -> None:
    """The second query asks for what the first one has left."""
    items = [records.render_outcome(outcome(f"command {n}", "ada")) for n in range(3)]
    wire = Wire(answer({"Items": items}), answer({"Items": items[:1]}))
    page = repository(wire).outcome_page(uid("ada"), 3)
    assert [sent["Limit"] for sent in wire.requests] == [4, 1]
    assert all(sent["ScanIndexForward"] is False for sent in wire.requests)
    assert page.last == page.outcomes[-1].command_id
    assert len(page.outcomes) == 3


def test_a_page_of_outcomes_ends_where_dynamodb_ends_its_page() -> None:
    """DynamoDB returns 1 MB at most; the rest is the caller's next page."""
    items = [records.render_outcome(outcome(f"command {n}", "ada")) for n in range(2)]
    last = {"pk": items[1]["pk"], "sk": items[1]["sk"]}
    wire = Wire(answer({"Items": items, "LastEvaluatedKey": last}))
    page = repository(wire).outcome_page(uid("ada"), 100)
    assert page.last == uid("command 1")
    assert len(wire.requests) == 1


# --- the outbox ----------------------------------------------------------------------------


def test_outcomes_of_many_pointers_are_read_a_hundred_a_call_and_none_is_waited_for() -> None:
    """Outcomes that DynamoDB leaves unread are distinguished from missing ones."""
    keys = [CommandKey(uid("ada"), f"c{n}") for n in range(101)]
    entries = [new_entry(JobKind.PUBLISH, (key,), NOW) for key in keys]
    stored = {**records.render_outcome(outcome("c0", "ada")), "sk": {"S": "COMMAND#c0"}}
    throttled = table.outcome_key(uid("ada"), "c1")
    wire = Wire(
        answer(
            {
                "Responses": {"users": [stored]},
                "UnprocessedKeys": {"users": {"Keys": [throttled], "ConsistentRead": True}},
            }
        ),
        answer({"Responses": {"users": []}}),
    )
    found = outbox(wire).outcomes(entries)
    assert [len(r["RequestItems"]["users"]["Keys"]) for r in wire.requests] == [100, 1]
    assert found.found.keys() == {keys[0]}
    assert found.unread == {keys[1]}


def test_a_call_that_fails_does_not_keep_other_pointers_from_being_closed() -> None:
    """Each twenty-five entries are closed by their own call."""
    wire = Wire(error("ResourceNotFoundException"), rest=lambda: answer({}))
    with pytest.raises(StoreUnavailableError):
        outbox(wire).close([_other(POINTER) for _ in range(60)])
    sent = [len(request["RequestItems"]["users"]) for request in wire.requests]
    assert sent == [25, 25, 10]


def test_closing_one_pointer_is_one_small_call() -> None:
    """It happens after every batch."""
    wire = Wire()
    outbox(wire).close([POINTER])
    assert wire.operations == ["DeleteItem"]


def test_closing_nothing_is_no_call() -> None:
    """A commit may have failed as a whole."""
    wire = Wire()
    outbox(wire).close([])
    assert wire.requests == []


def test_several_pointers_are_closed_twenty_five_a_call() -> None:
    """Unprocessed entries are tried again."""
    entries = [_other(POINTER) for _ in range(26)]
    key = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    left = {"users": [{"DeleteRequest": {"Key": key}}]}
    wire = Wire(answer({"UnprocessedItems": left}))
    outbox(wire).close(entries)
    sent = [request["RequestItems"]["users"] for request in wire.requests]
    assert [len(each) for each in sent] == [25, 1, 1]
    assert sent[1] == left["users"]


def test_items_that_stay_unprocessed_are_an_error() -> None:
    """An entry that still exists is not closed."""
    key = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    left = {"users": [{"DeleteRequest": {"Key": key}}]}
    wire = Wire(rest=lambda: answer({"UnprocessedItems": left}))
    with pytest.raises(StoreUnavailableError):
        outbox(wire).close([POINTER, _other(POINTER)])
    assert len(wire.requests) == 3


def test_a_scrub_goes_on_where_a_failure_broke_it_off() -> None:
    """Outcomes that were scrubbed before are not written again."""
    done = records.render_outcome(outcome("done", "ada"))
    done["fingerprint"] = {"S": ""}
    open_item = records.render_outcome(outcome("open", "ada"))
    items = answer({"Items": [done, open_item], "Count": 2})
    wire = Wire(items)
    outbox(wire).scrub(uid("ada"))
    assert wire.operations == ["Query", "UpdateItem"]
    assert wire.requests[1]["Key"]["sk"] == open_item["sk"]


def test_a_scrub_handles_one_page_per_call_and_returns_the_position() -> None:
    """A user may have any number of outcomes, and other entries wait for the relay."""
    item = records.render_outcome(outcome("a", "ada"))
    last = {"LastEvaluatedKey": {"pk": {"S": "p"}, "sk": {"S": "COMMAND#a"}}}
    wire = Wire(answer({"Items": [item], **last}), answer({}), answer({"Items": []}))
    store = outbox(wire)
    assert store.scrub(uid("ada")) == ScrubPage("COMMAND#a")
    assert store.scrub(uid("ada"), "COMMAND#a") == ScrubPage(None)
    assert wire.operations == ["Query", "UpdateItem", "Query"]
    start = {"pk": {"S": f"USER#{uid('ada')}"}, "sk": {"S": "COMMAND#a"}}
    assert wire.requests[2]["ExclusiveStartKey"] == start


def test_after_a_failure_a_page_starts_no_more_updates() -> None:
    """Each would wait for its own retries, and the page is scrubbed again anyway."""
    items = [records.render_outcome(outcome(f"c{n}", "ada")) for n in range(100)]
    wire = Wire(answer({"Items": items}), rest=lambda: error("ThrottlingException"))
    with pytest.raises(StoreUnavailableError):
        outbox(wire).scrub(uid("ada"))
    assert wire.operations.count("UpdateItem") < 50


def test_references_of_a_page_are_read_in_one_call() -> None:
    """They are scrubbed before the user's own records, which show that both are done."""
    decided = [outcome(f"c{n}", "ada", by_email=True) for n in range(3)]
    items = [records.render_outcome(each) for each in decided]
    references = [records.render_reference(each) for each in decided]
    wire = Wire(
        answer({"Items": items}),
        answer({"Responses": {"users": references}}),
        rest=lambda: answer({}),
    )
    outbox(wire, parallel=1).scrub(uid("ada"))
    assert wire.operations == ["Query", "BatchGetItem", *["UpdateItem"] * 6]
    updated = [request["Key"]["pk"]["S"] for request in wire.requests[2:]]
    assert [key.partition("#")[0] for key in updated] == ["COMMAND", "USER"] * 3


def test_an_outcome_that_expired_during_a_scrub_is_not_brought_back() -> None:
    """TTL may delete it at any time: the write has a condition, and its failure is no error."""
    item = records.render_outcome(outcome("c", "ada"))
    gone = answer({"Responses": {"users": []}})
    wire = Wire(answer({"Items": [item]}), error("ConditionalCheckFailedException"), gone)
    assert outbox(wire).scrub(uid("ada")) == ScrubPage()
    assert wire.operations == ["Query", "UpdateItem", "BatchGetItem"]
    assert wire.requests[1]["ConditionExpression"] == "#schema = :schema"


def test_an_outcome_that_is_migrated_during_a_scrub_is_scrubbed_in_its_new_format() -> None:
    """It is read again: what is written fits its format number."""
    item = records.render_outcome(outcome("c", "ada"))
    migrated = answer({"Responses": {"users": [{**item, "colour": {"S": "red"}}]}})
    wire = Wire(answer({"Items": [item]}), error("ConditionalCheckFailedException"), migrated)
    assert outbox(wire).scrub(uid("ada")) == ScrubPage()
    assert wire.operations == ["Query", "UpdateItem", "BatchGetItem", "UpdateItem"]


def test_an_outcome_that_changes_its_format_all_the_time_is_left_for_the_next_scrub() -> None:
    """The attempts end, and the job remains."""
    item = records.render_outcome(outcome("c", "ada"))
    again = answer({"Responses": {"users": [item]}})
    failed = error("ConditionalCheckFailedException")
    wire = Wire(answer({"Items": [item]}), *[failed, again] * 3)
    with pytest.raises(StoreUnavailableError, match="changes its format"):
        outbox(wire).scrub(uid("ada"))


def test_an_outcome_of_an_older_format_is_scrubbed_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets the newer number, and attributes of the older format are removed."""

    def renamed(item: Any) -> Any:
        new = {name: value for name, value in item.items() if name != "origin"}
        return {**new, "source": item["origin"]}

    newer = ItemFormat("outcome", 2, {1: renamed})
    monkeypatch.setattr(records, "OUTCOME_FORMAT", newer)
    monkeypatch.setattr(records.parse_outcome, "__defaults__", (newer,))
    item: Any = {**records.render_outcome(outcome("c", "ada")), "schema": {"N": "1"}}
    item["origin"] = item.pop("source")
    wire = Wire(answer({"Items": [item]}), answer({}))
    outbox(wire).scrub(uid("ada"))
    request = wire.requests[1]
    names = request["ExpressionAttributeNames"]
    sets, _, removes = request["UpdateExpression"].partition(" REMOVE ")
    written = {names[part.split(" = ")[0]] for part in sets.removeprefix("SET ").split(", ")}
    assert {"schema", "fingerprint", "source"} <= written
    assert [names[alias] for alias in removes.split(", ")] == ["origin"]
    assert request["ExpressionAttributeValues"][":schema"] == {"N": "1"}

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
)

from adapters.aws.batching import MAX_CALL_BYTES
from adapters.sns.publisher import BACKOFF, MAX_ATTEMPTS, MAX_MISSES, SnsPublisher, topic_arn
from application.ports import EventMessage, PublishFailure

LONGEST = replace(BACKOFF, draw=lambda _low, high: high)
"""Without jitter."""
TOPIC = "arn:aws:sns:us-east-1:123456789012:user-events"
Entries = list[dict[str, Any]]
Answer = Callable[[Entries], Any]


class ScriptedSns:
    """Answers each PublishBatch with the next answer; the last one repeats."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.calls: list[Entries] = []

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Entries) -> Any:  # noqa: N803
        """Answer by the script."""
        self.calls.append(PublishBatchRequestEntries)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer(PublishBatchRequestEntries)

    @property
    def published(self) -> list[str]:
        """The bodies that were sent, call by call."""
        return [entry["Message"] for entries in self.calls for entry in entries]


def success(entries: Entries) -> dict[str, Any]:
    """Publish all."""
    return {"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries]}


def failing(bodies: str, code: str, *, fault: bool = False) -> Answer:
    """Fail the entries with these bodies, each a letter; publish the others."""

    def answer(entries: Entries) -> dict[str, Any]:
        failed = [entry for entry in entries if entry["Message"] in bodies]
        rest = [entry for entry in entries if entry["Message"] not in bodies]
        results = [
            {"Id": entry["Id"], "Code": code, "SenderFault": fault, "Message": "no"}
            for entry in failed
        ]
        return success(rest) | {"Failed": results}

    return answer


def error(code: str, status: int = 400, text: str = "no") -> ClientError:
    """Return the error of a call that SNS refuses."""
    return ClientError(
        {"Error": {"Code": code, "Message": text}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PublishBatch",
    )


def raising(problem: Exception) -> Answer:
    """Fail the whole call."""

    def answer(_: Entries) -> Any:
        raise problem

    return answer


def event(body: str, **changes: Any) -> EventMessage:
    """Return an event with a body."""
    fields: dict[str, Any] = {
        "event_id": f"id-{body[:20]}",
        "user_id": "user-1",
        "type": "biome.user.EmailVerified.v1",
        "category": "email",
        "command_source": "/signup",
    }
    return EventMessage(body=body, **fields | changes)


def events(bodies: str) -> list[EventMessage]:
    """Return an event for each letter."""
    return [event(body) for body in bodies]


def publish(
    client: ScriptedSns, messages: list[EventMessage], topic: str = TOPIC
) -> tuple[dict[str, PublishFailure], list[float]]:
    """Publish without waiting; return the failures and the delays."""
    waits: list[float] = []
    publisher = SnsPublisher(client, topic, sleep=waits.append, backoff=LONGEST)  # type: ignore[arg-type]
    return publisher.publish(messages), waits


# --- calls ---------------------------------------------------------------------------------


def test_ten_events_are_one_call_and_eleven_are_two() -> None:
    """As few and as full calls as possible."""
    client = ScriptedSns(success)

    assert publish(client, events("abcdefghijk")) == ({}, [])

    assert [len(call) for call in client.calls] == [10, 1]


def test_nothing_to_publish_is_no_call() -> None:
    """SNS refuses an empty batch."""
    client = ScriptedSns(success)

    assert publish(client, []) == ({}, [])
    assert client.calls == []


def test_a_call_carries_no_more_than_sns_takes() -> None:
    """In bytes of bodies and attributes."""
    client = ScriptedSns(success)
    body = "é" * 60_000

    publish(client, [event(f"{number}{body}") for number in range(5)])

    assert [len(call) for call in client.calls] == [2, 2, 1]
    for call in client.calls:
        assert (
            sum(len(json.dumps(entry, ensure_ascii=False).encode()) for entry in call)
            < MAX_CALL_BYTES
        )


def test_an_event_carries_the_three_attributes_for_filters() -> None:
    """Exactly these three."""
    client = ScriptedSns(success)

    publish(client, [event("a")])

    (entry,) = client.calls[0]
    assert entry["MessageAttributes"] == {
        "type": {"DataType": "String", "StringValue": "biome.user.EmailVerified.v1"},
        "category": {"DataType": "String", "StringValue": "email"},
        "command_source": {"DataType": "String", "StringValue": "/signup"},
    }
    assert entry.keys() == {"Id", "Message", "MessageAttributes"}


@pytest.mark.parametrize(("source", "sent"), [("", None), ("\0", None), ("/a\x01b\ufffe", "/ab")])
def test_an_attribute_that_sns_refuses_does_not_stop_the_event(
    source: str, sent: str | None
) -> None:
    """Its invalid characters are removed; an empty attribute is left out."""
    client = ScriptedSns(success)

    assert publish(client, [event("a", command_source=source)])[0] == {}

    attributes = client.calls[0][0]["MessageAttributes"]
    assert attributes.get("command_source", {}).get("StringValue") == sent


def test_a_fifo_topic_gets_group_and_deduplication() -> None:
    """A user's events are one group; duplicates are dropped for five minutes."""
    client = ScriptedSns(success)

    publish(client, [event("a")], topic=TOPIC + ".fifo")

    assert client.calls[0][0]["MessageGroupId"] == "user-1"
    assert client.calls[0][0]["MessageDeduplicationId"] == "id-a"


def test_an_event_given_twice_is_sent_once() -> None:
    """Two outbox entries may name the same command."""
    client = ScriptedSns(success)

    publish(client, events("aab"))

    assert client.published == ["a", "b"]


# --- failures ------------------------------------------------------------------------------


def test_only_what_failed_is_sent_again_after_a_growing_wait() -> None:
    """Accepted events are not published twice."""
    failed = failing("b", "InternalError")
    client = ScriptedSns(failed, failed, success)

    assert publish(client, events("abc")) == ({}, [0.1, 0.2])

    assert client.published == ["a", "b", "c", "b", "b"]


def test_what_fails_on_every_attempt_is_reported_to_be_tried_later() -> None:
    """After a bounded number of attempts; the others are published."""
    client = ScriptedSns(failing("b", "InternalError"))

    failures, _ = publish(client, events("abc"))

    assert failures == {"id-b": PublishFailure("InternalError", permanent=False, answered=True)}
    assert client.published.count("b") == MAX_ATTEMPTS


def test_what_sns_refuses_for_its_content_is_not_tried_again() -> None:
    """It is the sender's fault, so a retry would fail too."""
    client = ScriptedSns(failing("b", "InvalidParameter", fault=True))

    failures, waits = publish(client, events("abc"))

    assert failures == {"id-b": PublishFailure("InvalidParameter", permanent=True, answered=True)}
    assert waits == []


@pytest.mark.parametrize("code", ["AuthorizationError", "NotFound", "KMSAccessDenied"])
def test_a_wrong_set_up_is_not_the_events_fault(code: str) -> None:
    """An operator corrects it, and the relay publishes then; an immediate retry is useless."""
    entry_failed = ScriptedSns(failing("b", code, fault=True))
    call_failed = ScriptedSns(raising(error(code)))

    assert publish(entry_failed, events("ab")) == (
        {"id-b": PublishFailure(code, permanent=False, answered=True, shared=True)},
        [],
    )
    failures, waits = publish(call_failed, events("ab"))
    shared = PublishFailure(code, permanent=False, shared=True)
    assert failures == dict.fromkeys(("id-a", "id-b"), shared)
    assert waits == []
    assert len(call_failed.calls) == 1


def test_a_wrong_arn_in_the_settings_is_not_the_events_fault() -> None:
    """SNS reports an invalid parameter, as for an invalid event."""
    refusal = error("InvalidParameter", text="Invalid parameter: TopicArn Reason: no")
    client = ScriptedSns(raising(refusal))

    failures, _ = publish(client, events("ab"))

    assert not any(failure.permanent for failure in failures.values())
    assert len(client.calls) == 1


def test_throttling_is_tried_again_whosever_fault_it_is_called() -> None:
    """SNS may report it as the sender's fault."""
    client = ScriptedSns(failing("a", "ThrottledException", fault=True), success)

    assert publish(client, events("a")) == ({}, [0.1])


@pytest.mark.parametrize(
    "problem",
    [
        error("Throttling"),
        error("InternalFailure", 500),
        error("503", 503),
        error("SomethingNew"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1"),
        ReadTimeoutError(endpoint_url="http://127.0.0.1"),
        ConnectionResetError(),
        KeyError("junk"),
    ],
    ids=str,
)
def test_a_call_that_fails_as_a_whole_is_tried_again(problem: Exception) -> None:
    """A short fault costs a delay; a lasting one is reported, and nothing is raised."""
    recovering = ScriptedSns(raising(problem), success)
    down = ScriptedSns(raising(problem))

    assert publish(recovering, events("ab")) == ({}, [0.1])
    failures, waits = publish(down, events("ab"))
    assert failures.keys() == {"id-a", "id-b"}
    assert not any(failure.permanent for failure in failures.values())
    assert waits == [0.1, 0.2, 0.4]


@pytest.mark.parametrize("junk", [None, [], "text", {"Failed": [{}]}, {"Successful": 5}, {}])
def test_junk_for_an_answer_is_a_failure_to_be_tried_later(junk: Any) -> None:
    """A proxy may answer anything; only events that SNS names count as published."""
    client = ScriptedSns(lambda _: junk)

    failures, _ = publish(client, events("ab"))

    assert failures.keys() == {"id-a", "id-b"}
    assert not any(failure.permanent for failure in failures.values())
    assert len(client.calls) == MAX_ATTEMPTS


def test_while_the_topic_is_unavailable_the_rest_is_not_tried() -> None:
    """Only the first and the last call are; the outbox keeps the events."""
    client = ScriptedSns(raising(error("ServiceUnavailable", 503)))

    failures, _ = publish(client, [event(str(number)) for number in range(40)])

    assert len(failures) == 40
    assert len(client.calls) == MAX_MISSES * MAX_ATTEMPTS
    assert {call[0]["Message"] for call in client.calls} == {"0", "30"}


@pytest.mark.parametrize("whole_call", [False, True])
def test_refused_events_at_the_head_do_not_stand_for_the_topic(whole_call: bool) -> None:
    """The last call is tried before the topic is judged; then all others, in order."""
    bad = {str(number) for number in range(20)}

    def answer(entries: Entries) -> Any:
        failed = [entry for entry in entries if entry["Message"] in bad]
        if failed and whole_call:
            raise error("InternalError", 500)
        results = [{"Id": e["Id"], "Code": "InternalError", "SenderFault": False} for e in failed]
        return success([e for e in entries if e not in failed]) | {"Failed": results}

    client = ScriptedSns(answer)

    failures, _ = publish(client, [event(str(number)) for number in range(50)])

    assert failures.keys() == {f"id-{number}" for number in bad}
    assert {failure.answered for failure in failures.values()} == {not whole_call}
    good = [body for body in client.published if body not in bad]
    assert good == [str(n) for n in [*range(40, 50), *range(20, 40)]]


def test_a_topic_that_becomes_unavailable_ends_the_publication() -> None:
    """Earlier successes do not cause a hundred further calls with their delays."""
    client = ScriptedSns(success, raising(error("ServiceUnavailable", 503)))

    failures, _ = publish(client, [event(str(number)) for number in range(100)])

    assert len(failures) == 90
    assert len(client.calls) == 1 + MAX_MISSES * MAX_ATTEMPTS


@pytest.mark.parametrize(
    "refusal",
    [error("InvalidParameter"), error("ValidationError"), ParamValidationError(report="no")],
)
def test_a_refusal_that_names_no_item_is_narrowed_down(refusal: Exception) -> None:
    """One invalid event does not hold back nine others."""

    def answer(entries: Entries) -> Any:
        if any(entry["Message"] == "f" for entry in entries):
            raise refusal
        return success(entries)

    client = ScriptedSns(answer)

    failures, waits = publish(client, events("abcdefghij"))

    assert failures.keys() == {"id-f"}
    assert failures["id-f"].permanent
    assert waits == []
    assert len(client.calls) < 10


@pytest.mark.parametrize("body", ["x" * (MAX_CALL_BYTES - 30), "é" * 140_000, "\ud800"])
def test_a_message_that_no_call_can_carry_is_refused_alone(body: str) -> None:
    """Too large with its attributes, or invalid Unicode: the others are published."""
    client = ScriptedSns(success)

    failures, _ = publish(client, [event("a"), event(body, event_id="big"), event("b")])

    assert failures.keys() == {"big"}
    assert failures["big"].permanent
    assert client.published == ["a", "b"]


def test_a_reason_holds_nothing_of_the_event() -> None:
    """It goes to logs and to the outbox."""
    client = ScriptedSns(raising(error("InvalidParameter")))

    failures, _ = publish(client, [event("ada@example.com")])

    assert "ada" not in repr(list(failures.values()))


# --- the topic's ARN -----------------------------------------------------------------------


class ListingSns(ScriptedSns):
    """Has topics on two pages."""

    def __init__(self) -> None:
        super().__init__(success)
        self.listings = 0

    def get_paginator(self, name: str) -> ListingSns:
        """Return itself, for its only list."""
        assert name == "list_topics"
        return self

    def paginate(self) -> list[dict[str, Any]]:
        """Return two pages."""
        self.listings += 1
        arn = "arn:aws:sns:us-east-1:1:"
        return [
            {"Topics": [{"TopicArn": arn + "old-user-events"}, {"TopicArn": arn + "x"}]},
            {"Topics": [{"TopicArn": arn + "user-events"}]},
        ]


def test_a_topic_is_found_by_its_whole_name() -> None:
    """Not by the end of another name; an ARN needs no look-up; a missing one is an error."""
    client: Any = ListingSns()

    assert topic_arn(client, "user-events") == "arn:aws:sns:us-east-1:1:user-events"
    assert topic_arn(client, TOPIC) == TOPIC
    with pytest.raises(LookupError, match="topic events does not exist"):
        topic_arn(client, "events")


def test_a_topic_is_looked_up_at_the_first_publication_and_once() -> None:
    """A worker starts without SNS, and does not list topics for every batch."""
    client = ListingSns()
    publisher = SnsPublisher(client, "user-events")  # type: ignore[arg-type]
    assert client.listings == 0

    assert publisher.publish(events("a")) == {}
    assert publisher.publish(events("b")) == {}

    assert client.listings == 1
    assert client.published == ["a", "b"]


def test_events_wait_for_a_topic_that_is_not_there_yet() -> None:
    """Nothing is raised or given up; the next publication looks it up again."""
    client = ListingSns()
    waits: list[float] = []
    publisher = SnsPublisher(client, "of-nobody", sleep=waits.append)  # type: ignore[arg-type]

    for number in (1, 2):
        failures = publisher.publish(events("ab"))
        assert failures.keys() == {"id-a", "id-b"}
        assert not any(failure.permanent for failure in failures.values())
        assert client.listings == number
    assert waits == []
    assert client.calls == []

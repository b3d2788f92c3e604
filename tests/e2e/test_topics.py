"""Addresses reach subscribers of the personal topic only, whatever fails or crashes."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import boto3
import pytest

from application.event_topics import PAUSE
from application.messages import render_events
from application.ports import EventMessage
from application.repository import Outcome
from domain import commands as c
from domain.events import EVENTS
from tests.builders import register
from tests.chaos.workload import Workload
from tests.e2e.proxy import Denied, Exchange, Fault, FaultyProxy, Reset, Silence, Unavailable
from tests.e2e.system import System, event_ids, message
from tests.e2e.worker_process import eventually
from tests.reliability.invariants import Stored

EAGER = {"RELAY_AGE": "0.5", "RELAY_INTERVAL": "0.05"}
"""Settings of a relay that publishes after half a second."""
SIGNS_OF_AN_ADDRESS = ("@", "%40", "\\u0040", "&#64;", "&#x40;", "=40", "example.com", "example%2e")


@dataclass(slots=True)
class OfTopic:
    """A fault of the publications on one of the topics."""

    personal: bool
    fault: Fault
    hits: int = 0

    def strike(self, exchange: Exchange) -> None:
        """Apply the fault, or forward a publication on the other topic."""
        topic = exchange.asked.partition(b"TopicArn=")[2].partition(b"&")[0]
        if topic.endswith(b"-personal") is self.personal:
            self.hits += 1
            self.fault.strike(exchange)
        else:
            exchange.answer(exchange.forward())


def complete_messages(outcomes: Sequence[Outcome]) -> dict[str, EventMessage]:
    """Return the events of outcomes that belong on the personal topic, by id."""
    return {
        event.event_id: event
        for outcome in outcomes
        for event in render_events(outcome)
        if event.complete_body is not None
    }


def bodies_with_envelopes(system: System) -> str:
    """Subscribe a queue to the ordinary topic without raw delivery; return its URL.

    Its messages contain everything that SNS passes on, with all attributes.
    """
    sqs = system.queues.sqs
    fifo = {"FifoQueue": "true"} if system.topic_arn.endswith(".fifo") else {}
    name = f"whole-{system.topic_arn.rpartition(':')[2]}"
    url: str = sqs.create_queue(QueueName=name, Attributes=fifo)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    boto3.client("sns", endpoint_url=system.endpoint).subscribe(
        TopicArn=system.topic_arn, Protocol="sqs", Endpoint=arn["QueueArn"]
    )
    return url


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "fifo",
    [
        pytest.param(False, id="standard"),
        # on LocalStack the groups, one command at a time, take more than three minutes
        pytest.param(True, id="fifo", marks=pytest.mark.embedded),
    ],
)
def test_a_subscriber_of_the_ordinary_topic_receives_no_address(
    aws_endpoint: str, tmp_path: Any, *, fifo: bool
) -> None:
    """Every kind of command runs, and every received byte is searched.

    The personal topic has every event with an address, complete, and in the order of its user on a
    FIFO topic.
    """
    system = System.create(aws_endpoint, tmp_path, fifo=fifo)
    whole = bodies_with_envelopes(system)
    planned = Workload(1, datetime.now(UTC)).plan(55, 8)
    if fifo:
        for each in planned:
            system.queues.send(each.body, group=each.user_id or each.command_id)
    else:
        system.queues.send(*[each.body for each in planned])
    # on FIFO the relay leaves entries to the worker: what both publish has no order
    age = "30" if fifo else "1"
    with system.worker(RELAY_AGE=age, RELAY_INTERVAL="0.2", REGISTRATION_GRACE="1"):
        eventually(system.queues.empty, 180, "an empty queue")
        eventually(lambda: not system.outbox.status().pending, 60, "an empty outbox")
    table = boto3.client("dynamodb", endpoint_url=aws_endpoint)
    pages = table.get_paginator("scan").paginate(TableName=system.names.table, ConsistentRead=True)
    stored = Stored.read([item for page in pages for item in page["Items"]])
    accepted = {o.command_type for o in stored.decided if o.status.value == "accepted"}
    assert c.COMMANDS.keys() <= accepted or not fifo  # order decides which are accepted

    for received in (system.bodies(whole), system.bodies(system.events_url)):
        system._events += [json.loads(body) for body in received if '"Message"' not in body]
        assert received
        for body in received:
            assert not [sign for sign in SIGNS_OF_AN_ADDRESS if sign in body.lower()], body
    assert {event["id"] for event in system.events()} >= event_ids(stored.decided)

    complete = complete_messages(stored.decided)
    events = system.complete_events()
    by_id = {event["id"]: event for event in events}
    assert {id_: json.loads(each.complete_body or "") for id_, each in complete.items()} == {
        id_: by_id[id_] for id_ in complete
    }
    personal = {kind for kind, event in EVENTS.items() if "email" in str(event.__annotations__)}
    assert {event["type"] for event in events} <= personal
    if fifo:
        assert {event["type"] for event in events} == personal
        for user in {event["subject"] for event in events}:
            sequences = [event["sequence"] for event in by_id.values() if event["subject"] == user]
            assert sequences == sorted(sequences)
    system.queues.sqs.delete_queue(QueueUrl=whole)
    system.delete()


@pytest.mark.parametrize("personal", [False, True], ids=["ordinary", "personal"])
def test_a_crash_between_both_publications_repeats_both(system: System, *, personal: bool) -> None:
    """Another worker's relay publishes the event on both topics, with the same id.

    The first worker is killed while one topic does not answer and the other has the event.
    """
    user = str(uuid4())
    registration = message(register(user), user)
    with FaultyProxy(system.endpoint) as proxy:
        held = proxy.inject(OfTopic(personal, Silence()), "PublishBatch")
        with system.worker(endpoint=proxy.url, RELAY_AGE="3600") as worker:
            system.send(registration)
            outcomes = system.outcomes([registration])
            eventually(lambda: held.hits, what="a publication that waits")
            other = system.events if personal else system.complete_events
            eventually(lambda: len(other()) == 1, what="the event of the other topic")
            worker.send_signal(signal.SIGKILL, group=True)
            worker.process.wait(10)
    system.renew_queues()
    assert (len(system.events()), len(system.complete_events())) == (personal, not personal)
    with system.worker(**EAGER):
        eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
        eventually(lambda: len(system.events()) == 1 + personal, what="the ordinary events")
        eventually(lambda: len(system.complete_events()) == 2 - personal, what="complete events")
    assert {event["id"] for event in system.events()} == event_ids(outcomes)
    [complete] = complete_messages(outcomes).values()
    assert system.complete_events() == [json.loads(complete.complete_body or "")] * (2 - personal)


@pytest.mark.parametrize(
    "fault", [Unavailable(), Denied(), Reset()], ids=lambda f: type(f).__name__
)
@pytest.mark.parametrize("personal", [False, True], ids=["ordinary", "personal"])
def test_a_topic_that_fails_does_not_stop_the_other(
    system: System, fault: Fault, *, personal: bool
) -> None:
    """Its events wait in the outbox, unparked, and are published once it works again."""
    users = [str(uuid4()) for _ in range(3)]
    with FaultyProxy(system.endpoint) as proxy:
        outage = proxy.inject(OfTopic(personal, fault), "PublishBatch")
        with system.worker(endpoint=proxy.url, **EAGER):
            registered = system.do(*(message(register(user), user) for user in users))
            roles = [message(c.AssignRole("admin"), user) for user in users]
            assigned = system.do(*roles)
            if personal:
                system.published([*registered, *assigned])
                assert system.complete_events() == []
            else:
                eventually(lambda: len(system.complete_events()) >= 3, what="addresses for mailers")
                assert system.events() == []
            hits = outage.hits
            eventually(lambda: outage.hits > hits + 8, 60, "further attempts")
            status = system.outbox.status()
            assert status.pending
            assert not status.parked
            proxy.clear()
            system.published([*registered, *assigned])
            eventually(
                lambda: (
                    complete_messages(registered).keys()
                    <= {event["id"] for event in system.complete_events()}
                ),
                what="the complete events",
            )
            eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
    # the relay may begin before a batch knows what was accepted; then nothing is repeated
    other = system.events() if personal else system.complete_events()
    assert max(Counter(event["id"] for event in other).values()) <= 2


def test_a_personal_topic_that_does_not_answer_is_seldom_called(system: System) -> None:
    """Each batch and each pass of the relay would wait for its timeout, with all their events."""
    users = [str(uuid4()) for _ in range(8)]
    with FaultyProxy(system.endpoint) as proxy:
        outage = OfTopic(personal=True, fault=Silence())
        proxy.inject(outage, "PublishBatch")
        with system.worker(endpoint=proxy.url, **EAGER):
            system.published(system.do(message(register(users[0]), users[0])))
            eventually(lambda: outage.hits, what="a publication without an answer")
            began = time.monotonic()
            for user in users[1:]:
                system.published(system.do(message(register(user), user)))
            taken = time.monotonic() - began
            # a batch and the relay may be waiting already, and both call again after each pause
            assert outage.hits <= 2 + 2 * (taken // PAUSE + 1) < len(users)
            proxy.clear()
            eventually(lambda: len(system.complete_events()) >= len(users), 40, "the addresses")
            eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
            assert not system.outbox.status().parked

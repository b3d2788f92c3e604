"""kill -9 between commit and publish: another worker's relay publishes the committed events."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from uuid import uuid4

import pytest

from application.repository import Outcome
from domain import commands as c
from tests.builders import register
from tests.e2e.proxy import FaultyProxy, LostAnswer, Silence
from tests.e2e.system import PREFORK, THREADS, Message, System, decided, event_ids, message
from tests.e2e.worker_process import eventually

EAGER = {"RELAY_AGE": "0.5", "RELAY_INTERVAL": "0.05"}
"""Settings of a relay that publishes after half a second."""
POOLS = pytest.mark.parametrize("options", [PREFORK, THREADS], ids=["prefork", "threads"])


def killed_before_it_published(
    system: System, options: Sequence[str], messages: Sequence[Message]
) -> list[Outcome]:
    """Kill all processes of a worker that has committed the commands and not yet published.

    The queue is replaced, so that no command can be delivered again. Return their outcomes.
    """
    system.send(*messages)  # before a worker starts, so that they are one batch
    with FaultyProxy(system.endpoint) as proxy:
        held = proxy.inject(Silence(), "PublishBatch")
        with system.worker(options, endpoint=proxy.url, RELAY_AGE="3600") as worker:
            outcomes = system.outcomes(messages, seconds=30)
            eventually(lambda: held.hits, what="a publication under way")
            worker.send_signal(signal.SIGKILL, group=True)
            worker.process.wait(10)
    assert system.queues.depth() == (0, len(messages))  # received, and never acknowledged
    system.renew_queues()
    return outcomes


@POOLS
def test_what_was_committed_is_published_by_another_workers_relay(
    system: System, options: tuple[str, ...]
) -> None:
    """The events have the same ids. The commands are not delivered again: their queue is gone."""
    users = [str(uuid4()) for _ in range(10)]
    messages = [message(register(user), user) for user in users]
    outcomes = killed_before_it_published(system, options, messages)
    assert system.events() == []
    assert system.outbox.status().pending >= 1

    with system.worker(**EAGER) as worker:
        worker.ready()
        told = system.published(outcomes)
        eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
        assert {event["id"] for event in told} == event_ids(outcomes)
        assert [event["type"] for event in told] == ["biome.user.UserRegistered.v1"] * 10
        assert {event["subject"] for event in told} == set(users)
        assert decided(worker) == []  # it received no command

        system.send(*messages)  # a later delivery changes nothing
        system.quiet()
        assert {line["outcome"] for line in decided(worker)} == {"duplicate", "accepted"}
        for sent, outcome in zip(messages, outcomes, strict=True):
            assert system.caused_by(sent) == event_ids([outcome])


def test_a_publication_whose_answer_was_lost_is_repeated_with_the_same_ids(system: System) -> None:
    """Subscribers may get an event twice, with one id; its pointer is deleted after publishing."""
    user = str(uuid4())
    registration = message(register(user), user)
    with FaultyProxy(system.endpoint) as proxy:
        proxy.inject(LostAnswer(), "PublishBatch", times=3)
        with system.worker(endpoint=proxy.url, **EAGER) as worker:
            worker.ready()
            outcomes = system.do(registration)
            system.published(outcomes)
            eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
            system.quiet()
            assert system.caused_by(registration) == event_ids(outcomes)
            assert max(system.publications().values()) > 1


def test_a_pointer_that_could_not_be_deleted_is_worked_off_again(system: System) -> None:
    """The events are published but the pointer is left: the relay publishes and deletes again."""
    user = str(uuid4())
    with FaultyProxy(system.endpoint) as proxy:
        left = proxy.inject(Silence(), "DeleteItem")
        with system.worker(endpoint=proxy.url, RELAY_AGE="3600") as worker:
            worker.ready()
            outcomes = system.do(message(register(user), user))
            system.published(outcomes)
            eventually(lambda: left.hits, what="the pointer's deletion under way")
            worker.send_signal(signal.SIGKILL, group=True)
            worker.process.wait(10)
    assert system.outbox.status().pending == 1
    with system.worker(**EAGER) as worker:
        worker.ready()
        eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
    assert {event["id"] for event in system.events()} == event_ids(outcomes)


def test_a_scrub_that_a_crash_left_is_finished_by_another_workers_relay(system: System) -> None:
    """An erased user's data is removed from stored events although the worker died."""
    user = str(uuid4())
    with system.worker(RELAY_AGE="3600") as worker:  # whose relay never runs
        worker.ready()
        system.do(message(register(user), user))
        system.do(message(c.EraseUser(), user))
        worker.send_signal(signal.SIGKILL, group=True)
        worker.process.wait(10)
    address = f"{user}@example.com"

    def stored() -> str:
        return repr(system.repository.history(user))

    assert address in stored()
    with system.worker(**EAGER) as worker:
        worker.ready()
        eventually(lambda: system.outbox.status().pending == 0, what="an empty outbox")
    assert address not in stored()
    assert address not in repr(system.repository.get(user))
    assert len(system.repository.history(user)) == 2
    assert system.load(addresses={address}).addresses == {}

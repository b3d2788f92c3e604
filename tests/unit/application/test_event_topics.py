"""Events with personal fields on two topics: what each receives, and what a failure concerns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from threading import Barrier

import pytest
from structlog.testing import capture_logs

from application import event_topics
from application.event_topics import PAUSE, SLOW, EventTopics
from application.ports import EventMessage, EventPublisher, PublishFailure, TopicKind

REJECTED = PublishFailure("InvalidParameter", permanent=True)
DOWN = PublishFailure("ServiceUnavailable", permanent=False)
DENIED = PublishFailure("AuthorizationError", permanent=False, shared=True)


class Topic(EventPublisher):
    """A topic that keeps the bodies of its events, and can fail."""

    def __init__(self) -> None:
        """Accept everything."""
        self.bodies: list[str] = []
        self.calls = 0
        self.fails: PublishFailure | Exception | None = None
        self.fails_of: dict[str, PublishFailure] = {}
        """By event id."""
        self.on_publish: Callable[[], object] = lambda: None

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Fail as set, or keep the events."""
        self.calls += 1
        self.on_publish()
        if isinstance(self.fails, Exception):
            raise self.fails
        if self.fails is not None:
            return dict.fromkeys((each.event_id for each in messages), self.fails)
        self.bodies += [each.body for each in messages if each.event_id not in self.fails_of]
        ids = {each.event_id for each in messages}
        return {id_: failure for id_, failure in self.fails_of.items() if id_ in ids}


class World:
    """Both topics, and a clock."""

    def __init__(self) -> None:
        """Start with topics that accept everything."""
        self.now = 1000.0
        self.ordinary, self.personal = Topic(), Topic()
        self.topics = self.another_process()

    def another_process(self) -> EventTopics:
        """Return a publisher that remembers nothing, as after a crash."""
        return EventTopics(self.ordinary, self.personal, clock=lambda: self.now)

    def publish(self, *messages: EventMessage) -> dict[str, PublishFailure]:
        """Publish."""
        return self.topics.publish(messages)

    @property
    def received(self) -> tuple[list[str], list[str]]:
        """The events that each topic has received: the ordinary one, then the personal one."""
        return self.ordinary.bodies, self.personal.bodies


@pytest.fixture
def world() -> World:
    """Two topics."""
    return World()


def event(name: str, *, personal: bool = False) -> EventMessage:
    """Return an event; with `personal`, it has a complete body."""
    body = f"{name} complete" if personal else None
    return EventMessage(name, "user", name, "type", "profile", "/test", body)


PLAIN, MAIL, OTHER_MAIL = event("plain"), event("mail", personal=True), event("o", personal=True)


def test_each_topic_receives_its_bodies_in_order(world: World) -> None:
    """The ordinary topic receives all events, the personal one those with personal fields."""
    assert world.publish(MAIL, PLAIN, OTHER_MAIL) == {}
    assert world.received == (["mail", "plain", "o"], ["mail complete", "o complete"])
    assert (world.ordinary.calls, world.personal.calls) == (1, 1)


def test_both_topics_are_called_at_the_same_time(world: World) -> None:
    """A batch of registrations waits for the slower topic, and not for the sum of both."""
    together = Barrier(2, timeout=10)
    world.ordinary.on_publish = world.personal.on_publish = together.wait
    assert world.publish(MAIL) == {}


@pytest.mark.parametrize("parallel", [True, False])
def test_without_another_thread_both_topics_are_called(
    monkeypatch: pytest.MonkeyPatch, *, parallel: bool
) -> None:
    """A process that ends, or that may not have more threads, still publishes."""

    def refuse(*_: object) -> None:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    world = World()
    world.topics = EventTopics(world.ordinary, world.personal, parallel=parallel)
    assert world.publish(MAIL, PLAIN) == {}
    assert world.received == (["mail", "plain"], ["mail complete"])


def test_the_context_of_a_trace_reaches_both_topics(world: World) -> None:
    """The calls of both are part of the batch's span."""
    span: ContextVar[str] = ContextVar("span")
    seen: list[str] = []
    world.ordinary.on_publish = world.personal.on_publish = lambda: seen.append(span.get())
    span.set("batch")
    world.publish(MAIL)
    assert seen == ["batch", "batch"]


def test_events_without_personal_fields_cost_no_second_call(world: World) -> None:
    """Nor does the personal topic's state matter to them."""
    world.personal.fails = RuntimeError()
    assert world.publish(PLAIN) == {}
    assert world.personal.calls == 0


ANY_FAILURE = [REJECTED, DOWN, DENIED, RuntimeError("ada@example.com")]


@pytest.mark.parametrize("failure", ANY_FAILURE, ids=str)
def test_a_failure_of_the_personal_topic_concerns_events_with_personal_fields_only(
    world: World, failure: PublishFailure | Exception
) -> None:
    """The failure names the topic; another attempt repeats the personal topic only."""
    world.personal.fails = failure
    with capture_logs() as lines:
        failures = world.publish(PLAIN, MAIL)

    assert failures.keys() == {"mail"}
    assert failures["mail"].topic is TopicKind.PERSONAL
    assert failures["mail"].reason.startswith("personal topic: ")
    assert "@" not in failures["mail"].reason
    assert [line["topic"] for line in lines] == ["personal"] * isinstance(failure, Exception)
    world.personal.fails = None
    assert world.publish(MAIL) == {}
    assert world.received == (["plain", "mail"], ["mail complete"])


@pytest.mark.parametrize("failure", ANY_FAILURE, ids=str)
def test_a_failure_of_the_ordinary_topic_does_not_keep_addresses_from_mailers(
    world: World, failure: PublishFailure | Exception
) -> None:
    """No event counts as published; another attempt repeats the ordinary topic only."""
    world.ordinary.fails = failure
    failures = world.publish(PLAIN, MAIL)
    assert failures.keys() == {"plain", "mail"}
    assert {each.topic for each in failures.values()} == {TopicKind.ORDINARY}
    world.ordinary.fails = None
    assert world.publish(PLAIN, MAIL) == {}
    assert world.received == (["plain", "mail"], ["mail complete"])


@pytest.mark.parametrize("topic", TopicKind)
def test_after_a_crash_both_publications_are_repeated(world: World, topic: TopicKind) -> None:
    """A new process does not know that one topic has accepted an event."""
    failing = world.ordinary if topic is TopicKind.ORDINARY else world.personal
    failing.fails = DOWN
    assert world.publish(MAIL)
    failing.fails = None
    world.topics = world.another_process()
    assert world.publish(MAIL) == {}
    twice = 1 if topic is TopicKind.ORDINARY else 2
    assert world.received == (["mail"] * twice, ["mail complete"] * (3 - twice))


def test_a_published_event_is_forgotten(world: World) -> None:
    """If it is published again, for example because its entry was not closed, both receive it."""
    world.personal.fails = DOWN
    world.publish(MAIL)
    world.personal.fails = None
    assert world.publish(MAIL) == world.publish(MAIL) == {}
    assert world.received == (["mail"] * 2, ["mail complete"] * 2)


def test_events_of_one_call_fail_one_by_one(world: World) -> None:
    """Each topic may refuse another event."""
    world.ordinary.fails_of = {"mail": REJECTED}
    world.personal.fails_of = {"o": DOWN}
    failures = world.publish(PLAIN, MAIL, OTHER_MAIL)
    assert {id_: failure.topic.value for id_, failure in failures.items()} == {
        "mail": "ordinary",
        "o": "personal",
    }
    assert world.received == (["plain", "o"], ["mail complete"])


@pytest.mark.parametrize(
    ("ordinary", "personal", "permanent"),
    [
        (REJECTED, DOWN, False),
        (DOWN, REJECTED, False),
        (DOWN, DENIED, False),
        (REJECTED, REJECTED, True),
    ],
)
def test_an_event_that_one_topic_may_still_accept_is_repeated(
    world: World, ordinary: PublishFailure, personal: PublishFailure, permanent: bool
) -> None:
    """Only if no topic can accept it, its failure is permanent."""
    world.ordinary.fails, world.personal.fails = ordinary, personal
    assert world.publish(MAIL)["mail"].permanent is permanent


def test_a_personal_topic_that_does_not_answer_is_not_called_for_some_time(world: World) -> None:
    """Otherwise each batch would wait for its timeouts, and the ordinary events with it."""

    def hang() -> None:
        world.now += SLOW

    world.personal.on_publish, world.personal.fails = hang, DOWN
    world.publish(MAIL)
    before = world.now
    failures = world.publish(PLAIN, MAIL, OTHER_MAIL)
    assert world.now == before
    assert world.personal.calls == 1
    assert failures.keys() == {"mail", "o"}
    assert all(each.shared and not each.permanent for each in failures.values())

    world.now += PAUSE
    world.personal.fails = None
    assert world.publish(MAIL, OTHER_MAIL) == {}
    assert world.received[1] == ["mail complete", "o complete"]


def test_a_slow_topic_that_accepts_events_is_called_again(world: World) -> None:
    """It is slow, but it works."""

    def slow() -> None:
        world.now += SLOW

    world.personal.on_publish, world.personal.fails_of = slow, {"o": DOWN}
    world.publish(MAIL, OTHER_MAIL)
    world.publish(OTHER_MAIL)
    assert world.personal.calls == 2


def test_an_error_at_once_does_not_pause_the_topic(world: World) -> None:
    """One event may be the cause, and the relay finds it by further calls."""
    world.personal.fails = RuntimeError()
    world.publish(MAIL)
    world.publish(OTHER_MAIL)
    assert world.personal.calls == 2


def test_the_memory_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten event is only published again."""
    monkeypatch.setattr(event_topics, "REMEMBERED", 3)
    world.personal.fails = DOWN
    for number in range(9):
        world.publish(event(f"mail{number}", personal=True))
    assert len(world.topics._accepted) <= 4
    world.personal.fails = None
    assert world.publish(*(event(f"mail{number}", personal=True) for number in range(9))) == {}
    assert len(world.personal.bodies) == 9
    assert world.topics._accepted == {}

"""The channel, used like by Celery's consumer: kombu's own `Connection` and a fake queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery.signals import worker_shutting_down
from kombu.asynchronous import Hub
from kombu.connection import Connection
from structlog.testing import capture_logs

from adapters.sqs.command_queue import QueueMissingError
from application.disposition import Ack, DeadLetter, Dispositions
from worker.transport import ALIAS
from worker.transport.channel import BatchMessage, Channel

from .test_transport_in_flight import raw
from .test_transport_threads import FakeQueue


@dataclass
class Consumer:
    """A consumer of some queues that keeps its batches."""

    connection: Connection
    channel: Channel
    queues: dict[str, FakeQueue]
    messages: list[BatchMessage] = field(default_factory=list)

    def consume(self, prefetch: int) -> None:
        """Start consuming."""
        self.channel.basic_qos(0, prefetch)
        for number, name in enumerate(self.queues):
            self.channel.basic_consume(name, False, self._keep, f"{number}")

    def _keep(self, message: BatchMessage) -> None:
        self.messages.append(message)

    def until(self, look: Callable[[], object]) -> None:
        """Drain events until a condition holds."""
        deadline = time.monotonic() + 10
        while not look():
            assert time.monotonic() < deadline
            try:
                self.connection.drain_events(timeout=0.05)
            except TimeoutError:
                continue

    def order(self) -> str:
        """The receipts of its batches, in order."""
        return " ".join(m.payload["args"][0][0]["message_id"][-2:] for m in self.messages)


@pytest.fixture
def consumers() -> Iterator[Callable[..., Consumer]]:
    """Create consumers, and close them after the test."""
    made: list[Consumer] = []

    def make(
        priority: str | None = None,
        batch_wait: float = 0.0,
        batch_size: int = 1,
        **queues: FakeQueue,
    ) -> Consumer:
        options = {
            "command_queue_factory": queues.__getitem__,
            "visibility_timeout": 60,
            "wait_seconds": 1,
            "batch_size": batch_size,
            "batch_wait": batch_wait,
            "priority_queue": priority,
        }
        connection = Connection(f"{ALIAS}://", transport_options=options)
        channel: Any = connection.default_channel
        made.append(Consumer(connection, channel, queues))
        return made[-1]

    yield make
    for consumer in made:
        consumer.connection.release()


def test_celery_never_holds_more_batches_than_it_asked_for(
    consumers: Callable[..., Consumer],
) -> None:
    """The rest waits in the transport, where a shutdown can release it."""
    consumer = consumers(q=FakeQueue([[raw(f"{n}")] for n in range(6)]))
    consumer.consume(prefetch=2)
    consumer.until(lambda: len(consumer.messages) == 2)
    consumer.until(lambda: len(consumer.channel._queue_consumers["q"].buffer) == 2)
    assert len(consumer.messages) == 2
    consumer.messages[0].ack()
    assert len(consumer.messages) == 3


def full(mark: str, batches: int = 9) -> FakeQueue:
    """Return a queue with waiting batches of one message each."""
    return FakeQueue([[raw(f"{mark}{n}")] for n in range(batches)])


def buffered(consumer: Consumer) -> dict[str, int]:
    """Return the number of batches in each queue's buffer."""
    queues = consumer.channel._queue_consumers
    return {name: len(each.buffer) for name, each in queues.items()}


def fill(consumer: Consumer, prefetch: int, batches: int) -> None:
    """Fill each buffer with so many batches, before the first one is delivered."""
    consumer.channel._shut = True
    consumer.consume(prefetch)
    consumer.until(lambda: min(buffered(consumer).values()) >= batches)
    consumer.channel._shut = False


def test_the_priority_queue_goes_first_without_starving_the_other(
    consumers: Callable[..., Consumer],
) -> None:
    """After four batches of the priority queue in a row comes one of the other queue."""
    consumer = consumers(normal=full("n"), urgent=full("u"), priority="urgent")
    fill(consumer, prefetch=9, batches=5)
    consumer.channel.deliver()
    assert consumer.order() == "u0 u1 u2 u3 n0 u4 n1 n2 n3"


def test_the_other_queues_are_served_in_turn(consumers: Callable[..., Consumer]) -> None:
    """A queue without waiting batches loses nothing and is served next when one arrives."""
    consumer = consumers(a=full("a"), b=full("b"), c=full("c"))
    fill(consumer, prefetch=6, batches=2)
    consumer.channel.deliver()
    assert consumer.order() == "a0 b0 c0 a1 b1 c1"


def test_full_queues_share_the_buffer(consumers: Callable[..., Consumer]) -> None:
    """Otherwise each batch would wait for those of all queues, invisible to other workers.

    A receive in progress may exceed the share: each queue has three receivers.
    """
    names = "abcdefgh"
    consumer = consumers(**{name: full(name, 40) for name in names})
    fill(consumer, prefetch=8, batches=1)
    time.sleep(0.3)
    assert sum(buffered(consumer).values()) <= 8 + 3 * len(names)
    assert max(buffered(consumer).values()) <= 1 + 3


def test_an_empty_queue_leaves_its_share_to_the_others(
    consumers: Callable[..., Consumer],
) -> None:
    """One queue alone may use the whole buffer, so that many queues do not slow it down."""
    consumer = consumers(a=full("a", 40), b=FakeQueue(), c=FakeQueue())
    consumer.channel._shut = True
    consumer.consume(prefetch=8)
    consumer.until(lambda: buffered(consumer)["a"] >= 8)
    assert buffered(consumer) == {"a": buffered(consumer)["a"], "b": 0, "c": 0}


@pytest.mark.parametrize(
    "error",
    [QueueMissingError("no queue", "QueueDoesNotExist"), KeyError("junk"), RuntimeError("denied")],
)
def test_a_queue_that_fails_does_not_stop_the_others(
    error: Exception, consumers: Callable[..., Consumer]
) -> None:
    """From the start or later; once it answers again, it is served again."""
    late = FakeQueue([[raw("l0")], *[error] * 3, [raw("l1")]])
    early = FakeQueue([*[error] * 3, [raw("e0")]])
    consumer = consumers(early=early, good=full("g"), late=late)
    with capture_logs() as logs:
        consumer.consume(prefetch=20)
        consumer.until(lambda: len(consumer.messages) == 10)
        assert {f"g{n}" for n in range(9)} | {"l0"} == {*consumer.order().split()}
        failing = [issue for issue in consumer.channel.readiness_issues() if "answer" in issue]
        assert "queue early: SQS does not answer" in failing
        consumer.until(lambda: len(consumer.messages) == 12)
    assert {"e0", "l1"} == {*consumer.order().split()[10:]}
    failed = [line["queue"] for line in logs if line["event"] == "receiving_failed"]
    assert sorted(failed) == ["early", "late"]


def test_a_queue_whose_breaker_is_open_does_not_stop_the_others(
    consumers: Callable[..., Consumer],
) -> None:
    """Each queue has its own breaker: only for one of them the store does not answer."""
    consumer = consumers(a=full("a"), b=full("b"))
    consumer.consume(prefetch=1)
    while len(consumer.queues["b"].settled) < 9:
        consumer.until(lambda: consumer.messages or len(consumer.queues["b"].settled) == 9)
        while consumer.messages:
            message = consumer.messages.pop()
            items = (Ack(),) * len(message.payload["args"][0])
            answered = message.delivery_info["routing_key"] == "b"
            message.give_result(repr(Dispositions(items, store=answered)))
            message.ack()
    states = {
        name: each.breaker.readiness_issue
        for name, each in consumer.channel._queue_consumers.items()
    }
    assert states == {"a": "the store is unavailable", "b": None}


def test_a_cancelled_queue_does_not_stop_the_others(consumers: Callable[..., Consumer]) -> None:
    """Its waiting batches are released, and no further batch of it starts."""
    consumer = consumers(a=full("a"), b=full("b"))
    fill(consumer, prefetch=4, batches=2)
    consumer.channel.basic_cancel("0")
    consumer.until(lambda: buffered(consumer)["a"] == 0)
    consumer.channel.deliver()
    consumer.until(lambda: len(consumer.messages) == 4)
    assert consumer.order() == "b0 b1 b2 b3"
    assert ("a0", "visible in 0") in consumer.queues["a"].settled


def test_a_result_is_carried_out_and_nothing_else_is(consumers: Callable[..., Consumer]) -> None:
    """One disposition per message."""
    queue = FakeQueue([[raw("a"), raw("b")]])
    consumer = consumers(q=queue)
    consumer.consume(prefetch=1)
    consumer.until(lambda: consumer.messages)
    consumer.messages[0].give_result(repr(Dispositions((Ack(), DeadLetter("Malformed", "-")))))
    consumer.messages[0].ack()
    consumer.until(lambda: len(queue.settled) == 3)
    assert sorted(queue.settled) == [("a", "deleted"), ("b", "dead-lettered"), ("b", "deleted")]


@pytest.mark.parametrize(
    "result", [None, "", "junk", "[]", "{}", '[["done"],["done"]]', '[["done"]', '[["gone"]]']
)
def test_without_a_readable_result_the_batch_is_visible_again(
    result: str | None, consumers: Callable[..., Consumer]
) -> None:
    """Missing, too long, truncated, unknown: nothing is deleted, and nothing is sent again."""
    queue = FakeQueue([[raw("a")]])
    consumer = consumers(q=queue)
    consumer.consume(prefetch=1)
    consumer.until(lambda: consumer.messages)
    with capture_logs() as logs:
        if result is not None:
            consumer.messages[0].give_result(result)
        consumer.messages[0].ack()
    consumer.until(lambda: queue.settled)
    assert queue.settled == [("a", "visible in 0")]
    assert logs[-1]["event"] == "batch_unsettled"


@pytest.mark.parametrize("requeue", [True, False])
def test_a_rejected_batch_is_visible_again(
    requeue: bool, consumers: Callable[..., Consumer]
) -> None:
    """Kombu's own virtual transports would send it again, or drop it."""
    queue = FakeQueue([[raw("a")]])
    consumer = consumers(q=queue)
    consumer.consume(prefetch=1)
    consumer.until(lambda: consumer.messages)
    consumer.messages[0].reject(requeue=requeue)
    consumer.until(lambda: queue.settled)
    assert queue.settled == [("a", "visible in 0")]


def test_nothing_starts_after_the_signal(consumers: Callable[..., Consumer]) -> None:
    """This includes a batch that waits for a free slot."""
    queue = FakeQueue([[raw("a")], [raw("b")]])
    consumer = consumers(q=queue)
    consumer.consume(prefetch=1)
    consumer.until(lambda: consumer.messages)
    consumer.until(lambda: len(consumer.channel._queue_consumers["q"].buffer) == 1)
    worker_shutting_down.send(sender="test", sig="SIGTERM", how="Warm", exitcode=0)
    consumer.messages[0].give_result(repr(Dispositions((Ack(),))))
    consumer.messages[0].ack()
    consumer.until(lambda: len(queue.settled) == 2)
    assert sorted(queue.settled) == [("a", "deleted"), ("b", "visible in 0")]
    assert len(consumer.messages) == 1


def test_it_sends_nothing(consumers: Callable[..., Consumer]) -> None:
    """Monitoring events have no destination; sending a task is an error, not a loss."""
    channel = consumers(q=FakeQueue()).channel
    channel.basic_publish({}, exchange="celeryev", routing_key="worker.heartbeat")
    with pytest.raises(NotImplementedError, match="can only receive"):
        channel.basic_publish({}, exchange="", routing_key="q")


def test_what_celery_might_print_of_a_message_shows_no_body(
    consumers: Callable[..., Consumer],
) -> None:
    """Its body is empty; its headers and its payload's `repr` contain counts only."""
    consumer = consumers(q=FakeQueue([[raw("a", body="the-body")]]))
    consumer.consume(prefetch=1)
    consumer.until(lambda: consumer.messages)
    [message] = consumer.messages
    assert message.payload["args"][0][0]["body"] == "the-body"
    for text in (repr(message), repr(message.body), repr(message.headers), repr(message.payload)):
        assert "the-body" not in text
    message.ack()


def test_a_batch_is_delivered_when_its_wait_ends(consumers: Callable[..., Consumer]) -> None:
    """No message has to arrive for it: here without an event loop."""
    consumer = consumers(q=FakeQueue([[raw("a0")], [raw("a1")]]), batch_wait=0.5, batch_size=20)
    began = time.monotonic()
    consumer.consume(prefetch=2)
    consumer.until(lambda: consumer.messages)
    assert 0.5 <= time.monotonic() - began < 3
    assert len(consumer.messages[0].payload["args"][0]) == 2


def test_a_batch_is_delivered_by_the_event_loop_when_its_wait_ends(
    consumers: Callable[..., Consumer],
) -> None:
    """As with Celery's pools; a second batch that starts full does not confuse the timer."""
    many = [raw(f"b{n}") for n in range(10)]
    queue = FakeQueue([[raw("a0")]])
    consumer = consumers(q=queue, batch_wait=0.3, batch_size=10)
    hub = Hub()
    consumer.connection.transport.register_with_event_loop(consumer.connection.connection, hub)
    consumer.consume(prefetch=9)

    def turn_until(count: int) -> float:
        began = time.monotonic()
        while len(consumer.messages) < count:
            assert time.monotonic() - began < 10
            next(hub.loop)
        return time.monotonic() - began

    assert turn_until(1) >= 0.25
    queue.answers += [many, [raw("c0")]]
    turn_until(3)
    sizes = [len(message.payload["args"][0]) for message in consumer.messages]
    assert sizes == [1, 10, 1]
    queue.answers.append([raw("d0")])
    turn_until(4)
    hub.close()


def test_a_batch_that_waits_holds_up_no_other_queue(consumers: Callable[..., Consumer]) -> None:
    """It takes no turn and no place; the priority queue's batches never wait."""
    full = [raw(f"f{n}") for n in range(10)]
    queues = {"waiting": FakeQueue([[raw("w0")]]), "full": FakeQueue(), "urgent": FakeQueue()}
    consumer = consumers(priority="urgent", batch_wait=30, batch_size=10, **queues)
    consumer.consume(prefetch=2)
    consumer.until(lambda: buffered(consumer)["waiting"] == 1)
    queues["urgent"].answers.append([raw("u0")])
    consumer.until(lambda: len(consumer.messages) == 1)
    queues["full"].answers.append(full)
    consumer.until(lambda: len(consumer.messages) == 2)
    assert consumer.order() == "u0 f0"
    assert buffered(consumer)["waiting"] == 1
    assert not list(consumer.channel.readiness_issues())


def test_a_shutdown_signal_releases_a_batch_that_waits(
    consumers: Callable[..., Consumer],
) -> None:
    """Nothing starts, and the messages are visible long before the wait would have ended."""
    queue = FakeQueue([[raw("a0")]])
    consumer = consumers(q=queue, batch_wait=30, batch_size=10)
    consumer.consume(prefetch=2)
    consumer.until(lambda: buffered(consumer)["q"] == 1)
    worker_shutting_down.send(sender="test")
    consumer.until(lambda: queue.settled == [("a0", "visible in 0")])
    assert consumer.messages == []

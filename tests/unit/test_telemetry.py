from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from adapters import aws
from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from adapters.observing import NO_UNITS, consumed, observe, target_of
from domain.commands import COMMANDS
from domain.ports import EventMessage, JobKind, Outcome, Pointer, PublishFailure
from tests import canaries
from tests.builders import NOW, PASSWORD, message, uid
from tests.emitted import nothing_personal
from tests.unit.adapters.scripted_aws import CALLS, scripted_aws
from worker.batch import BatchHandler, BatchPolicy, Ports
from worker.messages import MessageParser, render_command, render_events
from worker.settlement import Dead, Done, Later, ReceivedMessage, Settlements
from worker.telemetry import instruments
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind
from worker.telemetry.names import short_name
from worker.telemetry.queue import WatchedQueue
from worker.telemetry.sdk import SdkMeter
from worker.telemetry.tracing import Tracing
from worker.telemetry.watching import OUTBOX_SHARDS, Watching
from worker.transport.port import DeadLetter

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PRODUCER = f"00-{TRACE}-{PARENT}-01"


class Clock:
    """A clock that stands."""

    def now(self) -> Any:
        """Give the one time."""
        return NOW


class Topic(MemoryEventPublisher):
    """A topic that can be away."""

    away = False

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Publish, or refuse all."""
        if self.away:
            return {m.event_id: PublishFailure("Throttled", permanent=False) for m in messages}
        return super().publish(messages)


class World:
    """A handler that is watched, and what it tells."""

    def __init__(self, *, traces: bool = True, **provider: Any) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        made = TracerProvider(shutdown_on_exit=False, **provider)
        made.add_span_processor(SimpleSpanProcessor(self.spans))
        self.watching = Watching(SdkMeter(self.reader), Tracing(made) if traces else None)
        self.store = MemoryStore()
        self.topic = Topic()
        self.outbox = MemoryOutbox(self.store, choose_shard=lambda: 0)
        self.ports = self.watching.ports(
            Ports(MemoryUserRepository(self.store), self.outbox, self.topic, Clock())
        )
        policy = BatchPolicy(12, timedelta(90), timedelta(60), timedelta(seconds=60))
        parser = self.watching.parser(MessageParser(["customer"]))
        handler = BatchHandler(self.ports, parser, policy, self.watching.witness)
        self.batch = self.watching.batches(handler)

    def handle(self, *messages: ReceivedMessage) -> Settlements:
        """Handle a batch."""
        return self.batch.handle(messages)

    def named(self, name: str) -> list[ReadableSpan]:
        """Give the finished spans of a name."""
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def points(self, instrument: Instrument) -> dict[tuple[str, ...], Any]:
        """Give what was measured, by the labels' values: a sum, or a histogram's count."""
        data = self.reader.get_metrics_data()
        metrics = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return {
            tuple(str((p.attributes or {}).get(n, "")) for n in instrument.labels): getattr(
                p, "value", getattr(p, "count", None)
            )
            for metric in metrics
            if metric.name == instrument.name
            for p in metric.data.data_points
        }

    def outcomes(self) -> list[Outcome]:
        """Give what is stored of commands."""
        return list(self.store.outcomes.values())

    def emitted(self) -> str:
        """Give all that spans and metrics say, as JSON."""
        data = self.reader.get_metrics_data()
        spans = [span.to_json() for span in self.spans.get_finished_spans()]
        return "\n".join([*spans, data.to_json() if data else ""])


@pytest.fixture
def world() -> World:
    """A world with nobody in it, traced and measured."""
    return World()


def registration(user: str, address: str | None = None, **more: Any) -> ReceivedMessage:
    """Make the message of a registration."""
    receives = more.pop("receives", 1)
    body = render_command(
        "biome.user.RegisterUser.v1",
        {
            "email": address or f"{user}@example.com",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "password_hash": PASSWORD.value,
        },
        command_id=uid(f"register {user}"),
        user_id=uid(user),
        source="/test",
        time=NOW,
        **more,
    )
    return message(body, receives=receives)


def test_the_producers_trace_goes_on_into_the_events(world: World) -> None:
    """Producer, command, event: what is stored, and so is published again, is the command's."""
    world.handle(registration("ada", traceparent=PRODUCER, tracestate="vendor=1"))
    (span,) = world.named("process RegisterUser")
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == f"{TRACE}-{PARENT}"
    carried = f"00-{TRACE}-{span.context.span_id:016x}-01"
    (outcome,) = world.outcomes()
    assert (outcome.traceparent, outcome.tracestate) == (carried, "vendor=1")
    assert json.loads(world.topic.published[0].body)["traceparent"] == carried


def test_an_event_that_is_published_again_is_the_same(world: World) -> None:
    """A redelivery makes a span of its own, and changes nothing stored."""
    world.handle(registration("ada", traceparent=PRODUCER))
    first = world.topic.published[0]
    (outcome,) = world.outcomes()
    assert world.handle(registration("ada", traceparent=PRODUCER)).items == (Done(),)
    assert world.outcomes() == [outcome]
    assert render_events(outcome)[0] == first
    assert len(world.named("process RegisterUser")) == 2


def test_with_metrics_alone_the_event_carries_the_producers_context() -> None:
    """As with telemetry off."""
    world = World(traces=False)
    world.handle(registration("ada", traceparent=PRODUCER, tracestate="vendor=1"))
    (outcome,) = world.outcomes()
    assert (outcome.traceparent, outcome.tracestate) == (PRODUCER, "vendor=1")
    assert not world.spans.get_finished_spans()


def test_what_is_not_sampled_is_carried_on_as_not_sampled() -> None:
    """The subscriber is to decide as the producer did."""
    world = World(sampler=ParentBased(ALWAYS_OFF))
    world.handle(registration("ada", traceparent=PRODUCER[:-1] + "0"))
    (outcome,) = world.outcomes()
    assert outcome.traceparent is not None
    assert outcome.traceparent.startswith(f"00-{TRACE}-")
    assert outcome.traceparent.endswith("-00")
    assert not world.spans.get_finished_spans()


def test_a_batch_leads_from_the_receive_to_commit_and_publication(world: World) -> None:
    """In one trace of the worker's own, linked with those of the commands, in both directions."""
    carried = world.watching._tracing.received("commands", 2, 1)  # type: ignore[union-attr]
    both = registration("ada", traceparent=PRODUCER), registration("eve")
    world.handle(*[ReceivedMessage(**{**each, "trace": carried}) for each in both])
    (receive,), (batch,) = world.named("receive commands"), world.named("handle batch")
    assert batch.parent is not None
    assert receive.context is not None
    assert batch.parent.span_id == receive.context.span_id
    for name in ("commit", "publish"):
        (step,) = world.named(name)
        assert step.parent is not None
        assert batch.context is not None
        assert step.parent.span_id == batch.context.span_id
    commands = world.named("process RegisterUser")
    assert {link.context.span_id for link in batch.links} == {
        span.context.span_id for span in commands if span.context
    }
    for span in commands:
        assert [link.context for link in span.links] == [batch.context]
        assert (span.attributes or {})["user_worker.outcome"] == "accepted"


def test_a_batch_of_several_receives_is_linked_with_the_others(world: World) -> None:
    """One is its parent."""
    tracing: Any = world.watching._tracing
    traces = [tracing.received("commands", 1, 1) for _ in range(2)]
    both = registration("ada"), registration("eve")
    world.handle(*[ReceivedMessage(**{**m, "trace": t}) for m, t in zip(both, traces, strict=True)])
    (batch,) = world.named("handle batch")
    second = world.named("receive commands")[1]
    assert second.context is not None
    assert second.context.span_id in {link.context.span_id for link in batch.links}


@pytest.mark.parametrize(
    "traceparent", ["", "00-0-0-00", "ff" + PRODUCER[2:], f"00-{'0' * 32}-{PARENT}-01"]
)
def test_a_context_that_cannot_be_read_begins_a_new_trace(world: World, traceparent: str) -> None:
    """The command is done all the same, or is malformed: it never fails for its trace."""
    body = json.loads(registration("ada")["body"]) | {"traceparent": traceparent}
    settled = world.handle(message(json.dumps(body))).items[0]
    assert isinstance(settled, Done | Dead)
    for span in world.named("process RegisterUser"):
        assert span.parent is None


def test_a_failed_command_is_an_error_and_a_rejection_is_not(world: World) -> None:
    """An answer that the producer does not like is no failure of the worker."""
    world.handle(registration("ada"))
    world.handle(registration("eve", "ada@example.com"))
    unknown = render_command(
        "biome.user.UnlockUser.v1",
        {},
        command_id=uid("unlock"),
        user_id=uid("nobody"),
        source="/test",
        time=NOW,
    )
    assert isinstance(world.handle(message(unknown, age=0)).items[0], Later | Done)
    taken = world.named("process RegisterUser")[1]
    assert (taken.attributes or {})["user_worker.code"] == "EmailTaken"
    assert taken.status.is_unset


def test_every_end_of_a_message_is_counted(world: World) -> None:
    """By command, outcome and code; what cannot be read has no name of its own."""
    world.handle(registration("ada"), registration("eve", "ada@example.com"), message("{no JSON"))
    world.handle(registration("ada", receives=2))
    assert world.points(instruments.COMMANDS) == {
        ("RegisterUser", "accepted", ""): 1,
        ("RegisterUser", "rejected", "EmailTaken"): 1,
        ("RegisterUser", "duplicate", ""): 1,
        ("other", "dead", "NotJson"): 1,
    }
    assert world.points(instruments.BATCH_SIZE) == {(): 2}
    assert world.points(instruments.REDELIVERIES) == {(): 1}
    assert world.points(instruments.HANDLING_TIME) == {
        ("RegisterUser", outcome): 1 for outcome in ("accepted", "rejected", "duplicate")
    }


def test_critical_time_is_that_of_published_commands(world: World) -> None:
    """A duplicate publishes nothing, and what the topic does not take is not out."""
    world.handle(registration("ada"))
    world.handle(registration("ada"))
    world.topic.away = True
    world.handle(registration("eve"))
    assert world.points(instruments.CRITICAL_TIME) == {("RegisterUser",): 1}
    assert world.points(instruments.EVENTS) == {
        ("UserRegistered", "published"): 1,
        ("UserRegistered", "failed"): 1,
    }


def test_a_probe_is_no_batch(world: World) -> None:
    """It would drown the sizes of batches in an outage."""
    world.handle()
    assert world.points(instruments.BATCH_SIZE) == {}
    assert not world.spans.get_finished_spans()


def test_the_outbox_is_told_as_the_relay_found_it(world: World) -> None:
    """The last look at each shard counts, and no older one."""
    assert world.points(instruments.OUTBOX_OVERDUE) == {}
    pointer = Pointer("0", "2020", JobKind.PUBLISH, (), NOW - timedelta(hours=1))
    world.store.pointers["0", "2020"] = pointer
    world.ports.outbox.pending(NOW)
    assert world.points(instruments.OUTBOX_OVERDUE) == {(): 1}
    assert world.points(instruments.OUTBOX_AGE)[()] > 3600
    world.ports.outbox.park(pointer, "for a test")
    assert world.points(instruments.PARKED) == {(): 1}
    world.store.pointers.clear()
    for _ in range(OUTBOX_SHARDS):
        world.ports.outbox.pending(NOW)
    assert world.points(instruments.OUTBOX_OVERDUE) == {(): 0}
    assert world.points(instruments.OUTBOX_AGE) == {(): 0}


# --- calls to AWS --------------------------------------------------------------------------


@pytest.mark.parametrize("operation", CALLS)
def test_every_call_is_measured(world: World, operation: str) -> None:
    """Those that botocore makes as those that it does not."""
    service, method, request = CALLS[operation]
    with scripted_aws(operation):
        given: Any = service
        client: Any = observe(aws.client(given), world.watching.calls)
        for _ in range(2):
            getattr(client, method)(**request)
    duration = instruments.STORE_CALLS if service == "dynamodb" else instruments.MESSAGING_CALLS
    ((system, told, error),) = world.points(duration)
    assert (told, error) == (operation, "")
    assert system.startswith("aws")
    assert world.points(duration)[system, told, error] == 2
    assert not world.spans.get_finished_spans(), "a call outside a batch has no span"


def test_capacity_is_estimated_by_every_tenth_call(world: World) -> None:
    """The first and the eleventh stand for twenty."""
    service, method, request = CALLS["DeleteItem"]
    with scripted_aws("DeleteItem"):
        given: Any = service
        client: Any = observe(aws.client(given), world.watching.calls)
        for _ in range(11):
            getattr(client, method)(**request)
    assert world.points(instruments.CAPACITY) == {("DeleteItem", "write"): 20}


@pytest.mark.parametrize(
    ("operation", "request_", "answer", "units"),
    [
        ("DeleteItem", {}, {}, (0, 1)),
        (
            "TransactWriteItems",
            {"TransactItems": [{"Put": {"Item": {"pk": {"S": "x" * 1100}}}}, {"Delete": {}}]},
            {},
            (0, 6),
        ),
        (
            "BatchGetItem",
            {"RequestItems": {"t": {"Keys": [1, 2, 3]}}},
            {"Responses": {"t": [{"pk": {"S": "x" * 5000}}]}},
            (4, 0),
        ),
        ("BatchWriteItem", {"RequestItems": {"t": [1, 2]}}, {}, (0, 2)),
        ("Query", {}, {"Items": [{"pk": {"S": "x" * 3000}}] * 3}, (3, 0)),
        ("PublishBatch", {}, {}, NO_UNITS),
    ],
)
def test_capacity_is_that_of_dynamodbs_rules(
    operation: str, request_: Any, answer: Any, units: tuple[float, float]
) -> None:
    """Read units of 4 KB, write units of 1 KB, twice in a transaction; one for what is absent."""
    assert consumed(operation, request_, answer) == units


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        ({"TableName": "users"}, "users"),
        ({"QueueUrl": "http://x/000/commands"}, "commands"),
        ({"TopicArn": "arn:aws:sns:r:1:events"}, "events"),
        ({"RequestItems": {"users": {}}}, "users"),
        ({"TransactItems": [{"Put": {"TableName": "users"}}]}, "users"),
        ({}, ""),
    ],
)
def test_a_call_is_about_a_resource(parameters: Any, target: str) -> None:
    """Its name, without account and region."""
    assert target_of(parameters) == target


class Queue:
    """A queue whose dead-letter queue does not take everything."""

    def dead_letter(self, letters: Sequence[DeadLetter]) -> dict[str, str]:
        """Refuse the first."""
        return {letters[0].message.receipt: "Throttled"}


def test_dead_letters_are_counted_when_they_are_there(world: World) -> None:
    """What could not be sent is tried again, and counted then."""
    given: Any = Queue()
    queue = WatchedQueue("commands", given, world.watching._meter, None)
    raw: Any = type("Raw", (), {"receipt": "1"}), type("Raw", (), {"receipt": "2"})
    queue.dead_letter([DeadLetter(each, "NotJson", "", None) for each in raw])
    assert world.points(instruments.DEAD_LETTERS) == {("NotJson",): 1}


# --- what it must not say ------------------------------------------------------------------


@pytest.fixture
def told(world: World) -> str:
    """All that was emitted of messages full of what must not be."""
    hostile = render_command(
        "biome.user.RegisterUser.v1",
        {
            "email": canaries.ADDRESS,
            "first_name": canaries.SECRET,
            "last_name": "Lovelace",
            "password_hash": canaries.PASSWORD_HASH,
        },
        command_id=uid("hostile"),
        user_id=uid("canary"),
        source=f"/{canaries.SECRET}",
        correlationid=canaries.ADDRESS,
        time=NOW,
    )
    world.handle(message(hostile))
    world.handle(message(hostile.replace(canaries.PASSWORD_HASH, canaries.SECRET)))
    world.handle(message(hostile.replace("RegisterUser", canaries.ADDRESS)))
    world.handle(message(hostile.replace(uid("hostile"), canaries.SECRET)))
    return world.emitted()


def test_spans_and_metrics_hold_nothing_personal(told: str) -> None:
    """Whatever messages hold: no address, no secret, no hash of one."""
    assert "process RegisterUser" in told
    assert '"outcome": "dead"' in told
    assert not canaries.personal_in(told)
    nothing_personal(told, "telemetry")


def test_labels_have_few_values() -> None:
    """A type that nobody defined, as anyone may send it, is one of them: `other`."""
    assert {short_name(kind) for kind in COMMANDS} >= {"RegisterUser", "EraseUser"}
    assert short_name("biome.user.Nothing.v1") == short_name(canaries.ADDRESS) == "other"


def test_every_metric_is_well_formed() -> None:
    """A name of its own, a unit, and buckets that rise."""
    assert len({each.prometheus_name for each in CATALOGUE}) == len(CATALOGUE) > 15
    for each in CATALOGUE:
        assert each.description
        assert list(each.buckets) == sorted(set(each.buckets))
        assert bool(each.buckets) == (each.kind is Kind.HISTOGRAM)
    changed = replace(instruments.COMMANDS, unit="s")
    assert changed.prometheus_name == "user_worker_commands_seconds"

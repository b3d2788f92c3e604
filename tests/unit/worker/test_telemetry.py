from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NoOpTracer

from adapters.aws import client as aws
from adapters.aws.call_observer import NO_UNITS, consumed, observe, target_of
from adapters.aws.fast_calls import use_fast_calls
from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from adapters.sqs.command_queue import SqsCommandQueue
from application.batch import BatchHandler, Ports
from application.batch_policy import BatchPolicy
from application.disposition import Ack, DeadLetter, Dispositions, ReceivedMessage, Retry
from application.messages import MessageParser, render_command, render_events
from application.observer import NULL_OBSERVER, QueueState
from application.outbox import SHARDS
from application.ports import CommandKey, EventMessage, JobKind, OutboxEntry, PublishFailure
from application.queue_port import DeadLetterMessage
from application.relay import Relay, RelayPolicy
from application.repository import Outcome
from domain.commands import COMMANDS
from domain.events import EVENTS
from tests import canaries
from tests.builders import HASH_KEYS, NOW, PASSWORD, message, uid
from tests.emitted import nothing_personal
from tests.unit.adapters.scripted_aws import CALLS, scripted_aws
from tests.unit.worker.test_transport_in_flight import raw
from worker.bootstrap import observe_ports
from worker.telemetry import instruments, sdk
from worker.telemetry.calls import Calls
from worker.telemetry.configuration import SAMPLERS, read
from worker.telemetry.instruments import CATALOGUE, Instrument, Kind
from worker.telemetry.metrics import MetricsObserver, OpenTelemetryMeter
from worker.telemetry.tracing import TracingObserver

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PRODUCER = f"00-{TRACE}-{PARENT}-01"


class Clock:
    """A clock that stands."""

    def now(self) -> Any:
        """Return the fixed time."""
        return NOW


class Topic(MemoryEventPublisher):
    """A topic that can be unavailable."""

    away = False

    def publish(self, messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        """Publish the events, or refuse all."""
        if self.away:
            return {m.event_id: PublishFailure("Throttled", permanent=False) for m in messages}
        return super().publish(messages)


ALL = ParentBased(ALWAYS_ON)
NONE_OF_OURS = ParentBased(ALWAYS_OFF)


class World:
    """A handler that is observed, and what telemetry says of it."""

    def __init__(self, *, sampler: Sampler | None = ALL) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        meter = OpenTelemetryMeter(MeterProvider([self.reader]))
        provider = TracerProvider(sampler)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        if sampler is None:
            self.observer = MetricsObserver(meter, (*COMMANDS, *EVENTS))
            self.calls = Calls(meter, NoOpTracer())
        else:
            tracer = provider.get_tracer("test")
            self.observer = TracingObserver(meter, tracer, (*COMMANDS, *EVENTS))
            self.calls = Calls(meter, tracer)
        self.store = MemoryStore()
        self.topic = Topic()
        outbox = MemoryOutbox(self.store, choose_shard=lambda: 0)
        ports = Ports(MemoryUserRepository(self.store), outbox, self.topic, Clock())
        self.ports = observe_ports(ports, self.observer)
        policy = BatchPolicy(
            12, timedelta(90), timedelta(60), timedelta(seconds=60), hash_keys=HASH_KEYS
        )
        self.batch = BatchHandler(self.ports, MessageParser(["customer"]), policy, self.observer)

    def handle(self, *messages: ReceivedMessage) -> Dispositions:
        """Handle a batch of one receive."""
        trace = self.observer.received("commands", len(messages), 1)
        received = messages if trace is None else [_of(trace, each) for each in messages]
        return self.batch.handle(received)

    def relay(self) -> Relay[Outcome]:
        """Return a relay that is observed."""
        ports, policy = self.ports, RelayPolicy(1, timedelta())
        clock = Clock()
        return Relay(
            ports.outbox, ports.publisher, clock, policy, render_events, observer=self.observer
        )

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the finished spans of a name."""
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def metrics(self) -> MetricsData:
        """Return all that was measured so far."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return data

    def points(self, instrument: Instrument) -> dict[tuple[str, ...], Any]:
        """Return the measurements by label values: a sum, or a histogram's count."""
        points = [
            point
            for resource in self.metrics().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == instrument.name
            for point in metric.data.data_points
        ]
        found = {
            tuple(str((p.attributes or {}).get(n, "")) for n in instrument.labels): getattr(
                p, "value", getattr(p, "count", None)
            )
            for p in points
        }
        nothing = None if instrument.labels or instrument.kind is Kind.GAUGE else 0
        return {labels: value for labels, value in found.items() if value != nothing}

    def outcomes(self) -> list[Outcome]:
        """Return the stored outcomes."""
        return list(self.store.outcomes.values())

    def emitted(self) -> str:
        """Return the content of all spans and metrics, as JSON."""
        spans = [span.to_json() for span in self.spans.get_finished_spans()]
        return "\n".join([*spans, self.metrics().to_json()])


def _of(trace: str, message: ReceivedMessage) -> ReceivedMessage:
    return ReceivedMessage(**{**message, "trace": trace})


@pytest.fixture
def world() -> World:
    """A world without users, with traces and metrics."""
    return World()


def registration(user: str, address: str | None = None, **more: Any) -> ReceivedMessage:
    """Create the message of a registration."""
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
    assert world.handle(registration("ada", traceparent=PRODUCER)).items == (Ack(),)
    assert world.outcomes() == [outcome]
    assert render_events(outcome)[0] == first
    assert len(world.named("process RegisterUser")) == 2


def test_with_metrics_alone_the_event_carries_the_producers_context() -> None:
    """The same as with telemetry off."""
    world = World(sampler=None)
    world.handle(registration("ada", traceparent=PRODUCER, tracestate="vendor=1"))
    (outcome,) = world.outcomes()
    assert (outcome.traceparent, outcome.tracestate) == (PRODUCER, "vendor=1")
    assert not world.spans.get_finished_spans()


@pytest.mark.parametrize(
    ("sampler", "producer"),
    [
        (NONE_OF_OURS, PRODUCER[:-1] + "0"),  # the producer does not sample
        (ALL, PRODUCER[:-1] + "0"),  # nor does the worker then, at any ratio
        (ALWAYS_OFF, PRODUCER),  # the producer samples, and the worker does not
        (NONE_OF_OURS, None),
    ],
)
def test_what_is_not_sampled_carries_on_the_producers_context(
    sampler: Sampler, producer: str | None
) -> None:
    """As with traces off, no context without a span is stored."""
    world = World(sampler=sampler)
    world.handle(registration("ada", traceparent=producer))
    (outcome,) = world.outcomes()
    assert outcome.traceparent == producer
    assert json.loads(world.topic.published[0].body).get("traceparent") == producer
    assert not world.named("process RegisterUser")


def test_a_command_is_sampled_though_its_batch_is_not() -> None:
    """The producer wants to see it; the batch is a trace of the worker's own."""
    world = World(sampler=NONE_OF_OURS)
    world.handle(registration("ada", traceparent=PRODUCER), registration("eve"))
    (span,) = world.spans.get_finished_spans()
    assert span.name == "process RegisterUser"
    assert span.links == ()
    stored = {outcome.user_id: outcome.traceparent for outcome in world.outcomes()}
    assert span.context is not None
    assert stored == {
        uid("ada"): f"00-{TRACE}-{span.context.span_id:016x}-01",
        uid("eve"): None,
    }


SAMPLERS_BY_NAME = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "traceidratio": TraceIdRatioBased(0.25),
    "parentbased_always_on": ParentBased(ALWAYS_ON),
    "parentbased_always_off": ParentBased(ALWAYS_OFF),
    "parentbased_traceidratio": ParentBased(TraceIdRatioBased(0.25)),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("form", [str, str.title, " {} ".format])
def test_the_variables_choose_opentelemetrys_sampler(
    monkeypatch: pytest.MonkeyPatch, name: str, form: Any
) -> None:
    """Another service that samples by ratio takes the same traces."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", form(name))
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    read(os.environ)
    provider = sdk.tracer_provider("console")
    provider.shutdown()
    assert provider.sampler.get_description() == SAMPLERS_BY_NAME[name].get_description()


def test_a_trace_that_begins_here_has_the_id_that_was_decided_on() -> None:
    """Otherwise a subscriber that samples by the same ratio would choose others."""
    half = TraceIdRatioBased(0.5)
    world = World(sampler=ParentBased(half))
    for each in range(40):
        world.handle(registration(f"user{each}"))
    roots = [span for span in world.spans.get_finished_spans() if span.parent is None]
    ids = {span.context.trace_id for span in roots if span.context}
    assert 10 < len(ids) < 70
    assert all(half.should_sample(None, each, "process").decision.is_sampled() for each in ids)


def test_a_batch_leads_from_the_receive_to_commit_and_publication(world: World) -> None:
    """In one trace of the worker's own, linked with those of the commands, in both directions."""
    world.handle(registration("ada", traceparent=PRODUCER), registration("eve"))
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
    traces = [world.observer.received("commands", 1, 1) or "" for _ in range(2)]
    both = registration("ada"), registration("eve")
    world.batch.handle([_of(trace, each) for trace, each in zip(traces, both, strict=True)])
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
    assert isinstance(settled, Ack | DeadLetter)
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
    )
    assert isinstance(world.handle(message(unknown, age=0)).items[0], Retry | Ack)
    taken = world.named("process RegisterUser")[1]
    assert (taken.attributes or {})["user_worker.code"] == "EmailTaken"
    assert taken.status.is_unset


def test_every_end_of_a_message_is_counted(world: World) -> None:
    """By command, outcome and code; an unreadable message has no command name."""
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


def test_a_probe_does_not_count_as_a_batch(world: World) -> None:
    """It would drown the sizes of batches in an outage."""
    world.batch.handle([])
    assert world.points(instruments.BATCH_SIZE) == {}
    assert world.points(instruments.OUTBOX_DELAY) == {}
    assert not world.spans.get_finished_spans()


def test_the_outbox_metrics_are_those_of_the_relays_last_read(world: World) -> None:
    """The last look at each shard counts, and no older one."""
    assert world.points(instruments.OUTBOX_OVERDUE) == {}
    missing = CommandKey(uid("ada"), uid("missing"))
    entry = OutboxEntry("0", "2020", JobKind.PUBLISH, (missing,), NOW - timedelta(hours=1))
    world.store.entries["0", "2020"] = entry
    relay = world.relay()
    relay.run_once()
    assert world.points(instruments.OUTBOX_OVERDUE) == {(): 1}
    assert world.points(instruments.OUTBOX_AGE)[()] > 3600
    assert world.points(instruments.PARKED) == {(): 1}
    for _ in range(SHARDS):
        relay.run_once()
    assert world.points(instruments.OUTBOX_OVERDUE) == {(): 0}
    assert world.points(instruments.OUTBOX_AGE) == {(): 0}


def test_what_the_relay_publishes_has_its_delay(world: World) -> None:
    """From the commit; what a batch publishes at once has critical time, and no delay."""
    world.topic.away = True
    world.handle(registration("ada"))
    world.topic.away = False
    (entry,) = world.store.entries.values()
    world.relay().work_off([entry])
    assert len(world.topic.published) == 1
    assert world.points(instruments.OUTBOX_DELAY) == {(): 1}
    world.handle(registration("eve"))
    assert len(world.topic.published) == 2
    assert world.points(instruments.OUTBOX_DELAY) == {(): 1}


# --- calls to AWS --------------------------------------------------------------------------


@pytest.mark.parametrize("operation", CALLS)
def test_every_call_is_measured(world: World, operation: str) -> None:
    """Those that botocore makes as those that it does not."""
    service, method, request = CALLS[operation]
    with scripted_aws(operation):
        named: Any = service
        client: Any = aws.client(named)
        use_fast_calls(client)
        observe(client, world.calls)
        for _ in range(2):
            getattr(client, method)(**request)
    duration = instruments.STORE_CALLS if service == "dynamodb" else instruments.MESSAGING_CALLS
    ((system, told, error),) = world.points(duration)
    assert (told, error) == (operation, "")
    assert system.startswith("aws")
    assert world.points(duration)[system, told, error] == 2
    assert not world.spans.get_finished_spans(), "a call outside a batch has no span"


@pytest.mark.parametrize(("calls", "units"), [(1, 1), (50, 50), (51, 100), (100, 100), (101, 150)])
def test_capacity_is_that_of_few_calls_and_an_estimate_of_many(
    world: World, calls: int, units: int
) -> None:
    """Otherwise an idle worker would report a multiple of its consumption."""
    service, method, request = CALLS["DeleteItem"]
    with scripted_aws("DeleteItem"):
        named: Any = service
        client: Any = observe(aws.client(named), world.calls)
        for _ in range(calls):
            getattr(client, method)(**request)
    assert world.points(instruments.CAPACITY) == {("DeleteItem", "write"): units}


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
    """It is the resource's name, without account and region."""
    assert target_of(parameters) == target


def test_a_queue_has_its_state_and_what_it_received(world: World) -> None:
    """Each under its own name."""
    for queue, state in (("a", QueueState(3, 2, 10)), ("b", QueueState(0, 0, 1))):
        world.observer.queue_served(queue, lambda state=state: state)  # type: ignore[misc]
        world.observer.received(queue, 7, 1)
    assert world.points(instruments.BREAKER) == {("a",): 3, ("b",): 0}
    assert world.points(instruments.BUFFERED) == {("a",): 2, ("b",): 0}
    assert world.points(instruments.IN_FLIGHT) == {("a",): 10, ("b",): 1}
    assert world.points(instruments.RECEIVED) == {
        ("aws_sqs", "receive", queue): 7 for queue in ("a", "b")
    }


def test_off_the_ports_are_used_as_they_are() -> None:
    """Nothing stands before them."""
    store = MemoryStore()
    ports = Ports(MemoryUserRepository(store), MemoryOutbox(store), Topic(), Clock())
    assert observe_ports(ports, NULL_OBSERVER) == ports


class Sqs:
    """A client: every second receive is empty, and the first letter of a call is refused."""

    def __init__(self) -> None:
        self.answers: list[Any] = [{"Messages": [{"ReceiptHandle": "r"}]}, {}]

    def get_queue_url(self, **_: Any) -> dict[str, str]:
        """Return the URL."""
        return {"QueueUrl": "http://sqs/commands"}

    def receive_message(self, **_: Any) -> Any:
        """Return the next answer."""
        return self.answers.pop()

    def send_message_batch(self, **_: Any) -> Any:
        """Refuse the first."""
        return {"Successful": [{"Id": "1"}], "Failed": [{"Id": "0", "Code": "Throttled"}]}


@pytest.fixture
def queue(world: World) -> SqsCommandQueue:
    """Return an observed queue."""
    sqs = Sqs()
    return SqsCommandQueue("commands", "dead", "apart", lambda _: sqs, observer=world.observer)


def test_dead_letters_are_counted_when_they_are_there(world: World, queue: SqsCommandQueue) -> None:
    """Unsent ones are retried, and counted when they are sent."""
    queue.dead_letter(
        [DeadLetterMessage(raw(each), DeadLetter("NotJson", "", None)) for each in "01"]
    )
    assert world.points(instruments.DEAD_LETTERS) == {("NotJson",): 1}


def test_a_receive_is_counted_and_its_messages_carry_its_trace(
    world: World, queue: SqsCommandQueue
) -> None:
    """An empty receive has neither a count nor a span."""
    assert not queue.receive(10, 0)
    (message,) = queue.receive(10, 0)
    (span,) = world.named("receive commands")
    assert span.context is not None
    assert f"-{span.context.span_id:016x}-" in (message.trace or "")
    assert world.points(instruments.RECEIVED) == {("aws_sqs", "receive", "commands"): 1}


# --- what it must not say ------------------------------------------------------------------


@pytest.fixture
def told(world: World) -> str:
    """Return everything that was emitted for messages full of planted values."""
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
    )
    world.handle(message(hostile))
    world.handle(message(hostile.replace(canaries.PASSWORD_HASH, canaries.SECRET)))
    world.handle(message(hostile.replace("RegisterUser", canaries.ADDRESS)))
    world.handle(message(hostile.replace(uid("hostile"), canaries.SECRET)))
    return world.emitted()


def test_spans_and_metrics_hold_nothing_personal(told: str) -> None:
    """No message adds an address, a secret or the hash of one."""
    assert "process RegisterUser" in told
    assert '"outcome": "dead"' in told
    assert not canaries.personal_in(told)
    nothing_personal(told, "telemetry")


def test_the_text_of_an_error_is_in_no_span(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold what a message says; the class of the error is enough."""

    def broken(_: object) -> dict[str, PublishFailure]:
        raise RuntimeError("what a message says")

    monkeypatch.setattr(world.topic, "publish", broken)
    world.handle(registration("ada"))
    (span,) = world.named("publish")
    assert (span.attributes or {})["error.type"] == "RuntimeError"
    assert not span.status.is_ok
    assert "what a message says" not in world.emitted()


def test_labels_have_few_values() -> None:
    """An undefined type, which anyone may send, is counted as `other`."""
    name = World().observer._name
    assert {name(kind) for kind in COMMANDS} >= {"RegisterUser", "EraseUser"}
    assert name("biome.user.Nothing.v1") == name(canaries.ADDRESS) == "other"


def test_every_metric_is_well_formed() -> None:
    """A name of its own, a unit, and buckets that rise."""
    assert len({each.prometheus_name for each in CATALOGUE}) == len(CATALOGUE) > 15
    for each in CATALOGUE:
        assert each.description
        assert list(each.buckets) == sorted(set(each.buckets))
        assert bool(each.buckets) == (each.kind is Kind.HISTOGRAM)
    changed = replace(instruments.COMMANDS, unit="s")
    assert changed.prometheus_name == "user_worker_commands_seconds"

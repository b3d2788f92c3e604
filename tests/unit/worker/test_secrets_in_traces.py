"""Secrets in messages of any shape: no span and no metric that is sent contains one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.trace import Span, StatusCode, get_current_span

from application.disposition import Ack
from application.ports import EventMessage, PublishFailure
from application.queue_port import MAX_BATCH
from tests.builders import message
from tests.secrets import NAMES, PROPAGATED, SECRET, SHAPES, reveals
from tests.unit.worker.test_telemetry import World, registration

LAST_RECEIVE = 12
ALL_SHAPES = SHAPES | PROPAGATED
OF_SPANS = ("trace_id:", "span_id:", "parent_span_id:", "start_time_unix", "end_time_unix")
"""Lines of a span that contain no text of a message, and are different in each span."""


def sent(world: World) -> str:
    """Return what is sent to a collector: spans with names, attributes, events, links, status.

    Each line is contained once, which makes the search fast.
    """
    text = str(encode_spans(world.spans.get_finished_spans()))
    lines = {line.strip() for line in text.splitlines()}
    spans = [line for line in lines if not line.startswith(OF_SPANS)]
    return "\n".join([*spans, world.metrics().to_json()])


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_no_span_and_no_metric_contains_the_secret(shape: str) -> None:
    """Under each of more than 200 names: accepted, dead-lettered and retried messages."""
    world = World()
    bodies = [ALL_SHAPES[shape](name) for name in NAMES]
    for start in range(0, len(bodies), MAX_BATCH):
        for receives in (1, LAST_RECEIVE):
            batch = [message(body, receives=receives) for body in bodies[start:][:MAX_BATCH]]
            world.handle(*batch)
    assert len(world.named("handle batch")) == 2 * -(-len(bodies) // MAX_BATCH)
    assert not reveals(sent(world))


@pytest.mark.parametrize("shape", PROPAGATED)
def test_a_command_with_propagated_text_is_accepted_and_traced(shape: str) -> None:
    """Otherwise the test above would search spans of dead letters only."""
    world = World()
    body = PROPAGATED[shape]("password")
    assert reveals(body)
    assert world.handle(message(body)).items == (Ack(),)
    assert world.named("process RegisterUser")


def _store(world: World) -> tuple[Any, str]:
    return world.ports.repository, "commit"


def _topic(world: World) -> tuple[Any, str]:
    return world.topic, "publish"


@pytest.mark.parametrize("port", [_store, _topic], ids=["commit", "publish"])
def test_the_text_of_an_error_with_the_secret_is_in_no_span(
    port: Callable[[World], tuple[Any, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as an event of a span, nor as the description of its status."""
    world = World()

    def fail(*_: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(*port(world), fail)
    world.handle(registration("ada"))
    (step,) = world.named(port(world)[1])
    assert (step.attributes or {})["error.type"] == "RuntimeError"
    assert not reveals(sent(world))


def _name(span: Span) -> None:
    span.update_name(SECRET)


def _attribute(span: Span) -> None:
    span.set_attribute("x", SECRET)


def _event(span: Span) -> None:
    span.record_exception(RuntimeError(SECRET))


def _status(span: Span) -> None:
    span.set_status(StatusCode.ERROR, SECRET)


def _link(span: Span) -> None:
    span.add_link(span.get_span_context(), {"x": SECRET})


@pytest.mark.parametrize("leak", [_name, _attribute, _event, _status, _link])
def test_the_search_finds_a_secret_in_every_part_of_a_span(leak: Callable[[Span], None]) -> None:
    """Otherwise the tests above could not fail."""
    world = World()
    publish = world.topic.publish

    def leaking(messages: Sequence[EventMessage]) -> dict[str, PublishFailure]:
        leak(get_current_span())
        return publish(messages)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.topic, "publish", leaking)
        world.handle(registration("ada"))
    assert reveals(sent(world))

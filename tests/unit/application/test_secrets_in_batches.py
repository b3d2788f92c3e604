"""Secrets in messages of any shape, through whole batches: only the original contains them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.sqs.dead_letters import ORIGINAL_ID, QUARANTINED, render_letter, render_original
from application.disposition import Ack, DeadLetter, Disposition
from application.queue_port import MAX_BATCH, DeadLetterMessage, RawMessage
from domain.commands import COMMANDS
from tests.builders import message
from tests.secrets import NAMES, SECRET, SHAPES, reveals
from tests.unit.application.messages.examples import COMMAND_ID, cloud_event
from tests.unit.application.test_batch import FixedClock, World
from worker.telemetry.instruments import Instrument
from worker.telemetry.metrics import Meter, MetricsObserver, ReadGauge

LAST_RECEIVE = 12


class Labels(Meter):
    """Keeps the labels of all measurements."""

    def __init__(self) -> None:
        """Start without labels."""
        self.seen: set[str] = set()

    def measure(self, instrument: Instrument, value: float, *labels: str) -> None:
        """See the port."""
        self.seen.update(labels)

    def observe(self, instrument: Instrument, read: ReadGauge) -> None:
        """See the port. The gauges have no labels of messages."""


def rendered(body: str, disposition: DeadLetter) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the transport sends: the dead letter and the original."""
    letter = DeadLetterMessage(
        RawMessage("m", "receipt", body, LAST_RECEIVE, 0.0, 0.0, None), disposition
    )
    return (
        render_letter(letter, "user-commands", fifo=False),
        render_original(letter, "user-commands", fifo=False),
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_original_contains_the_secret(shape: str) -> None:
    """Under each of more than 200 names; not the letter, an event, a log line or a metric.

    The original has the body of the message, byte for byte, and the id that the letter names.
    """
    labels, world = Labels(), World()
    handler = world.made(FixedClock(), observer=MetricsObserver(labels, COMMANDS))
    bodies = [SHAPES[shape](name) for name in NAMES]
    dispositions: list[Disposition] = []
    with capture_logs() as lines:
        for start in range(0, len(bodies), MAX_BATCH):
            batch = [message(body, receives=LAST_RECEIVE) for body in bodies[start:][:MAX_BATCH]]
            dispositions += handler.handle(batch).items

    assert len(dispositions) == len(bodies) > 200
    for body, disposition in zip(bodies, dispositions, strict=True):
        if isinstance(disposition, Ack):  # the secret is in an extension, which is ignored
            continue
        assert isinstance(disposition, DeadLetter)
        letter, original = rendered(body, disposition)
        assert not reveals(json.dumps(letter))
        if QUARANTINED in letter["MessageAttributes"]:
            assert original["MessageBody"] == body
            assert original["MessageAttributes"][ORIGINAL_ID]["StringValue"] == "m"
        else:
            assert letter["MessageBody"] == body
    assert not reveals(json.dumps(lines, default=repr))
    assert not reveals("".join(event.body for event in world.publisher.published))
    assert not any(map(reveals, labels.seen))


@pytest.mark.parametrize("shown", [COMMAND_ID, SECRET])
def test_no_free_text_of_an_accepted_command_is_logged(shown: str) -> None:
    """The log has a `correlation_id` only if it is a UUID."""
    attributes = {"actor": SECRET, "source": f"/{SECRET}", "tracestate": SECRET}
    body = json.dumps(cloud_event(**attributes, correlationid=shown))
    with capture_logs() as lines:
        assert World().handle(message(body)) == [Ack()]
    (line,) = [each for each in lines if each["event"] == "command"]
    assert line["correlation_id"] == (COMMAND_ID if shown == COMMAND_ID else None)
    assert not reveals(json.dumps(lines, default=repr))


def test_the_shapes_contain_the_secret() -> None:
    """Otherwise the test above would prove nothing."""
    for shape in SHAPES.values():
        assert reveals(shape("password"))
    assert not reveals(SECRET[1:])

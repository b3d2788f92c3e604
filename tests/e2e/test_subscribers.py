"""The unchanged subscriber examples, in Python and in Node, run against a worker."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.account import ROOT, World, client, running, talk_of
from tests.e2e.worker_process import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(150),  # the first test with Node waits for a registry
    pytest.mark.xdist_group("readme"),
]


@dataclass(slots=True)
class Subscriber:
    """A subscriber example with an address book, its state file, and the worker's world."""

    world: World
    kind: str
    command: list[str]
    state: Path

    @contextmanager
    def running(self, number: signal.Signals = signal.SIGTERM) -> Iterator[Path]:
        """Run it until the signal, which must end it cleanly.

        Yield the path of its standard error.
        """
        output, sign = (
            self.state.with_suffix(".output"),
            "following user-events and user-events-personal\n",
        )
        environment = self.world.environment | {"PYTHONPATH": str(ROOT)}
        errors = talk_of(output)
        with running(self.command, environment, output, sign, number) as process:
            yield errors
        assert (output.read_text(), process.returncode) == (f"{sign}stopped\n", 0), (
            errors.read_text()
        )

    def book(self) -> dict[str, str]:
        """Read the addresses that it has committed."""
        if self.kind == "node":
            text = self.state.read_text() if self.state.exists() else '{"book": {}}'
            found: dict[str, str] = json.loads(text)["book"]
            return found
        with closing(sqlite3.connect(self.state)) as db:
            return dict(db.execute("SELECT user_id, email FROM book"))

    def has(self, user_id: str, email: str | None) -> None:
        """Wait until the book has this address of a user, or, with None, no address."""
        eventually(lambda: self.book().get(user_id) == email, 30, f"{email} in the book")

    @property
    def queue(self) -> str:
        """Return the name of its queue."""
        return self.command[self.command.index("--queue") + 1]

    def give_back_soon(self) -> None:
        """Make messages of an interrupted poll visible again after one second."""
        url = self.world.queue_url(self.queue)
        self.world.sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "1"})

    def register(self, name: str) -> tuple[str, str]:
        """Register a user and wait for the event; return id and address."""
        user_id, email = str(uuid.uuid4()), f"{name}.{self.kind}.{uuid.uuid4().hex[:8]}@example.com"
        data = {"email": email, "first_name": "Ada", "last_name": "Lovelace"}
        self.world.send(user_id, "CreateUser", {**data, "roles": ["customer"]})
        return user_id, email


@pytest.fixture(params=["python", "node"])
def subscriber(request: pytest.FixtureRequest, world: World) -> Subscriber:
    """Each example in turn, with its own state and queue, and a patience of one second."""
    mark = uuid.uuid4().hex[:8]
    state = world.folder / f"book-{mark}"
    if request.param == "node":
        program = ["node", str(request.getfixturevalue("node") / "subscribe.mjs"), "--state"]
    else:
        program = [sys.executable, str(ROOT / "examples" / "address_book.py"), "--database"]
    rest = [str(state), "--queue", f"book-{mark}", "--patience", "1"]
    return Subscriber(world, request.param, [*program, *rest], state)


def publish(world: World, body: str, name: str = "ProfileUpdated") -> None:
    """Publish on the ordinary topic, either as the worker does or an invalid body."""
    sns = client("sns", world.environment)
    topics = [topic["TopicArn"] for topic in sns.list_topics()["Topics"]]
    (topic,) = [arn for arn in topics if arn.endswith(":user-events")]
    attributes = {"type": f"biome.user.{name}.v1", "category": "profile", "command_source": "/x"}
    given = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items()}
    sns.publish(TopicArn=topic, Message=body, MessageAttributes=given)


def event(user_id: str, sequence: int, name: str, data: dict[str, Any]) -> str:
    """Render an event of a later version, with an unknown attribute and an unknown field."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(uuid.uuid5(uuid.UUID(user_id), str(sequence))),
            "source": "urn:biome:user-worker",
            "type": f"biome.user.{name}.v1",
            "subject": user_id,
            "time": "2026-11-30T09:00:00.000Z",
            "sequence": f"{sequence:020d}",
            "causationid": str(uuid.uuid4()),
            "newattribute": "x",
            "data": {**data, "new_field": {"x": 1}},
        }
    )


def test_a_subscriber_keeps_the_book_over_gaps_stops_and_erasures(subscriber: Subscriber) -> None:
    """It uses the worker's events and, where it missed some, the table."""
    early, early_email = subscriber.register("early")  # before the subscription exists
    with subscriber.running(signal.SIGINT):
        subscriber.give_back_soon()
        here, here_email = subscriber.register("here")
        subscriber.has(here, here_email)
        assert early not in subscriber.book()
        subscriber.world.send(
            early, "UpdateProfile", {"first_name": "Augusta"}
        )  # sequence 2, not 1
        subscriber.has(early, early_email)
        subscriber.world.send(early, "EraseUser", {})
        subscriber.has(early, None)

    away, away_email = subscriber.register("away")
    subscriber.world.send(here, "EraseUser", {})
    with subscriber.running():
        subscriber.has(away, away_email)
        subscriber.has(here, None)
        assert subscriber.book() == {away: away_email}


def test_a_subscriber_survives_disorder_repetition_and_what_it_does_not_know(
    subscriber: Subscriber,
) -> None:
    """The last address wins in any order of events. Invalid events stay in the queue."""
    world, user_id = subscriber.world, str(uuid.uuid4())
    registered = event(user_id, 1, "UserRegistered", {"email": "first@example.com"})
    unknown = event(user_id, 2, "UserTeleported", {})
    changed = event(
        user_id,
        3,
        "EmailChanged",
        {"old_email": "first@example.com", "new_email": "last@example.com"},
    )
    queue = subscriber.queue
    with subscriber.running() as errors:
        for body in ("no JSON", "[]", '{"id": "x"}', changed, registered, changed, registered):
            publish(world, body)
        subscriber.has(user_id, "first@example.com")
        publish(world, unknown, "UserTeleported")
        subscriber.has(user_id, "last@example.com")
        for body in (registered, unknown):
            publish(world, body)
        witness, witness_email = subscriber.register("witness")  # comes after all these
        subscriber.has(witness, witness_email)
        eventually(lambda: errors.read_text().count("no event: ") >= 3, 20, "three complaints")
        # SNS may deliver the repetitions after the last registration, so wait for their deletion.
        eventually(lambda: sum(world.depths(queue)) == 3, 20, "three messages left")
        assert subscriber.book() == {user_id: "last@example.com", witness: witness_email}
    assert sum(world.depths(queue)) == 3
    attributes = world.sqs.get_queue_attributes(
        QueueUrl=world.queue_url(queue), AttributeNames=["RedrivePolicy"]
    )["Attributes"]
    redrive = json.loads(attributes["RedrivePolicy"])
    assert int(redrive["maxReceiveCount"]) == 5
    assert redrive["deadLetterTargetArn"].endswith(f":{queue}-dlq")


@pytest.fixture
def fifo_topics(world: World) -> Iterator[list[str]]:
    """FIFO topics, to which no worker publishes; yields their ARNs: ordinary, personal."""
    sns = client("sns", world.environment)
    mark, fifo = uuid.uuid4().hex[:8], {"FifoTopic": "true"}
    topics = [
        sns.create_topic(Name=f"user-events-{mark}{kind}.fifo", Attributes=fifo)["TopicArn"]
        for kind in ("", "-personal")
    ]
    yield topics
    for topic in topics:
        sns.delete_topic(TopicArn=topic)


@pytest.mark.parametrize("suffix", ["", ".fifo"], ids=["standard queue", "FIFO queue"])
def test_fifo_topics_deliver_to_both_kinds_of_queue(
    subscriber: Subscriber, fifo_topics: list[str], suffix: str
) -> None:
    """The dead-letter queue has the type of its queue, as SQS requires."""
    name = f"{subscriber.queue}{suffix}"
    topic, personal = (arn.rpartition(":")[2] for arn in fifo_topics)
    command = [*subscriber.command, "--queue", name, "--topic", topic, "--personal-topic", personal]
    world, output = subscriber.world, subscriber.state.with_suffix(".fifo-output")
    environment = world.environment | {"PYTHONPATH": str(ROOT)}
    user_id, sns = str(uuid.uuid4()), client("sns", world.environment)
    with running(command, environment, output, f"following {topic} and {personal}\n"):
        category = {"category": {"DataType": "String", "StringValue": "registration"}}
        data = {"email": "ada@example.com", "roles": ["customer"], "email_verified": False}
        body = event(user_id, 1, "UserCreated", data)
        sns.publish(
            TopicArn=fifo_topics[1],
            Message=body,
            MessageAttributes=category,
            MessageGroupId=user_id,
            MessageDeduplicationId=json.loads(body)["id"],
        )
        subscriber.has(user_id, "ada@example.com")
    url = world.queue_url(name)
    asked = world.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert asked.get("FifoQueue", "false") == ("true" if suffix else "false")
    dead_letters = json.loads(asked["RedrivePolicy"])["deadLetterTargetArn"].rpartition(":")[2]
    assert dead_letters == f"{subscriber.queue}-dlq{suffix}"
    for each in (name, dead_letters):
        world.sqs.delete_queue(QueueUrl=world.queue_url(each))

"""`user-worker replay`, on a table, a queue and a topic in moto."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
import typer
from botocore.exceptions import ClientError
from moto import mock_aws

from adapters.aws import client as aws
from adapters.dynamodb import DynamoDBUserRepository
from adapters.dynamodb.provision import provision_table
from adapters.sns.publisher import SnsPublisher
from application.messages.events import render_events
from biome_users import Inbox, SqliteInboxStore, parse_event
from biome_users.event_types import EmailChanged, UserErased, UserRegistered
from cli import composition
from cli.app import run
from domain.errors import RejectionCode
from domain.values import render_time
from operations.sample_story import sample_story
from tests.builders import NOW, uid
from tests.persistence import erased, registered, renamed
from worker.connections import Aws
from worker.errors import ExitCode
from worker.settings import Settings

QUEUE = "user-events-to-crm"


class World:
    """A table with two users, a subscriber's queue, and the command line."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.sqs = boto3.client("sqs")
        self.url = self.sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        dynamodb = aws.client("dynamodb")
        provision_table(dynamodb, "users")
        users = DynamoDBUserRepository(dynamodb, "users")
        self.changes = [registered("ada"), registered("grace")]
        assert self.changes[0].user is not None
        self.changes.append(renamed(self.changes[0].user))
        late = self.changes[2].outcomes[0]
        moved = replace(late, recorded_at=NOW + timedelta(hours=1))
        self.changes[2] = replace(self.changes[2], outcomes=(moved,))
        for change in self.changes:
            assert not users.commit([change], NOW).failures

    def run(self, *words: str) -> tuple[int, str]:
        """Run the command; return its exit code and output."""
        code = run(["replay", "--queue", QUEUE, *words])
        return code, self._capsys.readouterr().out

    def received(self) -> list[dict[str, Any]]:
        """Receive and delete all messages of the queue."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            if not answer.get("Messages"):
                return found
            for message in answer["Messages"]:
                found.append(dict(message))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    def bodies(self) -> list[str]:
        """Receive all messages; return their bodies."""
        return [message["Body"] for message in self.received()]


@pytest.fixture
def world(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An account in this process."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        monkeypatch.setattr(composition, "aws", lambda: Aws(Settings()))
        yield World(capsys)


def rendered(world: World, *places: int) -> list[str]:
    """Return the bodies that the worker publishes on the ordinary topic."""
    outcomes = [world.changes[place].outcomes[0] for place in places]
    return [message.body for each in outcomes for message in render_events(each)]


def test_the_events_of_a_user_are_sent_in_order(world: World) -> None:
    """The bodies are those that the worker published, without e-mail addresses."""
    assert world.run("--user", uid("ada"), "--yes") == (ExitCode.OK, "2 events sent\n")
    bodies = world.bodies()
    assert bodies == rendered(world, 0, 2)
    assert "@example.com" not in str(bodies)
    assert [parse_event(body).sequence for body in bodies] == [1, 2]


def test_the_personal_topic_s_events_have_their_addresses(world: World) -> None:
    """Only events with personal data are on that topic."""
    code, text = world.run("--user", uid("ada"), "--personal", "--yes", "--json")
    assert (code, json.loads(text)) == (ExitCode.OK, {"sent": 1, "events": 1})
    (body,) = world.bodies()
    data = parse_event(body).data
    assert isinstance(data, UserRegistered)
    assert data.email == "ada@example.com"


def test_a_message_is_what_sns_delivers(world: World) -> None:
    """Body and attributes are those of a raw delivery from the topic."""
    sns: Any = boto3.client("sns")
    topic = sns.create_topic(Name="user-events")["TopicArn"]
    arn = world.sqs.get_queue_attributes(QueueUrl=world.url, AttributeNames=["QueueArn"])
    sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn["Attributes"]["QueueArn"],
        Attributes={"RawMessageDelivery": "true"},
    )
    messages = render_events(world.changes[1].outcomes[0])
    assert SnsPublisher(aws.client("sns"), topic).publish(messages) == {}
    (published,) = world.received()
    world.run("--user", uid("grace"), "--yes")
    (replayed,) = world.received()
    assert replayed["Body"] == published["Body"]
    assert replayed["MessageAttributes"] == published["MessageAttributes"]
    assert replayed["MessageAttributes"]["type"]["StringValue"] == "biome.user.UserRegistered.v1"


def test_a_time_range_finds_the_events_of_all_users(world: World) -> None:
    """From a time on, and before another one."""
    start, later = render_time(NOW), render_time(NOW + timedelta(minutes=1))
    assert world.run("--since", start, "--yes")[1] == "3 events sent\n"
    assert sorted(world.bodies()) == sorted(rendered(world, 0, 1, 2))
    assert world.run("--since", later, "--yes")[1] == "1 event sent\n"
    assert world.bodies() == rendered(world, 2)
    assert world.run("--until", later, "--yes")[1] == "2 events sent\n"
    assert sorted(world.bodies()) == sorted(rendered(world, 0, 1))


def test_only_the_chosen_types_are_sent(world: World) -> None:
    """As a filter policy of the subscription would choose."""
    words = ["--user", uid("ada"), "--type", "ProfileUpdated", "--yes"]
    assert world.run(*words)[1] == "1 event sent\n"
    assert world.bodies() == rendered(world, 2)


def test_a_dry_run_sends_nothing(world: World) -> None:
    """It states the number."""
    code, text = world.run("--user", uid("ada"), "--dry-run")
    assert (code, text) == (ExitCode.OK, "2 events found, none sent\n")
    assert world.bodies() == []


@pytest.mark.parametrize(("answer", "sent"), [("y\n", 2), ("n\n", 0)])
def test_without_yes_it_asks(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: str, sent: int
) -> None:
    """On a terminal; elsewhere nothing is sent."""
    assert world.run("--user", uid("ada"))[0] == ExitCode.USAGE
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answer == "y\n" or _abort())
    world.run("--user", uid("ada"))
    assert len(world.bodies()) == sent


def _abort() -> bool:
    raise typer.Abort


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--samples", "--user", uid("ada")),
        ("--user", "ada"),
        ("--since", "yesterday"),
        ("--user", uid("ada"), "--type", "UserTeleported"),
    ],
)
def test_an_invalid_choice_is_refused(world: World, words: tuple[str, ...]) -> None:
    """Nothing is sent."""
    assert world.run(*words, "--yes")[0] == ExitCode.USAGE
    assert world.bodies() == []


def test_an_unknown_queue_is_an_error(world: World) -> None:
    """The message names the queue."""
    world.sqs.delete_queue(QueueUrl=world.url)
    assert world.run("--samples", "--yes")[0] == ExitCode.ENVIRONMENT


@pytest.mark.parametrize(
    "error", [ClientError({"Error": {"Code": "AccessDenied"}}, "SendMessageBatch"), OSError()]
)
def test_an_event_that_cannot_be_sent_ends_it_with_an_error(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Any exception of the SDK counts as a refusal."""

    def refuse(**_: object) -> None:
        raise error

    connections = Aws(Settings())
    monkeypatch.setattr(connections.sqs, "send_message_batch", refuse)
    monkeypatch.setattr(composition, "aws", lambda: connections)
    assert world.run("--user", uid("ada"), "--yes")[0] == ExitCode.ENVIRONMENT


def test_the_samples_are_the_life_of_one_user(world: World) -> None:
    """A subscriber with an inbox processes each once and in order; a second story is another's."""
    stories = []
    for _ in range(2):
        assert world.run("--samples", "--yes")[0] == ExitCode.OK
        stories.append([parse_event(body) for body in world.bodies()])
    first, second = stories
    assert {event.user_id for event in first}.isdisjoint({event.user_id for event in second})
    assert isinstance(first[0].data, UserRegistered)
    assert isinstance(first[-1].data, UserErased)
    inbox = Inbox(SqliteInboxStore(sqlite3.connect(":memory:")))
    due = [each for event in first for each in inbox.take(event, 0)]
    assert due == first
    assert inbox.gaps(10**9) == []


def test_the_samples_tell_a_story_without_a_contradiction(world: World) -> None:
    """The address stays the same until its change; times, tokens and counts fit together."""
    assert world.run("--samples", "--personal", "--yes")[0] == ExitCode.OK
    address = None
    tokens: list[str] = []
    for event in map(parse_event, world.bodies()):
        data = event.data.model_dump()
        if isinstance(event.data, UserRegistered):
            address = data["email"]
        assert data.get("email", address) == data.get("old_email", address) == address
        if isinstance(event.data, EmailChanged):
            address = data["new_email"]
        if "token_id" in data:
            tokens.append(str(data["token_id"]))
            assert event.time < data["expires_at"]
    assert address == "ada@example.org"
    assert len(set(tokens)) == len(tokens) == 3


def test_the_samples_are_decided_by_the_rules_of_the_worker() -> None:
    """Each accepted command has an event; the one rejection is of the state that the story has."""
    story = list(sample_story(NOW))
    assert [each.recorded_at for each in story] == sorted(each.recorded_at for each in story)
    assert story[-1].recorded_at == NOW
    assert [each.code for each in story if each.code] == [RejectionCode.TOKEN_INVALID]
    kinds = [event.type.split(".")[2] for each in story for event in each.events]
    assert kinds == [
        *("UserRegistered", "EmailVerificationRequested", "EmailVerified", "SessionStarted"),
        *("ProfileUpdated", "LoginFailed", "EmailChangeRequested", "EmailChanged"),
        *("PasswordResetRequested", "PasswordReset", "CommandRejected"),
        *("UserDeactivated", "UserReactivated", "UserErased"),
    ]
    (failed,) = [e.data for each in story for e in each.events if e.type.endswith("LoginFailed.v1")]
    assert failed["failed_logins"] == 1


def test_an_erased_user_s_events_have_no_personal_data(world: World) -> None:
    """A replay of the personal topic does not bring them back."""
    user = world.changes[1].user
    assert user is not None
    users = DynamoDBUserRepository(aws.client("dynamodb"), "users")
    assert not users.commit([erased(user)], NOW).failures
    world.run("--user", uid("grace"), "--yes")
    assert "@example.com" not in str(world.bodies())

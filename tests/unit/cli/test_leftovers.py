"""`user-worker leftovers`, and what `doctor` reports about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import boto3
import pytest

from adapters.sns.subscription import OUTCOMES, PURPOSES, TAIL, temporary_subscription
from cli import composition
from cli.app import run
from operations import orphaned_queues
from operations.doctor import resources
from tests.unit.cli.dlq_world import Done, mocked
from worker.errors import ExitCode
from worker.resources.finding import Level

UNREAD = orphaned_queues.TemporaryQueues.unread


@dataclass
class Account:
    """An account with both topics and a command queue, and the command line on it."""

    capsys: pytest.CaptureFixture[str]
    topic: str
    personal: str
    sqs: Any
    sns: Any
    killed: list[object] = field(default_factory=list)

    def forgotten(self, prefix: str = OUTCOMES, topic: str = "") -> str:
        """Create a queue like a process that is then killed; return its name."""
        made = temporary_subscription(self.sqs, self.sns, topic or self.topic, prefix)
        url = made.__enter__().queue_url
        self.killed.append(made)  # keep a reference, or it would clean up
        return url.rpartition("/")[2]

    def queues(self) -> set[str]:
        """Return the names of all queues but the command queue."""
        urls = self.sqs.list_queues().get("QueueUrls", ())
        return {url.rpartition("/")[2] for url in urls} - {"user-commands"}

    def subscribed(self) -> set[str]:
        """Return the names of the subscribed queues."""
        rows = [
            row
            for topic in (self.topic, self.personal)
            for row in self.sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        ]
        return {row["Endpoint"].rpartition(":")[2] for row in rows}

    def run(self, *words: str) -> Done:
        """Run `user-worker leftovers`."""
        self.capsys.readouterr()
        code = run(["leftovers", *words])
        captured = self.capsys.readouterr()
        return Done(code, captured.out, captured.err)


@pytest.fixture
def account(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Account]:
    """An AWS in this process."""
    with mocked():
        sqs, sns = boto3.client("sqs"), boto3.client("sns")
        sqs.create_queue(QueueName="user-commands")
        topic = sns.create_topic(Name="user-events")["TopicArn"]
        personal = sns.create_topic(Name="user-events-personal")["TopicArn"]
        patience(monkeypatch)
        monkeypatch.setattr(orphaned_queues, "WAIT", 0)
        made = Account(capsys, topic, personal, sqs, sns)
        yield made
        made.killed.clear()


def patience(
    monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Skip the minute of waiting, and call `meanwhile` in its place."""

    def unread(self: Any, queues: Any) -> Any:
        return UNREAD(self, queues, lambda _: meanwhile())

    monkeypatch.setattr(orphaned_queues.TemporaryQueues, "unread", unread)


def read_all(account: Account, name: str) -> None:
    """Receive and delete all messages of a queue, like its reader."""
    url = account.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    while rows := account.sqs.receive_message(QueueUrl=url).get("Messages"):
        for row in rows:
            account.sqs.delete_message(QueueUrl=url, ReceiptHandle=row["ReceiptHandle"])


def test_an_unread_queue_is_deleted_with_its_subscription_and_nothing_else(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is read stays, and so does one that only has a similar name."""
    forgotten = {account.forgotten(prefix) for prefix in PURPOSES}
    forgotten.add(account.forgotten(TAIL, account.personal))
    alive = account.forgotten()
    others = {"user-outcomes-billing", f"my-{alive}", f"{alive}-dlq"}
    for name in others:
        account.sqs.create_queue(QueueName=name)
    patience(monkeypatch, lambda: read_all(account, alive))

    done = account.run("--older-than", "0s", "--remove", "--json")

    assert (done.code, done.rows) == (ExitCode.OK, [{"queues": 4, "subscriptions": 0}])
    assert account.queues() == {alive} | others
    assert account.subscribed() == {alive}
    assert forgotten.isdisjoint(account.queues())
    read_all(account, alive)


@pytest.mark.parametrize("count", [1, 60])
def test_a_queue_full_of_old_answers_has_no_reader(
    account: Account, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The probe is far behind the other messages, and more arrive all the time."""
    name = account.forgotten(TAIL)
    url = account.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def answers() -> None:
        for _ in range(count):
            account.sqs.send_message(QueueUrl=url, MessageBody="{}")

    answers()
    patience(monkeypatch, answers)
    assert account.run("--older-than", "0s", "--remove", "--json").rows[0]["queues"] == 1
    assert account.queues() == set()


def test_young_queues_are_left_alone(account: Account) -> None:
    """An hour is the longest wait of a command, so younger queues are not probed."""
    name = account.forgotten()
    for words in ([], ["--remove"]):
        assert account.run(*words).code == ExitCode.OK
    url = account.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    assert "Messages" not in account.sqs.receive_message(QueueUrl=url)
    assert "no temporary queue is older than 1h" in account.run().out
    listed = account.run("--older-than", "0s")
    assert name in listed.out
    assert account.queues() == account.subscribed() == {name}


def test_subscriptions_without_a_queue_end(account: Account) -> None:
    """A topic has a limited number of filter policies. Those of other accounts are not ours."""
    gone = account.forgotten()
    account.sqs.delete_queue(QueueUrl=account.sqs.get_queue_url(QueueName=gone)["QueueUrl"])
    theirs = f"{OUTCOMES}-{uuid4().hex[:12]}"
    arn = f"arn:aws:sqs:us-east-1:999999999999:{theirs}"
    account.sns.subscribe(TopicArn=account.topic, Protocol="sqs", Endpoint=arn)
    done = account.run("--remove", "--json")
    assert done.rows == [{"queues": 0, "subscriptions": 1}]
    assert account.subscribed() == {theirs}


def test_an_invalid_age_is_refused(account: Account) -> None:
    """It is refused before any call to AWS."""
    assert account.run("--older-than", "soon").code == ExitCode.USAGE


def test_a_queue_that_is_deleted_meanwhile_is_ignored(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process has ended normally."""
    url = account.sqs.get_queue_url(QueueName=account.forgotten())["QueueUrl"]
    patience(monkeypatch, lambda: account.sqs.delete_queue(QueueUrl=url))
    done = account.run("--older-than", "0s", "--remove", "--json")
    assert (done.code, done.rows[0]["queues"]) == (ExitCode.OK, 0)


def test_doctor_warns_of_those_that_were_most_likely_killed(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service's queue for outcomes may be old, unless it has outcomes that nobody fetches."""
    monkeypatch.setattr(resources, "RETENTION", -1)
    aws = composition.aws()
    assert list(resources.temporary_queues(aws)) == []
    name = account.forgotten()
    [finding] = resources.temporary_queues(aws)
    assert finding.level is Level.OK
    url = account.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    account.sqs.send_message(QueueUrl=url, MessageBody=json.dumps({}))
    [finding] = resources.temporary_queues(aws)
    assert (finding.level, name in finding.text) == (Level.WARN, True)
    read_all(account, name)
    tail = account.forgotten(TAIL)
    [finding] = resources.temporary_queues(aws)
    assert (finding.level, tail in finding.text) == (Level.WARN, True)

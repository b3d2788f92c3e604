from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import boto3.session
import pytest

from tests.builders import PASSWORD, uid
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine, complaint
from tests.e2e.worker_process import eventually

with_worker = pytest.mark.xdist_group("cli")
"""Starting a worker takes seconds, so tests that need only one share it."""

PERSON = ("first_name=Ada", "last_name=Lovelace", f"password_hash={PASSWORD.value}")


@pytest.fixture
def cli(aws_endpoint: str, resource_names: ResourceNames) -> CommandLine:
    """The command line on resources that do not exist yet."""
    return CommandLine.on(resource_names, aws_endpoint)


@pytest.fixture
def ready(cli: CommandLine) -> CommandLine:
    """The command line on existing resources."""
    done = cli.run("provision")
    assert done.code == 0, done.err
    return cli


@pytest.fixture(scope="module")
def busy(aws_endpoint: str) -> Iterator[CommandLine]:
    """The command line on resources with a worker that was started by `run`."""
    cli = CommandLine.on(ResourceNames.unique(), aws_endpoint)
    assert cli.run("provision").code == 0
    with cli.running("run", "--pool", "threads", "-c", "2") as process:
        yield cli
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == 0


def address(name: str) -> str:
    """Return the `email` argument with a unique address."""
    return f"email={name}-{uuid4().hex[:8]}@example.com"


def tails(endpoint: str) -> set[str]:
    """Return the queues that `events` has created and not deleted."""
    sqs: Any = boto3.session.Session().client("sqs", endpoint_url=endpoint)
    return set(sqs.list_queues(QueueNamePrefix="user-worker-tail").get("QueueUrls", []))


# --- commands and outcomes ---


@pytest.mark.embedded
@with_worker
def test_a_command_is_sent_and_its_outcome_is_received(busy: CommandLine) -> None:
    """The exit code is 0 for accepted and 1 for rejected.

    Outcome and user can be read later, without secrets.
    """
    email = address("ada")
    sent = busy.run("send", "RegisterUser", email, *PERSON, "--wait", "30", "--json")
    assert sent.code == 0, sent.err
    outcome = json.loads(sent.out)
    assert (outcome["status"], outcome["version"]) == ("accepted", 1)
    assert [event["type"] for event in outcome["events"]] == ["biome.user.UserRegistered.v1"]

    taken = busy.run("send", "RegisterUser", email.replace("ada", "ADA"), *PERSON, "--wait", "30")
    assert taken.code == 1
    assert "EmailTaken" in taken.out

    again = busy.run("outcome", outcome["command_id"], "--json")
    assert json.loads(again.out) == outcome

    shown = busy.run("user", email.removeprefix("email="), "--history", "--json")
    user = json.loads(shown.out)
    assert user["user_id"] == outcome["user_id"]
    assert "password_hash" not in user
    assert [o["command_id"] for o in user["history"]] == [outcome["command_id"]]
    plain = busy.run("user", outcome["user_id"], "--history")
    assert PASSWORD.value not in shown.out + plain.out


@pytest.mark.embedded
@with_worker
def test_many_commands_by_standard_input_all_end(busy: CommandLine) -> None:
    """More JSON lines than two batches hold each have an outcome, in order."""
    lines = [
        {
            "type": "CreateUser",
            "id": uid(f"command {number}"),
            "data": {
                "email": f"user{number}@example.com",
                "first_name": "A",
                "last_name": "B",
                "roles": [],
            },
        }
        for number in range(25)
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    done = busy.run("send", "-", "--wait", "30", "--json", text=text)
    assert done.code == 0, done.err
    outcomes = [json.loads(line) for line in done.out.splitlines()]
    assert [o["command_id"] for o in outcomes] == [line["id"] for line in lines]


@pytest.mark.embedded
def test_ids_go_to_standard_output_and_talk_does_not(ready: CommandLine) -> None:
    """Standard output has the ids and nothing else, for use by scripts."""
    text = f'{{"type":"UnbanUser","user_id":"{uid("a")}","id":"{uid("1")}"}}\n' * 1
    done = ready.run("send", "--file", "-", text=text)
    assert (done.code, done.out) == (0, f"{uid('1')}\n")


@pytest.mark.embedded
def test_nothing_is_sent_when_one_of_many_is_wrong(ready: CommandLine) -> None:
    """An error in the third line prevents the first two from being sent."""
    good = json.dumps({"type": "UnbanUser", "user_id": uid("ada")})
    done = ready.run("send", "-", text=f"{good}\n{good}\n" + '{"type": "UnbanUser"}')
    assert done.code == 2
    assert "line 3: subject" in complaint(done)
    assert ready.waiting() == 0


@pytest.mark.embedded
def test_without_a_worker_waiting_ends_in_time(ready: CommandLine) -> None:
    """A missing answer has its own exit code."""
    done = ready.run("send", "UnbanUser", "--user", uid("ada"), "--wait", "0.2")
    assert done.code == 4
    assert "that a worker is running" in complaint(done)
    later = ready.run("outcome", uid("command"), "--user", uid("ada"), "--wait", "0.1")
    assert later.code == 4


@pytest.mark.embedded
def test_who_is_not_there_is_an_answer_and_no_failure(ready: CommandLine) -> None:
    """An unknown user or command has exit code 1, not 3."""
    assert ready.run("user", "nobody@example.com").code == 1
    assert ready.run("user", uid("nobody")).code == 1
    assert ready.run("outcome", uid("never")).code == 1


def test_a_fifo_queue_takes_commands_and_a_fifo_topic_is_followed(
    aws_endpoint: str, fifo_resource_names: ResourceNames
) -> None:
    """FIFO names are sufficient to use FIFO resources."""
    cli = CommandLine.on(fifo_resource_names, aws_endpoint)
    assert cli.run("provision").code == 0
    assert cli.run("send", "UnbanUser", "--user", uid("ada"), "--group", "own").code == 0
    assert cli.waiting() == 1
    sns: Any = boto3.session.Session().client("sns", endpoint_url=aws_endpoint)
    with cli.running("events", "--json", "--limit", "1") as process:
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
        sns.publish(
            TopicArn=sns.create_topic(
                Name=fifo_resource_names.events_topic, Attributes={"FifoTopic": "true"}
            )["TopicArn"],
            Message='{"type": "biome.user.UserUnbanned.v1", "id": "1"}',
            MessageGroupId="g",
            MessageDeduplicationId="d",
        )
        out, _ = process.communicate(timeout=30)
    assert json.loads(out)["type"] == "biome.user.UserUnbanned.v1"


# --- events ---


@with_worker
def test_events_are_followed_until_the_limit(busy: CommandLine) -> None:
    """A filtered tail prints only its category, and ends by itself."""
    email = address("grace")
    with busy.running("events", "--category", "command", "--json", "--limit", "1") as process:
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
        for _ in range(2):
            busy.run("send", "RegisterUser", email, *PERSON, "--wait", "30")
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    (event,) = [json.loads(line) for line in out.splitlines()]
    assert event["type"] == "biome.user.CommandRejected.v1"
    assert event["data"]["code"] == "EmailTaken"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_a_topic_leaves_it_unchanged(
    ready: CommandLine, aws_endpoint: str, number: signal.Signals
) -> None:
    """Ctrl-C and SIGTERM delete the temporary queue."""
    before = tails(aws_endpoint)
    with ready.running("events") as process:
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
        own = tails(aws_endpoint) - before
        assert own
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    eventually(lambda: not own & tails(aws_endpoint), what="the queue is removed")


# --- run ---


@pytest.mark.embedded
def test_what_celery_refuses_is_the_exit_code_of_run(ready: CommandLine) -> None:
    """Celery parses the arguments after `--`."""
    done = ready.start("run", "--", "--no-such-option")
    assert done.code == 2
    assert "no-such-option" in done.err


@pytest.mark.embedded
def test_run_without_its_queue_ends_with_a_line(cli: CommandLine) -> None:
    """A worker without its queue does not start."""
    done = cli.start("run", USER_WORKER_CREATE_RESOURCES="false")
    assert done.code != 0
    assert cli.environment["USER_WORKER_COMMAND_QUEUE"] in done.err


@pytest.mark.embedded
def test_users_in_memory_are_worked_on_by_threads(ready: CommandLine) -> None:
    """`run` chooses the pool and says so."""
    with ready.running("run", USER_WORKER_REPOSITORY="memory") as process:
        assert process.stderr is not None
        assert "memory" in process.stderr.readline()
        assert "--pool=threads" in process.stderr.readline()

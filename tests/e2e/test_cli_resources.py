"""The command line on resources that exist, are missing, or are in another region."""

from __future__ import annotations

import json
import socket

import pytest

from tests.builders import uid
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine, complaint
from tests.e2e.proxy import FaultyProxy, Junk


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


def test_provision_makes_what_is_missing_and_finds_it_the_next_time(cli: CommandLine) -> None:
    """Provisioning twice changes nothing, and the output tells created from found resources."""
    first = json.loads(cli.run("provision", "--json").out)
    second = json.loads(cli.run("provision", "--json").out)
    assert set(first.values()) == {"made"}
    assert set(second.values()) == {"found"}
    assert first.keys() == second.keys()
    assert len(first) == 6


def test_status_names_what_is_missing_and_then_that_all_is_there(cli: CommandLine) -> None:
    """A missing resource has its own exit code; the error names it and the remedy."""
    before = cli.run("status")
    assert before.code == 3
    names = [cli.environment[name] for name in cli.environment if name.startswith("USER_WORKER_")]
    assert len(names) == 6
    assert all(name in before.out and name in complaint(before) for name in names)
    assert "user-worker provision" in complaint(before)
    cli.run("provision")
    after = cli.run("status", "--json")
    assert after.code == 0
    facts = json.loads(after.out)
    assert facts["missing"] == []
    assert [*facts["command_queues"].values()] == [{"visible": 0, "in_flight": 0, "delayed": 0}]
    assert (facts["outbox"]["pending"], facts["outbox"]["parked"]) == (0, [])


def test_doctor_finds_nothing_wrong_where_nothing_is_and_changes_nothing(
    ready: CommandLine, aws_endpoint: str
) -> None:
    """This holds on an emulator too: each probe is refused or has no effect."""
    ready.run("send", "UnbanUser", "--user", uid("ada"))
    done = ready.run("doctor", "--json")
    findings = [json.loads(line) for line in done.out.splitlines()]
    assert (done.code, [f for f in findings if f["level"] == "fail"]) == (0, [])
    assert findings[-1]["check"] in {"permissions", "leftovers"}
    assert f"source: env; {aws_endpoint}" == "; ".join(
        f["text"] for f in findings if f["check"] in {"credentials", "endpoint"}
    )
    facts = json.loads(ready.run("status", "--json").out)
    assert [*facts["command_queues"].values()] == [{"visible": 1, "in_flight": 0, "delayed": 0}]
    assert facts["dead_letters"]["visible"] == 0


def test_what_waits_is_counted(ready: CommandLine) -> None:
    """Commands that no worker has received yet are visible in `status`."""
    for _ in range(2):
        ready.run("send", "UnbanUser", "--user", uid("ada"))
    assert ready.waiting() == 2


@pytest.mark.parametrize("setting", ["PRIORITY_QUEUE", "ADDITIONAL_QUEUES"])
def test_every_command_queue_is_created_examined_and_counted(
    ready: CommandLine, setting: str
) -> None:
    """An alarm on this queue alone shows in `status`, and so does a wrong queue name."""
    command_queue = ready.environment["USER_WORKER_COMMAND_QUEUE"]
    names = [f"{command_queue}-{setting[:8].lower()}"]
    if setting == "ADDITIONAL_QUEUES":
        names.append(f"{names[0]}-2")
    more = {f"USER_WORKER_{setting}": ",".join(names)}
    missing = ready.run("status", **more)
    assert missing.code == 3
    for command in ("status", "doctor"):
        said = ready.run(command, **more)
        assert (said.code, all(f"queue {name}" in said.out for name in names)) == (3, True)
    made = ready.run("provision", **more)
    assert all(name in made.out for name in names)
    ready.run("send", "UnbanUser", "--user", uid("ada"), "--queue", names[-1], **more)
    queues = json.loads(ready.run("status", "--json", **more).out)["command_queues"]
    assert {name: depths["visible"] for name, depths in queues.items()} == {
        command_queue: 0,
        **dict.fromkeys(names, 0),
        names[-1]: 1,
    }
    assert names[-1] in ready.run("status", **more).out
    findings = [json.loads(x) for x in ready.run("doctor", "--json", **more).out.splitlines()]
    assert {f"queue {name}" for name in names} <= {f["check"] for f in findings}
    assert not [f for f in findings if f["level"] == "fail"]


@pytest.mark.embedded
@pytest.mark.parametrize("line", ["status", "dlq list", f"send UnbanUser --user {uid('ada')}"])
def test_a_web_page_instead_of_aws_is_explained(
    cli: CommandLine, aws_endpoint: str, line: str
) -> None:
    """A wrong port, or a network that requires a sign-in, answers 200 with HTML."""
    with FaultyProxy(aws_endpoint) as proxy:
        proxy.inject(Junk())
        done = cli.run(*line.split(), AWS_ENDPOINT_URL=proxy.url)
    assert (done.code, "the endpoint is not AWS" in complaint(done)) == (3, True)


def test_what_is_missing_in_production_is_not_to_be_made_by_hand(cli: CommandLine) -> None:
    """`provision` refuses in production, so the error does not suggest it."""
    done = cli.run("status", USER_WORKER_ENV="prod")
    assert done.code == 3
    assert "provision" not in complaint(done)
    assert "user-worker doctor" in complaint(done)


@pytest.mark.parametrize(
    ("line", "variable"),
    [
        ("send UnbanUser --user 5f0c4f0e-2f1b-4a58-9a3f-0d3b8f1f9c77", "COMMAND_QUEUE"),
        ("events", "EVENTS_TOPIC"),
        ("events --personal", "PERSONAL_TOPIC"),
    ],
)
def test_without_queue_or_topic_the_error_shows_how_to_create_it(
    cli: CommandLine, line: str, variable: str
) -> None:
    """For a missing resource, one line gives its name and its setting."""
    done = cli.run(*line.split())
    assert done.code == 3
    assert f" {cli.environment[f'USER_WORKER_{variable}']} in region" in complaint(done)
    assert f"USER_WORKER_{variable}" in complaint(done)
    assert "user-worker provision" in complaint(done)


@pytest.mark.parametrize("line", ["user ada@example.com", f"outcome {uid('command')}"])
def test_without_the_table_the_error_shows_how_to_create_it(cli: CommandLine, line: str) -> None:
    """For a missing table, one line gives its name."""
    done = cli.run(*line.split())
    assert done.code == 3
    assert f"no table {cli.environment['USER_WORKER_TABLE']}" in complaint(done)


def test_in_another_region_nothing_is_found_and_the_region_is_named(ready: CommandLine) -> None:
    """The error names the region that was used."""
    done = ready.run("send", "UnbanUser", "--user", uid("ada"), AWS_DEFAULT_REGION="eu-west-1")
    assert done.code == 3
    assert "region eu-west-1" in complaint(done)


@pytest.mark.embedded
def test_if_nothing_answers_the_advice_names_what_to_start(cli: CommandLine) -> None:
    """For a refused connection, the error names the address and how to start a service there."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        done = cli.run("status", AWS_ENDPOINT_URL=url)
    assert done.code == 3
    assert f"nothing answers at {url}" in complaint(done)
    assert "make up" in complaint(done)


@pytest.mark.embedded
def test_without_credentials_they_are_asked_for(cli: CommandLine) -> None:
    """Missing credentials are reported in one line, without a traceback."""
    done = cli.run("status", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.code == 3
    assert "no AWS credentials" in complaint(done)

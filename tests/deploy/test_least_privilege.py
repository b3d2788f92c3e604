"""Each role's policy allows what the role does, and nothing else.

Each role works behind its own proxy, which records the permissions that its calls need, whatever
program or library makes them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from adapters.dynamodb import mapper
from adapters.dynamodb.provision import provision_table
from adapters.dynamodb.table import USER_PREFIX, address_key
from adapters.dynamodb.table import key as key_of
from application.permissions import ANY, Producer
from application.permissions_file import parse_permissions
from biome_users import (
    CommandRequest,
    LoginReader,
    OutcomeListener,
    UserCommands,
    UserReader,
    commands,
)
from domain import commands as c
from operations import orphaned_queues as leftovers
from tests.builders import email, start_session, token, uid
from tests.client_commands import of_client
from tests.deploy.roles import (
    BACK_OFFICE,
    DEAD,
    PRIORITY,
    QUARANTINE,
    QUEUE,
    TOPIC,
    Role,
    World,
    a_user_to_scrub,
    as_role,
    but_quarantine,
    check,
    forget,
    park,
    quarantine,
    with_arn,
    world_of,
    write_letters,
)
from tests.deploy.stacks import DEPLOY, Account
from tests.deploy.templates import template
from tests.deploy.uses import Policy, Recorder, Use
from tests.e2e.account import BIN, ROOT
from tests.e2e.command_line import CommandLine
from tests.e2e.proxy import Answer, Exchange
from tests.e2e.worker_process import eventually
from worker.settings import Settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("privilege"),
]

SUBSCRIBER: str = template("access")["Parameters"]["SubscriberPrefix"]["Default"]
BOOK = "address-book"
"""End of the queue name of the subscriber example."""
AUDIT = "audit"
"""The same of its variant that is subscribed to the ordinary topic only."""
ALL_QUEUES = (QUEUE, PRIORITY, BACK_OFFICE)
ONE_QUEUE = {"USER_WORKER_PRIORITY_QUEUE": "", "USER_WORKER_ADDITIONAL_QUEUES": ""}
PRODUCERS = parse_permissions(
    (DEPLOY / "permissions.toml").read_text(), ALL_QUEUES, Settings().roles
).producers
OF_A_MOVE_UNDER_WAY = {
    Use(f"sqs:{name}MessageMoveTask{end}", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}")
    for name, end in (("Cancel", ""), ("List", "s"))
}
"""Called after a move has started, which the embedded AWS does not support."""


@pytest.fixture(scope="module")
def world(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The account, with a worker that reads the outbox all the time."""
    with world_of(aws_endpoint, tmp_path_factory.mktemp("privilege")) as world:
        yield world


# --- the roles -----------------------------------------------------------------------------


@pytest.mark.policies("worker", "queues/WorkerPolicy")
def test_the_worker_may_do_what_it_does(world: World) -> None:
    """It registers, rejects, retries, dead-letters, erases and publishes, on all queues."""
    ada = uid("ada of privilege")
    soon = datetime.now(UTC) + timedelta(hours=1)
    registration = c.CreateUser(email(ada), "Ada", ("customer",), last_name="Lovelace")
    everybody = world.role()
    with as_role(everybody):
        senders = [UserCommands(name, source="/test") for name in (QUEUE, PRIORITY, BACK_OFFICE)]
        users, urgent, back_office = senders
        for sender in senders:  # retried, because the user's registration may still come
            sender.send(commands.UnlockUser(), user_id=str(uuid.uuid4()))
        with OutcomeListener(source="/test", topic=TOPIC) as outcomes:

            def done(command: c.Command, sender: UserCommands = users) -> str:
                sent = sender.send(of_client(command), user_id=ada)
                return outcomes.answer(sent, timeout=30).kind

            assert done(registration, urgent) == "accepted"
            for name in ("phone", "laptop"):  # both are deleted in one call by the erasure
                session = start_session(uid(f"{ada} {name}"), token(f"{ada} {name}"), soon, 0)
                assert done(session, back_office) == "accepted"
            assert done(c.EraseUser()) == "accepted"
        sqs = world.account.client("sqs")
        url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="no command")
    check(Policy.of("worker") | Policy.of_queues("WorkerPolicy"), lambda: world.worker.uses)


def policy_of(producer: Producer) -> str:
    """Return the name of a producer's policy in deploy/queues.yaml."""
    return f"Producer{producer.name.title().replace('-', '')}Policy"


@pytest.mark.parametrize(
    "producer",
    [
        pytest.param(each, id=each.name, marks=pytest.mark.policies(f"queues/{policy_of(each)}"))
        for each in PRODUCERS
    ],
)
def test_a_producer_may_do_what_it_does(world: World, producer: Producer) -> None:
    """By this project's client, with single and bulk sends, by plain boto3, and by Celery.

    Each producer of the example file sends to its queues, and its policy allows no other one.
    """
    somebody = world.role()
    queues = ALL_QUEUES if ANY in producer.queues else producer.queues
    with as_role(somebody):
        for queue in queues:
            users = UserCommands(queue, source="/test")
            users.send(commands.UnlockUser(), user_id=uid("nobody"))
            unlock = CommandRequest(command=commands.UnlockUser(), user_id=uuid.UUID(uid("nobody")))
            users.send_many([unlock, unlock])
    run_example(somebody, "send_boto3.py", *queues)
    run_example(somebody, "send_celery.py", *queues)
    policy = Policy.of_queues(policy_of(producer))
    check(policy, lambda: somebody.uses)
    others = {Use("sqs:SendMessage", f"arn:aws:sqs:REGION:ACCOUNT:{each}") for each in ALL_QUEUES}
    assert len(policy.lacks(others)) == len(ALL_QUEUES) - len(queues)


@pytest.mark.parametrize(
    "personal",
    [
        pytest.param(False, id="ordinary", marks=pytest.mark.policies("subscriber")),
        pytest.param(True, id="personal", marks=pytest.mark.policies("personal-subscriber")),
    ],
)
def test_a_subscriber_may_do_what_it_does(world: World, *, personal: bool) -> None:
    """A subscriber with its own queue, and one that waits for outcomes.

    Only with the policy for the personal topic it receives addresses.
    """
    subscriber, producer = world.role(), world.role()
    source = f"/test/{uuid.uuid4()}"
    users = UserCommands(QUEUE, source=source)
    with ExitStack() as stack:
        with as_role(subscriber):
            listener = stack.enter_context(OutcomeListener(source=source, topic=TOPIC))
        queue = BOOK if personal else AUDIT
        program = EXAMPLE if personal else ON_THE_ORDINARY_TOPIC
        book = stack.enter_context(following(subscriber, program))
        count = 2 if personal else 1
        eventually(lambda: _subscriptions(world, queue) == count, 30, f"{count} subscriptions")
        person = c.CreateUser(email(uuid.uuid4().hex), "Ada", ("customer",), last_name="Lovelace")
        with as_role(producer):
            sent = users.send(of_client(person), user_id=str(uuid.uuid4()))
        assert listener.answer(sent, timeout=30).kind == "accepted"
        assert book.stdout is not None
        assert ("@example.com" in book.stdout.readline()) is personal
        deleted = Use("sqs:DeleteMessage", f"arn:aws:sqs:REGION:ACCOUNT:{SUBSCRIBER}{queue}")
        eventually(lambda: deleted in subscriber.uses, 30, "the end of a message")
    policy = "personal-subscriber" if personal else "subscriber"
    check(Policy.of(policy, SUBSCRIBER=SUBSCRIBER), lambda: subscriber.uses)


EXAMPLE = (ROOT / "examples" / "subscribe.py").read_text()
ON_THE_ORDINARY_TOPIC = (
    re.sub(r'    f"\{topic\}-personal": .*\n', "", EXAMPLE)
    .replace('topic: ["UserErased"]', 'topic: ["UserCreated"]')
    .replace(BOOK, AUDIT)
)


@contextmanager
def following(subscriber: Role, program: str) -> Iterator[subprocess.Popen[str]]:
    """Run a subscriber while the block runs."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, env=subscriber.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _subscriptions(world: World, queue: str) -> int:
    found = world.account.client("sns").list_subscriptions()["Subscriptions"]
    return sum(each["Endpoint"].endswith(f":{SUBSCRIBER}{queue}") for each in found)


@pytest.mark.policies("operator", "queues/OperatorPolicy")
def test_an_operator_may_do_what_they_do(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that inspects or repairs the system; `doctor` also tries what others may do."""
    operator, patient = world.role(), world.role()
    cli = CommandLine(with_arn(operator.environment, world.account))
    edith = a_user_to_scrub(world)
    write_letters(world)
    park(world, *edith)
    forget(world)
    monkeypatch.setattr(leftovers, "PATIENCE", 0.0)  # nobody else uses this account
    for words in (
        ["status"],
        ["user", edith[0], "--history"],
        ["user", "nobody@example.com"],
        ["outcome", str(uuid.uuid4()), "--user", edith[0]],
        ["dlq", "list"],
        ["dlq", "redrive", "--yes"],
        ["outbox", "list"],
        ["outbox", "publish", "--parked"],
        ["leftovers", "--older-than", "0s", "--remove"],
    ):
        done = cli.run(*words)
        assert done.code in {0, 1}, (words, done.err)
    sqs = world.account.client("sqs")  # SQS moves dead letters only while there are no originals
    sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=QUARANTINE)["QueueUrl"])
    cli.run("dlq", "redrive", "--move-task", "--yes", **ONE_QUEUE)  # by SQS
    tried = examine(patient, world.account)
    workers = Policy.of("worker") | Policy.of_queues("WorkerPolicy")
    of_others = tried - set(workers.lacks(tried))
    check(
        Policy.of("operator") | Policy.of_queues("OperatorPolicy"),
        lambda: but_quarantine(operator.uses) | tried | OF_A_MOVE_UNDER_WAY,
        but_for=of_others - but_quarantine(operator.uses),
    )


@pytest.mark.policies("break-glass")
def test_a_break_glass_role_may_do_what_it_does(world: World) -> None:
    """Beside the operator's policy, for a redrive of redacted dead letters."""
    person, sqs = world.role(), world.account.client("sqs")
    for name in (DEAD, QUARANTINE):
        sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])
    quarantine(world)
    cli = CommandLine(with_arn(person.environment, world.account))
    for words in (["status"], ["dlq", "redrive", "--yes"]):
        done = cli.run(*words)
        assert done.code == 0, (words, done.err)
    check(
        Policy.of("break-glass"),
        lambda: {use for use in person.uses if use.resource.endswith(QUARANTINE)},
    )


@pytest.mark.policies("exporter")
def test_an_exporter_may_do_what_it_does(world: World) -> None:
    """An export is complete, so it reads credentials too, and writes only that they are set."""
    exporter = world.role()
    user, _ = a_user_to_scrub(world)
    done = CommandLine(exporter.environment).run("export", user)
    assert done.code == 0, done.err
    check(Policy.of("exporter"), lambda: exporter.uses)


@pytest.mark.policies("reader-without-credentials")
def test_a_reader_without_credentials_may_do_what_it_does(world: World) -> None:
    """It reads by id, by address, sessions and outcomes."""
    service = world.role()
    user, first = a_user_to_scrub(world)
    with as_role(service):
        reader = UserReader()
        assert reader.by_email(email(user).value) == reader.get(user)
        assert len(reader.sessions(user)) == 2
        assert reader.session_is_good(user, uid(f"{user} phone"))
        outcome = reader.outcome(user, first)
        assert outcome is not None
        assert outcome.accepted
    check(Policy.of("reader-without-credentials"), lambda: service.uses)


@pytest.mark.policies("reader")
def test_a_login_service_may_do_what_it_does(world: World) -> None:
    """It reads credentials too, by the client, and single items without one."""
    service = world.role()
    user, _ = a_user_to_scrub(world)
    session = f"{user} phone"
    of_token = token(f"{session} family").value, token(f"{session} 0").value
    with as_role(service):
        reader = LoginReader()
        found = reader.by_email(email(user).value)
        assert found is not None
        assert len(reader.sessions(user)) == 2
        assert reader.second_factor(user) is None
        assert reader.check_token(user, uid(session), *of_token).session_id == uid(session)
        reader.by_refresh_token(*of_token)
        for key in (key_of(f"{USER_PREFIX}{user}", "USER"), address_key(email(user).key)):
            assert boto3.client("dynamodb").get_item(TableName="users", Key=key)["Item"]
    check(Policy.of("reader"), lambda: service.uses)


def examine(patient: Role, account: Account) -> set[Use]:
    """Run `doctor` in production's environment; return the permissions that it used."""
    environment = with_arn(patient.environment, account) | {"USER_WORKER_ENV": "prod"}
    done = CommandLine(environment).run("doctor", "--json")
    findings = [json.loads(line) for line in done.out.splitlines()]
    assert any(f["check"] == "permissions" and f["level"] == "ok" for f in findings), findings
    return patient.uses


@pytest.mark.policies("migrator")
def test_a_migrator_may_do_what_it_does(world: World, tmp_path: Path) -> None:
    """It reads everything, reserves a lost address, and releases one without a user."""
    grace, nobody = uid("grace of privilege"), uid("nobody of privilege")
    address = email(grace)
    with as_role(world.role()):
        users = UserCommands(QUEUE, source="/test")
        with OutcomeListener(source="/test", topic=TOPIC) as outcomes:
            person = c.CreateUser(address, "Grace", ("customer",), last_name="Hopper")
            outcomes.answer(users.send(of_client(person), user_id=grace), timeout=30)
    table = world.account.client("dynamodb")
    table.delete_item(TableName="users", Key=address_key(address.key))
    orphan = mapper.render_address(email(nobody), nobody)
    table.put_item(TableName="users", Item=orphan)
    migrator = world.role()
    cli = CommandLine(migrator.environment)
    done = cli.run("migrate", "--state", str(tmp_path / "state.json"), "--json")
    assert done.code == 0, done.err
    check(Policy.of("migrator"), lambda: migrator.uses)
    assert "Item" in table.get_item(TableName="users", Key=address_key(address.key))


# --- a restore -----------------------------------------------------------------------------

RUNBOOK = (ROOT / "docs" / "how-to" / "runbook.md").read_text()
NEW_TABLE = "users-restored"
REPAIR = f"USER_WORKER_TABLE={NEW_TABLE} user-worker migrate"


class Restoring(Recorder):
    """Answers as AWS where the emulators do not: restores, exports, and deletion protection."""

    def __init__(self, policy: Policy, account: Account) -> None:
        """Allow what the policy allows, in an account."""
        super().__init__(policy=policy)
        self._table = account.client("dynamodb")

    def reply(self, exchange: Exchange) -> Answer:
        """Copy the table for a restore; confirm an export and a protection."""
        asked = json.loads(exchange.asked) if exchange.asked.startswith(b"{") else {}
        match exchange.operation:
            case "RestoreTableToPointInTime":
                provision_table(self._table, asked["TargetTableName"])
                scanned = self._table.get_paginator("scan").paginate(
                    TableName=asked["SourceTableName"]
                )
                for item in (each for page in scanned for each in page["Items"]):
                    self._table.put_item(TableName=asked["TargetTableName"], Item=item)
                answer: dict[str, object] = {"TableDescription": {"TableStatus": "CREATING"}}
            case "ExportTableToPointInTime":
                answer = {"ExportDescription": {"ExportStatus": "IN_PROGRESS"}}
            case "UpdateTable":
                answer = {"TableDescription": {"TableStatus": "UPDATING"}}
            case _:
                return exchange.forward()
        headers = {"Content-Type": "application/x-amz-json-1.0"}
        return Answer(200, headers, json.dumps(answer).encode())


def blocks_of_a_restore() -> list[str]:
    """Return the blocks of shell of the procedure that its role runs: steps 2 to 4."""
    (part,) = re.findall(
        r"^### Restore the table\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL
    )
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", part, re.MULTILINE | re.DOTALL)
    by_the_role = [each for each in blocks if "aws dynamodb" in each]
    assert len(by_the_role) == 3
    assert f"`{REPAIR}`" in part
    return by_the_role


@pytest.mark.policies("restorer")
def test_a_restorer_may_do_what_they_do(world: World, tmp_path: Path) -> None:
    """The commands of the runbook work, and neither read nor write items of the table in use."""
    user, _ = a_user_to_scrub(world)
    table = world.account.client("dynamodb")
    key = key_of(f"{USER_PREFIX}{user}", "USER")
    before = table.get_item(TableName="users", Key=key)["Item"]
    restorer = Policy.of("restorer", RESTORED=NEW_TABLE)
    looking = Policy.of("operator") | Policy.of_queues("OperatorPolicy")  # for `doctor`
    person = world.role(recorder=Restoring(restorer | looking, world.account))
    in_production = with_arn(person.environment, world.account) | {"USER_WORKER_ENV": "prod"}
    (tmp_path / "changed.txt").write_text(f"{user}\n")

    create, export, raise_versions = blocks_of_a_restore()
    lines = [line.strip() for line in create.splitlines()]
    *configure, doctor = [line for line in lines if "cloudformation" not in line]
    run_shell(person.environment, "\n".join(configure), tmp_path)
    run_shell(in_production, doctor, tmp_path, accepted={0, 3})  # the emulators do not encrypt
    run_shell(person.environment, export, tmp_path)
    run_shell(person.environment, raise_versions, tmp_path)
    table.delete_item(TableName=NEW_TABLE, Key=address_key(email(user).key))
    orphan = mapper.render_address(email(uid("an orphan")), uid("an orphan"))
    table.put_item(TableName=NEW_TABLE, Item=orphan)
    run_shell(person.environment, REPAIR, tmp_path)

    after = table.get_item(TableName=NEW_TABLE, Key=key)["Item"]
    assert int(after["version"]["N"]) == int(before["version"]["N"]) + 1000
    assert table.get_item(TableName="users", Key=key)["Item"] == before
    assert "Item" in table.get_item(TableName=NEW_TABLE, Key=address_key(email(user).key))
    check(restorer, lambda: {use for use in person.uses if ":table/" in use.resource})


def run_shell(
    environment: dict[str, str], text: str, folder: Path, accepted: Collection[int] = (0,)
) -> None:
    """Run commands of a page in a folder, by the programs of this project's environment."""
    path = f"{BIN}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        check=False,
        cwd=folder,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode in accepted, (text, done.stdout, done.stderr)


def run_example(somebody: Role, name: str, *queues: str) -> None:
    """Run an unchanged example, or run it once for each of these queues."""
    program = (ROOT / "examples" / name).read_text()
    turns = [program.replace(f'"{QUEUE}"', f'"{queue}"') for queue in queues or [QUEUE]]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(turns)],
        check=False,
        env=somebody.environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr

"""Each role's policy allows what the role does, and nothing that it does not do.

Each role works behind a proxy of its own, which notes the permissions that its calls need,
whatever program or library makes them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.dynamodb import mapper, records
from adapters.dynamodb.table import PARKED_PARTITION, address_key
from domain import commands as c
from domain.ports import CommandKey, JobKind, Pointer
from tests.builders import email, token, uid
from tests.deploy.stacks import Account
from tests.deploy.uses import Policy, Recorder, Use, uses
from tests.e2e.account import BIN, ROOT, clear, running
from tests.e2e.command_line import CommandLine
from tests.e2e.proxy import FaultyProxy
from tests.e2e.worker_process import eventually
from user_client import CommandRequest, OutcomeListener, UserCommands

pytestmark = [pytest.mark.aws, pytest.mark.timeout(120), pytest.mark.xdist_group("privilege")]

QUEUE, PRIORITY, DEAD, TOPIC = (
    "user-commands",
    "user-commands-priority",
    "user-commands-dlq",
    "user-events",
)
BOOK = "address-book"
"""What the subscribing example calls its queue."""
IN_PRODUCTION_BY_ARN = {Use("sns:CreateTopic", f"arn:aws:sns:REGION:ACCOUNT:{TOPIC}")}
"""How an example finds the topic's ARN; in production somebody gives it."""
OF_A_MOVE_UNDER_WAY = {
    Use(f"sqs:{name}MessageMoveTask{end}", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}")
    for name, end in (("Cancel", ""), ("List", "s"))
}
"""Called once a move has begun, which the embedded AWS does not know."""


@dataclass(frozen=True, slots=True)
class Role:
    """One who works with the system, and what they needed for it so far."""

    environment: dict[str, str]
    recorder: Recorder

    @property
    def uses(self) -> set[Use]:
        """What was needed."""
        return self.recorder.uses


@dataclass(slots=True)
class World:
    """An account with all that is there in production, and a worker."""

    account: Account
    folder: Path
    endpoint: str
    worker: Role
    cleanup: ExitStack = field(default_factory=ExitStack)

    def role(self) -> Role:
        """Let somebody else in."""
        return self.cleanup.enter_context(role(self.account, self.endpoint))


@contextmanager
def role(account: Account, endpoint: str) -> Iterator[Role]:
    """Put a recorder between somebody and AWS."""
    with FaultyProxy(endpoint) as proxy:
        recorder = Recorder()
        proxy.inject(recorder)
        environment = {
            **account.environment,
            "AWS_ENDPOINT_URL": proxy.url,
            "USER_WORKER_PRIORITY_QUEUE": PRIORITY,
            "PYTHONUNBUFFERED": "1",
        }
        yield Role(environment, recorder)


@pytest.fixture(scope="module")
def world(aws_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The account, with a worker that looks at the outbox all the time."""
    account, folder = Account.fresh(aws_endpoint), tmp_path_factory.mktemp("privilege")
    eager = {"USER_WORKER_RELAY_AGE": "0", "USER_WORKER_RELAY_INTERVAL": "0.1"}
    run = [f"{BIN}/user-worker", "run", "--pool", "threads", "--concurrency", "2"]
    with ExitStack() as cleanup:
        everything = {**account.environment, "USER_WORKER_PRIORITY_QUEUE": PRIORITY}
        made = CommandLine(everything).run("provision")
        assert made.code == 0, made.err
        cleanup.callback(clear, account.environment)
        worker = cleanup.enter_context(role(account, aws_endpoint))
        known = _with_arn(worker.environment, account) | eager | {"USER_WORKER_ENV": "prod"}
        cleanup.enter_context(running(run, known, folder / "worker", "worker_ready"))
        yield World(account, folder, aws_endpoint, worker, cleanup)


def _with_arn(environment: dict[str, str], account: Account) -> dict[str, str]:
    """Name the topic as production does: it needs no permission to look for it."""
    region = environment["AWS_DEFAULT_REGION"]
    return environment | {
        "USER_WORKER_EVENTS_TOPIC": f"arn:aws:sns:{region}:{account.number}:{TOPIC}"
    }


@contextmanager
def as_role(somebody: Role) -> Iterator[None]:
    """Let this process be somebody."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in somebody.environment.items():
            patch.setenv(name, value)
        yield


def check(policy: Policy, seen: Callable[[], set[Use]], but_for: Collection[Use] = ()) -> None:
    """Wait until all that the policy allows was used; see that nothing else was.

    Raises:
        AssertionError: with what is allowed in vain, or with what is lacking.
    """

    def all_used() -> bool:
        return not policy.idle(seen())

    try:
        eventually(all_used, 60)
    except AssertionError:
        raise AssertionError(f"allowed in vain: {policy.idle(seen())}") from None
    assert policy.lacks(seen() - set(but_for)) == []


# --- the roles -----------------------------------------------------------------------------


def test_the_worker_may_do_what_it_does(world: World) -> None:
    """It registers, rejects, retries, buries, erases and publishes, on both queues."""
    ada = uid("ada of privilege")
    soon = datetime.now(UTC) + timedelta(hours=1)
    registration = c.CreateUser(email(ada), "Ada", "Lovelace", ("customer",))
    everybody = world.role()
    with as_role(everybody):
        users, urgent = UserCommands(QUEUE, source="/test"), UserCommands(PRIORITY, source="/test")
        for sender in (users, urgent):  # comes back later: whom it names may be on their way
            sender.send(c.UnlockUser(), user_id=str(uuid.uuid4()))
        with OutcomeListener(source="/test", topic=TOPIC) as outcomes:

            def done(command: c.Command, sender: UserCommands = users) -> str:
                return outcomes.answer(sender.send(command, user_id=ada), timeout=30).kind

            assert done(registration, urgent) == "accepted"
            for name in ("phone", "laptop"):  # two go in one call when the person goes
                session = c.StartSession(uid(f"{ada} {name}"), token(f"{ada} {name}"), soon)
                assert done(session) == "accepted"
            assert done(c.EraseUser()) == "accepted"
        sqs = world.account.client("sqs")
        url = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="no command")
    check(Policy.of("worker"), lambda: world.worker.uses)


def test_a_producer_may_do_what_it_does(world: World) -> None:
    """By the client of this project, one by one and many at once, and by boto3 alone."""
    producer = world.role()
    with as_role(producer):
        for queue in (QUEUE, PRIORITY):
            users = UserCommands(queue, source="/test")
            users.send(c.UnlockUser(), user_id=uid("nobody"))
            list(users.send_many([CommandRequest(c.UnlockUser(), user_id=uid("nobody"))] * 2))
    run_example(producer, "send_boto3.py")
    check(Policy.of("producer"), lambda: producer.uses)


def test_a_subscriber_may_do_what_it_does(world: World) -> None:
    """One that keeps a queue, and one that waits for answers."""
    subscriber, producer = world.role(), world.role()
    source = f"/test/{uuid.uuid4()}"
    users = UserCommands(QUEUE, source=source)
    with ExitStack() as stack:
        with as_role(subscriber):
            listener = stack.enter_context(OutcomeListener(source=source, topic=TOPIC))
        book = stack.enter_context(following(subscriber))
        eventually(lambda: _subscriptions(world) >= 2, 30, "two subscriptions")
        person = c.CreateUser(email(uuid.uuid4().hex), "Ada", "Lovelace", ("customer",))
        with as_role(producer):
            sent = users.send(person, user_id=str(uuid.uuid4()))
        assert listener.answer(sent, timeout=30).kind == "accepted"
        assert book.stdout is not None
        assert "@example.com" in book.stdout.readline()
        deleted = Use("sqs:DeleteMessage", f"arn:aws:sqs:REGION:ACCOUNT:{BOOK}")
        eventually(lambda: deleted in subscriber.uses, 30, "the end of a message")
    check(
        Policy.of("subscriber", SUBSCRIBER=BOOK),
        lambda: subscriber.uses,
        but_for=IN_PRODUCTION_BY_ARN,
    )


@contextmanager
def following(subscriber: Role) -> Iterator[subprocess.Popen[str]]:
    """Run the example that subscribes, while the block runs."""
    command = [sys.executable, str(ROOT / "examples" / "subscribe.py")]
    with subprocess.Popen(
        command, env=subscriber.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _subscriptions(world: World) -> int:
    return len(world.account.client("sns").list_subscriptions()["Subscriptions"])


def test_an_operator_may_do_what_they_do(world: World) -> None:
    """All that looks at the system and keeps it going; `doctor` tries what others may do, too."""
    operator, patient = world.role(), world.role()
    cli = CommandLine(_with_arn(operator.environment, world.account))
    edith = a_user_to_scrub(world)
    bury(world)
    park(world, *edith)
    for words in (
        ["status"],
        ["user", edith[0], "--history"],
        ["user", "nobody@example.com"],
        ["outcome", str(uuid.uuid4()), "--user", edith[0]],
        ["export", edith[0]],
        ["dlq", "list"],
        ["dlq", "redrive", "--yes"],
        ["outbox", "list"],
        ["outbox", "publish", "--parked"],
    ):
        done = cli.run(*words)
        assert done.code in {0, 1}, (words, done.err)
    cli.run("dlq", "redrive", "--yes", USER_WORKER_PRIORITY_QUEUE="")  # by SQS itself
    tried = examine(patient, world.account)
    others = Policy(Policy.of("worker").grants | Policy.of("reader").grants)
    of_others = tried - set(others.lacks(tried))
    check(
        Policy.of("operator"),
        lambda: operator.uses | tried | OF_A_MOVE_UNDER_WAY,
        but_for=of_others - operator.uses,
    )


def a_user_to_scrub(world: World) -> tuple[str, str]:
    """Make a user with all that a scrub works on; give their id, and that of the first command."""
    user = str(uuid.uuid4())
    soon = datetime.now(UTC) + timedelta(hours=1)
    with as_role(world.role()):
        users = UserCommands(QUEUE, source="/test")
        with OutcomeListener(source="/test", topic=TOPIC) as outcomes:
            person = c.CreateUser(email(user), "Edith", "Clarke", ("customer",))
            first = users.send(person, user_id=user)
            assert outcomes.answer(first, timeout=30).kind == "accepted"
            for name in ("phone", "laptop"):
                session = c.StartSession(uid(f"{user} {name}"), token(f"{user} {name}"), soon)
                sent = users.send(session, user_id=user)
                assert outcomes.answer(sent, timeout=30).kind == "accepted"
            reset = c.RequestPasswordReset(uid(user), token(user), soon, email(user))
            assert outcomes.answer(users.send(reset), timeout=30).kind == "accepted"
    return user, str(first)


def bury(world: World) -> None:
    """Lay a dead letter of each queue."""
    sqs = world.account.client("sqs")
    url = sqs.get_queue_url(QueueName=DEAD)["QueueUrl"]
    for queue in (QUEUE, PRIORITY):
        told = {"error_code": "NotJson", "original_queue": queue}
        attributes = {n: {"DataType": "String", "StringValue": v} for n, v in told.items()}
        sqs.send_message(QueueUrl=url, MessageBody="no command", MessageAttributes=attributes)


def park(world: World, user: str, command: str) -> None:
    """Park a publication and a scrub, of a time to come, so that no relay is quicker."""
    later = datetime.now(UTC) + timedelta(hours=1)
    for kind in JobKind:
        pointer = Pointer(
            PARKED_PARTITION,
            records.render_sort_key(later, uuid.uuid4().hex),
            kind,
            (CommandKey(user, command),),
            later,
            "the topic refuses an event",
        )
        item = records.render_pointer(pointer)
        world.account.client("dynamodb").put_item(TableName="users", Item=item)


def examine(patient: Role, account: Account) -> set[Use]:
    """Run `doctor` in production's environment; give what it needed."""
    environment = _with_arn(patient.environment, account) | {"USER_WORKER_ENV": "prod"}
    done = CommandLine(environment).run("doctor", "--json")
    findings = [json.loads(line) for line in done.out.splitlines()]
    assert any(f["check"] == "permissions" and f["level"] == "ok" for f in findings), findings
    return patient.uses


def test_a_migrator_may_do_what_it_does(world: World, tmp_path: Path) -> None:
    """It reads all there is, reserves an address that got lost, and frees one of nobody."""
    grace, nobody = uid("grace of privilege"), uid("nobody of privilege")
    address = email(grace)
    with as_role(world.role()):
        users = UserCommands(QUEUE, source="/test")
        with OutcomeListener(source="/test", topic=TOPIC) as outcomes:
            person = c.CreateUser(address, "Grace", "Hopper", ("customer",))
            outcomes.answer(users.send(person, user_id=grace), timeout=30)
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


def run_example(somebody: Role, name: str) -> None:
    """Run one of the examples as it stands."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name],
        check=False,
        env=somebody.environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr


# --- the recorder --------------------------------------------------------------------------

TABLE = "arn:aws:dynamodb:REGION:ACCOUNT:table/users"
PUT_AND_CHECK = {
    "TransactItems": [{"Put": {"TableName": "users"}}, {"ConditionCheck": {"TableName": "users"}}]
}
MOVE = {
    "SourceArn": f"arn:aws:sqs:us-east-1:000000000000:{DEAD}",
    "DestinationArn": f"arn:aws:sqs:us-east-1:000000000000:{QUEUE}",
}


@pytest.mark.parametrize(
    ("operation", "asked", "needed"),
    [
        (
            "TransactWriteItems",
            PUT_AND_CHECK,
            {("dynamodb:PutItem", TABLE), ("dynamodb:ConditionCheckItem", TABLE)},
        ),
        ("BatchGetItem", {"RequestItems": {"users": {}}}, {("dynamodb:BatchGetItem", TABLE)}),
        (
            "Query",
            {"TableName": "users", "IndexName": "I"},
            {("dynamodb:Query", f"{TABLE}/index/I")},
        ),
        (
            "SendMessageBatch",
            {"QueueUrl": f"http://x/0/{QUEUE}"},
            {("sqs:SendMessage", f"arn:aws:sqs:REGION:ACCOUNT:{QUEUE}")},
        ),
        ("ListQueues", {}, {("sqs:ListQueues", "*")}),
        (
            "StartMessageMoveTask",
            MOVE,
            {
                ("sqs:StartMessageMoveTask", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:ReceiveMessage", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:DeleteMessage", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:GetQueueAttributes", f"arn:aws:sqs:REGION:ACCOUNT:{DEAD}"),
                ("sqs:SendMessage", f"arn:aws:sqs:REGION:ACCOUNT:{QUEUE}"),
            },
        ),
    ],
)
def test_a_call_needs_the_permissions_that_iam_names(
    operation: str, asked: dict[str, Any], needed: set[tuple[str, str]]
) -> None:
    """Operations and actions of IAM are not the same."""
    assert set(uses(operation, json.dumps(asked).encode())) == {Use(*each) for each in needed}


def test_a_policy_is_found_too_narrow_and_too_wide() -> None:
    """Either makes a test of a role fail."""
    policy = Policy(frozenset({Use("sqs:SendMessage", "q-*"), Use("sqs:PurgeQueue", "q-*")}))
    assert policy.lacks({Use("sqs:SendMessage", "q-1")}) == []
    assert policy.lacks({Use("sqs:SendMessage", "other")}) == [Use("sqs:SendMessage", "other")]
    assert policy.idle({Use("sqs:SendMessage", "q-1")}) == [Use("sqs:PurgeQueue", "q-*")]

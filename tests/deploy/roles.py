"""Roles that use the system, each behind a recorder; and the data that they work on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import boto3
import pytest

from adapters.dynamodb import records
from adapters.dynamodb.table import PARKED_PARTITION
from adapters.sns.subscription import PURPOSES
from application.ports import CommandKey, JobKind, OutboxEntry
from biome_users import OutcomeListener, UserCommands
from domain import commands as c
from tests.builders import ALLOW_ALL, HASH_KEY, email, start_session, token, uid
from tests.client_commands import of_client
from tests.deploy.stacks import Account
from tests.deploy.uses import Policy, Recorder, Use
from tests.e2e.account import BIN, clear, running
from tests.e2e.command_line import CommandLine
from tests.e2e.proxy import FaultyProxy
from tests.e2e.worker_process import eventually

QUEUE, PRIORITY, BACK_OFFICE, DEAD, QUARANTINE, TOPIC = (
    "user-commands",
    "user-commands-priority",
    "user-commands-back-office",
    "user-commands-dlq",
    "user-commands-quarantine",
    "user-events",
)


@dataclass(frozen=True, slots=True)
class Role:
    """A role, and the permissions that it has used so far."""

    environment: dict[str, str]
    recorder: Recorder

    @property
    def uses(self) -> set[Use]:
        """Return a copy of the used permissions, since the role is still in use."""
        return self.recorder.uses.copy()


@dataclass(slots=True)
class World:
    """An account with all resources of production, and a worker."""

    account: Account
    endpoint: str
    worker: Role
    cleanup: ExitStack = field(default_factory=ExitStack)

    def role(self, policy: Policy | None = None, recorder: Recorder | None = None) -> Role:
        """Create another role; with a policy, other calls are denied."""
        return self.cleanup.enter_context(role(self.account, self.endpoint, policy, recorder))


@contextmanager
def world_of(endpoint: str, folder: Path) -> Iterator[World]:
    """Create an account, with a worker that reads the outbox all the time."""
    account = Account.fresh(endpoint)
    eager = {"USER_WORKER_RELAY_AGE": "0", "USER_WORKER_RELAY_INTERVAL": "0.1"}
    run = [f"{BIN}/user-worker", "run", "--pool", "threads", "--concurrency", "2"]
    with ExitStack() as cleanup:
        queues = {"PRIORITY_QUEUE": PRIORITY, "ADDITIONAL_QUEUES": BACK_OFFICE}
        everything = account.environment | {f"USER_WORKER_{n}": q for n, q in queues.items()}
        made = CommandLine(everything).run("provision")
        assert made.code == 0, made.err
        cleanup.callback(clear, account.environment)
        worker = cleanup.enter_context(role(account, endpoint))
        production = {"USER_WORKER_ENV": "prod", "USER_WORKER_HASH_KEYS": HASH_KEY}
        production["USER_WORKER_PERMISSIONS"] = str(ALLOW_ALL)
        known = with_arn(worker.environment, account) | eager | production
        cleanup.enter_context(running(run, known, folder / "worker", "worker_ready"))
        yield World(account, endpoint, worker, cleanup)


CHECKED: Final[set[str]] = set()
"""The names of the policies that the present test has compared with recorded calls."""


def check(policy: Policy, seen: Callable[[], set[Use]], but_for: Collection[Use] = ()) -> None:
    """Wait until everything that the policy allows was used; check that nothing else was.

    Raises:
        AssertionError: With the unused or the missing permissions.
    """

    def all_used() -> bool:
        return not policy.idle(seen())

    try:
        eventually(all_used, 60)
    except AssertionError:
        raise AssertionError(f"allowed in vain: {policy.idle(seen())}") from None
    assert policy.lacks(seen() - set(but_for)) == []
    CHECKED.update(policy.names)


def but_quarantine(uses: set[Use]) -> set[Use]:
    """Leave out the quarantine queue, which AWS denies to an operator: `status` and `dlq` cope."""
    return {use for use in uses if not use.resource.endswith(QUARANTINE)}


@contextmanager
def role(
    account: Account,
    endpoint: str,
    policy: Policy | None = None,
    recorder: Recorder | None = None,
) -> Iterator[Role]:
    """Put a recorder between a role and AWS."""
    with FaultyProxy(endpoint) as proxy:
        recorder = recorder or Recorder(policy=policy)
        proxy.inject(recorder)
        environment = {
            **account.environment,
            "AWS_ENDPOINT_URL": proxy.url,
            "USER_WORKER_PRIORITY_QUEUE": PRIORITY,
            "USER_WORKER_ADDITIONAL_QUEUES": BACK_OFFICE,
            "PYTHONUNBUFFERED": "1",
        }
        yield Role(environment, recorder)


def with_arn(environment: dict[str, str], account: Account) -> dict[str, str]:
    """Name the topics by ARN, as in production: this needs no permission to list topics."""
    region = environment["AWS_DEFAULT_REGION"]
    arn = f"arn:aws:sns:{region}:{account.number}:{TOPIC}"
    return environment | {
        "USER_WORKER_EVENTS_TOPIC": arn,
        "USER_WORKER_PERSONAL_TOPIC": f"{arn}-personal",
    }


@contextmanager
def as_role(somebody: Role) -> Iterator[None]:
    """Run this process in the environment of a role."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in somebody.environment.items():
            patch.setenv(name, value)
        # the default session keeps the credentials that it read first, also after this block
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield


# --- what they find ---


def a_user_to_scrub(world: World) -> tuple[str, str]:
    """Create a user with all data that a scrub changes.

    Return the ids of user and first command.
    """
    user = str(uuid.uuid4())
    soon = datetime.now(UTC) + timedelta(hours=1)
    with as_role(world.role()):
        users = UserCommands(QUEUE, source="/test")
        with OutcomeListener(source="/test", topic=TOPIC) as outcomes:
            person = c.CreateUser(email(user), "Edith", ("customer",), last_name="Clarke")
            first = users.send(of_client(person), user_id=user)
            assert outcomes.answer(first, timeout=30).kind == "accepted"
            for name in ("phone", "laptop"):
                session = start_session(uid(f"{user} {name}"), token(f"{user} {name}"), soon, 0)
                sent = users.send(of_client(session), user_id=user)
                assert outcomes.answer(sent, timeout=30).kind == "accepted"
            reset = c.RequestPasswordReset(uid(user), token(user), soon, email(user))
            assert outcomes.answer(users.send(of_client(reset)), timeout=30).kind == "accepted"
    return user, str(first)


def write_letters(world: World) -> None:
    """Send a dead letter of each queue."""
    sqs = world.account.client("sqs")
    url = sqs.get_queue_url(QueueName=DEAD)["QueueUrl"]
    for queue in (QUEUE, PRIORITY, BACK_OFFICE):
        told = {"error_code": "NotJson", "original_queue": queue}
        attributes = {n: {"DataType": "String", "StringValue": v} for n, v in told.items()}
        sqs.send_message(QueueUrl=url, MessageBody="no command", MessageAttributes=attributes)


def quarantine(world: World) -> None:
    """Send a redacted dead letter with its original, and an original without a letter."""
    sqs = world.account.client("sqs")
    for number, name in enumerate((QUARANTINE, DEAD, QUARANTINE)):
        told = {"error_code": "NotJson", "original_message_id": f"m{number // 2}"}
        if name == DEAD:
            told |= {"quarantined": "redacted"}
        attributes = {n: {"DataType": "String", "StringValue": v} for n, v in told.items()}
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="no command", MessageAttributes=attributes)


def forget(world: World) -> None:
    """Leave temporary queues of each kind behind, and subscriptions without a queue."""
    sqs, sns = world.account.client("sqs"), world.account.client("sns")
    topic = sns.create_topic(Name=TOPIC)["TopicArn"]
    for prefix in PURPOSES:
        for killed in (True, False):
            name = f"{prefix}-{uuid.uuid4().hex[:12]}"
            url = sqs.create_queue(QueueName=name)["QueueUrl"]
            arn = f"arn:aws:sqs:{sqs.meta.region_name}:{world.account.number}:{name}"
            for each in (topic, f"{topic}-personal"):
                sns.subscribe(TopicArn=each, Protocol="sqs", Endpoint=arn)
            if not killed:
                sqs.delete_queue(QueueUrl=url)


def park(world: World, user: str, command: str) -> None:
    """Park two publications, which are deleted in one call, and a scrub.

    Their time is in the future, so that no relay handles them first.
    """
    later = datetime.now(UTC) + timedelta(hours=1)
    for kind in (JobKind.PUBLISH, *JobKind):
        entry = OutboxEntry(
            PARKED_PARTITION,
            records.render_sort_key(later, uuid.uuid4().hex),
            kind,
            (CommandKey(user, command),),
            later,
            "the topic rejects an event",
        )
        item = records.render_entry(entry)
        world.account.client("dynamodb").put_item(TableName="users", Item=item)

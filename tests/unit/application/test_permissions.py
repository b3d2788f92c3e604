"""Which producer may send which command, by queue and by principal; nothing gets around it."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.memory import MemoryEventPublisher, MemoryOutbox, MemoryStore, MemoryUserRepository
from adapters.sqs.dead_letters import UNKNOWN_PRINCIPAL
from application.batch import BatchHandler, Ports
from application.batch_policy import BatchPolicy
from application.disposition import Ack, DeadLetter, ReceivedMessage
from application.messages import MessageParser
from application.observer import NULL_OBSERVER, WorkerObserver
from application.permissions import (
    ALLOW_ALL,
    ANY,
    MAX_SENDERS,
    NOT_PERMITTED,
    Permissions,
    Producer,
)
from application.permissions_file import PermissionsError, parse_permissions
from tests.builders import HASH_KEYS
from tests.deploy.templates import properties
from tests.unit.application.messages.examples import (
    EXAMPLES,
    ROLES,
    cloud_event,
    message,
    notification,
)
from tests.unit.application.test_batch import FixedClock

QUEUES = ("user-commands", "user-commands-back-office")
SAMPLE = (Path(__file__).parents[3] / "deploy" / "permissions.toml").read_text()
PERMISSIONS = parse_permissions(SAMPLE, QUEUES, ROLES)
PRINCIPALS = {each.name: each.principals[0] for each in PERMISSIONS.producers}
OPERATOR = PERMISSIONS.operators[0]


class World:
    """A handler with the permissions of the sample file, on memory adapters."""

    def __init__(
        self, permissions: Permissions = PERMISSIONS, observer: WorkerObserver = NULL_OBSERVER
    ) -> None:
        self.store = MemoryStore()
        self.publisher = MemoryEventPublisher()
        ports = Ports(
            MemoryUserRepository(self.store),
            MemoryOutbox(self.store),
            self.publisher,
            FixedClock(),
        )
        policy = BatchPolicy(
            max_receives=12,
            outcome_lifetime=timedelta(days=90),
            command_lifetime=timedelta(days=60),
            registration_grace=timedelta(),
            registration_receives=0,
            hash_keys=HASH_KEYS,
        )
        self.handler = BatchHandler(ports, MessageParser(ROLES), policy, observer, permissions)

    def refused(self, received: ReceivedMessage) -> DeadLetter | None:
        """Handle a message; return the dead letter if the sender may not send it."""
        (disposition,) = self.handler.handle([received]).items
        if isinstance(disposition, DeadLetter) and disposition.code == NOT_PERMITTED:
            assert not self.store.outcomes
            assert not self.publisher.published
            return disposition
        assert self.store.outcomes, disposition
        return None


def sent_by(principal: str, body: Any, queue: str = QUEUES[0], **more: Any) -> ReceivedMessage:
    """Return a message as received from a queue, with what SQS reports of its sender."""
    text = body if isinstance(body, str) else json.dumps(body)
    return ReceivedMessage(**{**message(text), "queue": queue, "principal": principal, **more})  # type: ignore[typeddict-item]


def _granted(name: str) -> list[str]:
    """Return the roles that the example of a command grants."""
    data = EXAMPLES[name]
    return data["roles"] if name == "CreateUser" else [data["role"]]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("producer", PERMISSIONS.producers, ids=lambda each: each.name)
@pytest.mark.parametrize("queue", QUEUES)
def test_every_command_of_every_producer(producer: Any, name: str, queue: str) -> None:
    """By queue, principal, source, command and role; all others are dead-lettered."""
    event = cloud_event(name, source=producer.sources[0])
    allowed = (
        {"*", queue} & {*producer.queues}
        and {"*", name} & {*producer.commands}
        and (
            name not in {"CreateUser", "AssignRole"}
            or {"*", *_granted(name)} <= {"*", *producer.roles}
            or "*" in producer.roles
        )
    )

    letter = World().refused(sent_by(producer.principals[0], event, queue))

    assert (letter is None) == bool(allowed)
    if letter is not None:
        assert letter.principal == producer.principals[0]


def test_the_sample_file_allows_some_and_forbids_some() -> None:
    """Otherwise the table above would prove nothing."""
    assert len(PERMISSIONS.producers) >= 3
    assert any("*" not in each.commands for each in PERMISSIONS.producers)
    assert any(each.queues == (QUEUES[1],) for each in PERMISSIONS.producers)
    assert {bool(each.roles) for each in PERMISSIONS.producers} == {True, False}


def celery_message(event: dict[str, Any]) -> str:
    """Return the body that a Celery producer sends for a command."""
    content = [[], {"user_id": event["subject"], **event["data"]}, {}]
    headers = {"task": event["type"], "id": event["id"], "source": event["source"]}
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps(content).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": {"body_encoding": "base64"},
        }
    )


BAN = cloud_event("BanUser", source="/signup")
SIGNUP = PRINCIPALS["signup"]
BACK_OFFICE = PRINCIPALS["back-office"]
FORGERIES: dict[str, ReceivedMessage] = {
    "a source of another producer": sent_by(SIGNUP, {**BAN, "source": "/back-office"}),
    "a stated principal": sent_by(SIGNUP, BAN, first_principal=BACK_OFFICE),
    "an unknown principal": sent_by("AROASTRANGER", BAN),
    "no principal": sent_by("", BAN),
    "an SNS envelope": sent_by(SIGNUP, notification(json.dumps(BAN))),
    "a Celery message": sent_by(SIGNUP, celery_message(BAN)),
    "a redrive by an operator": sent_by(OPERATOR, BAN, first_principal=SIGNUP),
    "a redrive of an unknown sender": sent_by(
        OPERATOR, BAN, QUEUES[1], first_principal=UNKNOWN_PRINCIPAL
    ),
    "the other queue": sent_by(SIGNUP, BAN, QUEUES[1]),
    "an actor": sent_by(SIGNUP, {**BAN, "actor": "back-office"}),
}


@pytest.mark.parametrize("way", FORGERIES)
def test_a_forged_sender_is_refused(way: str) -> None:
    """The letter names who sent the message first."""
    letter = World().refused(FORGERIES[way])

    assert letter is not None
    assert letter.principal in {SIGNUP, "AROASTRANGER", UNKNOWN_PRINCIPAL, None}


def test_a_forbidden_command_is_counted_and_logged() -> None:
    """The metric has the code; the log line has the principal and no personal data.

    The alarm counts these log lines.
    """
    counted: list[tuple[str, str]] = []

    class Counter(WorkerObserver):
        def message_not_understood(self, outcome: str, code: str) -> None:
            counted.append((outcome, code))

    with capture_logs() as lines:
        World(observer=Counter()).refused(sent_by(SIGNUP, BAN))

    assert counted == [("dead", NOT_PERMITTED)]
    (line,) = (each for each in lines if each["event"] == "message_not_permitted")
    assert (line["principal"], line["queue"]) == (SIGNUP, QUEUES[0])
    assert line["detail"] == "signup may not send BanUser"
    counting, alarm = (
        properties("alarms", "CountNotPermitted"),
        properties("alarms", "NotPermitted"),
    )
    assert counting["FilterPattern"] == f'{{ $.event = "{line["event"]}" }}'
    (counted_as,) = counting["MetricTransformations"]
    assert counted_as["MetricName"] == alarm["MetricName"]
    assert counted_as["MetricNamespace"] == alarm["Namespace"]


def test_the_outcome_names_producer_principal_and_actor() -> None:
    """The outcome states the origin of a decision, and the event carries the actor."""
    world = World()
    body = cloud_event("BanUser", source="/back-office", actor="support/7")
    world.handler.handle([sent_by(BACK_OFFICE, body, QUEUES[1])])

    (outcome,) = world.store.outcomes.values()
    assert (outcome.producer, outcome.principal) == ("back-office", BACK_OFFICE)
    assert outcome.actor == "support/7"
    (event,) = world.publisher.published
    assert json.loads(event.body)["actor"] == "support/7"


def test_a_redrive_keeps_the_permissions_of_the_first_sender() -> None:
    """An operator redrives a command of the back office, whose producer may send it."""
    body = cloud_event("BanUser", source="/back-office")
    redriven = sent_by(OPERATOR, body, QUEUES[1], first_principal=BACK_OFFICE)

    assert World().refused(redriven) is None


def test_a_forbidden_message_delays_no_other_one_of_its_group() -> None:
    """On a FIFO queue, later messages of a group wait for one that is retried, not for this one."""
    group: dict[str, Any] = {"group_id": "g", "fifo": True}
    first = sent_by(SIGNUP, BAN, **group)
    second = sent_by(SIGNUP, cloud_event("RegisterUser", source="/signup"), **group)

    dispositions = World().handler.handle([first, second]).items

    assert isinstance(dispositions[0], DeadLetter)
    assert dispositions[1] == Ack()


def test_results_of_many_senders_are_right_and_not_all_remembered() -> None:
    """A producer is found beyond the limit, too, and another queue is another sender."""
    producers = [
        Producer(f"p{n}", ("a",), (f"AROA{n}",), (ANY,), (ANY,)) for n in range(2 * MAX_SENDERS)
    ]
    permissions = Permissions(tuple(producers))
    for _ in range(2):
        for each in (*producers[:3], *producers[-3:]):
            assert permissions.producer_of(sent_by(each.principals[0], "", "a")) is each
            assert permissions.producer_of(sent_by(each.principals[0], "", "b")) is None
        for number in range(MAX_SENDERS):
            assert permissions.producer_of(sent_by(f"AROAOTHER{number}", "", "a")) is None
    assert len(permissions._found) == MAX_SENDERS


def test_without_a_file_the_sender_of_a_redriven_message_is_not_recorded() -> None:
    """A file that is deployed later would otherwise take the operator for the sender."""
    redriven = sent_by(OPERATOR, "{", first_principal=SIGNUP)
    (letter,) = World(ALLOW_ALL).handler.handle([redriven]).items
    assert isinstance(letter, DeadLetter)
    assert letter.principal is None


def test_without_a_file_everything_is_permitted() -> None:
    """This includes a sender without a SenderId, as in development."""
    assert World(ALLOW_ALL).refused(message(json.dumps(BAN))) is None


MISTAKES = [
    ("x = [", "is not valid TOML"),
    ("", "needs a [[producer]], or allow_all = true"),
    ("allow_all = 1", "line 1: allow_all must be true or false"),
    ("allow_al = true", "line 1: allow_al is not a field; did you mean allow_all?"),
    ("producer = 3", "line 1: producer must be written as [[producer]]"),
    ('operators = "AROA"\nallow_all = true', "line 1: operators must be a list of strings"),
    ('operators = ["*"]\nallow_all = true', "line 1: operators '*' must be the unique id"),
]
FIELDS = [
    ('name = "Signup"', "line 2: name must be lower-case letters"),
    ('queues = ["other"]', "line 3: queues 'other' is not a queue that the worker serves"),
    ("queues = []", "line 3: queues must not be empty"),
    ('principals = ["arn:aws:iam::1:role/x"]', "line 4: principals 'arn:aws:iam::1:role/x' must"),
    ("principals = 7", "line 4: principals must be a list of strings"),
    ('sources = ["a b"]', "line 5: sources 'a b' must be a URI reference"),
    ('commands = ["Ban"]', "line 6: commands 'Ban' is not a command"),
    ('commands = ["BanUsr"]', "line 6: commands 'BanUsr' is not a command; did you mean BanUser?"),
    ("commands = [1]", "line 6: commands must be a list of strings"),
    ('roles = ["boss"]', "line 7: roles 'boss' is not a role that the settings list"),
    ('roles = ["Admin!"]', "line 7: roles 'Admin!' is not the name of a role"),
    ('rolls = ["admin"]', "line 7: rolls is not a field; did you mean roles?"),
]
VALID = {
    "name": 'name = "signup"',
    "queues": 'queues = ["user-commands"]',
    "principals": 'principals = ["AROASIGNUP"]',
    "sources": 'sources = ["/signup"]',
    "commands": 'commands = ["RegisterUser"]',
}


@pytest.mark.parametrize(("text", "problem"), MISTAKES)
def test_an_invalid_file_is_reported_in_one_line(text: str, problem: str) -> None:
    """With the line and the field, if there is one."""
    with pytest.raises(PermissionsError) as raised:
        parse_permissions(text, QUEUES, ROLES)
    assert str(raised.value).startswith(problem)


@pytest.mark.parametrize(("line", "problem"), FIELDS)
def test_a_mistake_in_a_producer_names_line_and_field(line: str, problem: str) -> None:
    """It is found in the second of two producers too."""
    field = line.partition(" ")[0]
    wrong = "\n".join({**VALID, field: line}.values())
    before = "\n".join(VALID.values()).replace("signup", "first").replace("SIGNUP", "FIRST")

    with pytest.raises(PermissionsError) as raised:
        parse_permissions(f"[[producer]]\n{wrong}\n", QUEUES, ROLES)
    assert str(raised.value).startswith(problem)

    with pytest.raises(PermissionsError) as raised:
        parse_permissions(f"[[producer]]\n{before}\n\n[[producer]]\n{wrong}\n", QUEUES, ROLES)
    number = int(problem.partition(":")[0].removeprefix("line "))
    assert str(raised.value).startswith(problem.replace(f"line {number}", f"line {number + 7}"))


@pytest.mark.parametrize("field", VALID)
def test_every_field_except_the_roles_is_required(field: str) -> None:
    """The line is that of the producer."""
    lines = "\n".join(text for name, text in VALID.items() if name != field)
    with pytest.raises(PermissionsError, match=f"line 1: {field} is missing"):
        parse_permissions(f"[[producer]]\n{lines}\n", QUEUES, ROLES)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, "line 8: name signup is used twice"),
        (
            {"name": 'name = "other"'},
            "line 10: principals overlap with those of signup on the same queue",
        ),
        (
            {"name": 'name = "other"', "principals": 'principals = ["*"]'},
            "line 10: principals overlap with those of signup on the same queue",
        ),
    ],
)
def test_no_message_can_be_of_two_producers(change: dict[str, str], problem: str) -> None:
    """The first would hide what the second may not do."""
    first, second = "\n".join(VALID.values()), "\n".join({**VALID, **change}.values())
    text = f"[[producer]]\n{first}\n[[producer]]\n{second}\n"
    with pytest.raises(PermissionsError) as raised:
        parse_permissions(text, QUEUES, ROLES)
    assert str(raised.value) == problem

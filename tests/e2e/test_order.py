"""Commands of one group apply in the order they were sent, and groups run in parallel.

`tests/integration/test_fifo_delays.py` tests what the queues themselves guarantee.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.conftest import ResourceNames
from tests.e2e.command_line import CommandLine
from tests.e2e.proxy import FaultyProxy, Slow, Unavailable
from tests.e2e.system import PREFORK, THREADS, Message, System, decided, log_lines, message
from tests.e2e.witness import About, BatchObserver, Turned
from tests.e2e.worker_process import Queues, WorkerProcess, eventually, share, worker


def renamings(user: str, count: int) -> list[Message]:
    """Create profile updates with the first names "0", "1" and so on."""
    return [message(c.UpdateProfile(first_name=f"{n}"), user) for n in range(count)]


def assert_in_order(system: System, messages: Sequence[Message]) -> None:
    """Check that commands of one user were applied and published in order."""
    outcomes = system.outcomes(messages, seconds=40)
    assert [outcome.version for outcome in outcomes] == list(range(1, len(messages) + 1))
    told = system.published(outcomes)
    assert [int(event["sequence"]) for event in told] == list(range(1, len(messages) + 1))


def test_commands_of_one_group_apply_in_order_though_the_store_fails_in_between(
    fifo_system: System,
) -> None:
    """A batch that could not be committed is retried whole, before the rest of its group."""
    system, user = fifo_system, str(uuid4())
    messages = [message(register(user), user), *renamings(user, 24)]
    with FaultyProxy(system.endpoint) as proxy:
        fault = proxy.inject(Unavailable(), "TransactWriteItems", times=6)
        with system.worker(endpoint=proxy.url) as worker:
            worker.ready()
            system.send(*messages, group=user)
            assert_in_order(system, messages)
            assert fault.hits == 6
            assert {line["code"] for line in decided(worker) if line["outcome"] == "later"} == {
                "Unavailable"
            }
            eventually(system.queues.empty)
            assert system.user(user).first_name == "23"


def _unknown(user: str) -> str:
    """Create a command of a type that no worker knows yet."""
    body = json.loads(message(c.UnlockUser(), user).body)
    return json.dumps(body | {"type": "biome.user.FreezeUser.v1"})


def _ends_of(worker: WorkerProcess) -> list[str]:
    """Return the order in which a worker accepted or dead-lettered messages."""
    return [
        str(line.get("command_id", line.get("code")))
        for line in log_lines(worker)
        if line.get("outcome") in {"accepted", "dead"}
    ]


def test_a_message_of_an_unknown_type_does_not_delay_its_group(fifo_system: System) -> None:
    """It is dead-lettered at its first receive, with its group, and a redrive is possible."""
    system, ada = fifo_system, str(uuid4())
    before, after = message(register(ada), ada), message(c.BanUser("spam"), ada)
    system.queues.send(before.body, _unknown(ada), after.body, group=ada)
    with system.worker(CREATE_RESOURCES="false") as worker:
        worker.ready()
        first, last = system.outcomes([before, after])
        eventually(lambda: after.command_id in _ends_of(worker), what="the last one's log line")
        [letter] = system.queues.dead_letters(1)
        eventually(system.queues.empty, what="an empty queue")
        refusals = log_lines(worker, "message_not_understood")
    assert [(each["receives"], each["outcome"]) for each in refusals] == [(1, "dead")]
    assert (last.recorded_at - first.recorded_at).total_seconds() < 2  # the shortest delay
    assert letter["MessageAttributes"]["error_code"]["StringValue"] == "UnknownType"
    assert letter["Attributes"]["MessageGroupId"] == ada


PERMISSIONS = """
[[producer]]
name = "signup"
queues = ["*"]
principals = ["*"]
sources = ["/test"]
commands = ["RegisterUser", "UpdateProfile", "AssignRole"]
roles = ["customer"]
"""


def _refused(user: str) -> dict[str, str]:
    """Create messages that are dead-lettered, by the code of their letters and a number."""
    forged = json.loads(message(c.UpdateProfile(first_name="Forged"), user).body)
    invalid = json.loads(message(c.UpdateProfile(first_name="Invalid"), user).body)
    return {
        "NotPermitted 1": message(c.BanUser("spam"), user).body,
        "UnknownType 1": _unknown(user),
        "NotPermitted 2": message(c.AssignRole("admin"), user).body,
        "NotPermitted 3": json.dumps(forged | {"source": "/back-office"}),
        "NotJson": "{",
        "UnknownType 2": _unknown(user),
        "InvalidField": json.dumps(invalid | {"data": {"first_name": 1}}),
        "NotPermitted 4": message(c.EraseUser(), user).body,
    }


def test_forbidden_and_unknown_messages_do_not_delay_their_group(
    fifo_system: System, tmp_path: Path
) -> None:
    """Each is dead-lettered at its first receive, also at the head of the group or in a row.

    Nothing is retried, so no later message of the group waits for a delay.
    """
    system, users = fifo_system, [str(uuid4()) for _ in range(3)]
    file = tmp_path / "permissions.toml"
    file.write_text(PERMISSIONS)
    valid: dict[str, list[Message]] = {}
    for user in users:
        valid[user] = [message(register(user), user), *renamings(user, 8)]
        mixed = [message(c.UnlockUser(), user).body]  # forbidden, at the head of the group
        for sent, refused in zip(valid[user], ["", *_refused(user).values()], strict=True):
            mixed += [sent.body, *([refused] if refused else [])]
        mixed += _refused(user).values()  # in a row, and with one more command behind them
        valid[user].append(message(c.UpdateProfile(first_name="Last"), user))
        system.queues.send(*mixed, valid[user][-1].body, group=user)
    per_user = Counter(
        [
            "NotPermitted",
            *(code.partition(" ")[0] for code in [*_refused(users[0]), *_refused(users[0])]),
        ]
    )
    with system.worker(CREATE_RESOURCES="false", PERMISSIONS=str(file)) as worker:
        worker.ready()
        for user in users:
            assert_in_order(system, valid[user])
            assert system.user(user).first_name == "Last"
        letters = system.queues.dead_letters(len(users) * per_user.total())
        eventually(system.queues.empty, what="an empty queue")
        forbidden = log_lines(worker, "message_not_permitted")
        unreadable = log_lines(worker, "message_not_understood")
        outcomes = {line.get("outcome") for line in log_lines(worker)}
    for user in users:
        mine = [each for each in letters if each["Attributes"]["MessageGroupId"] == user]
        codes = [each["MessageAttributes"]["error_code"]["StringValue"] for each in mine]
        assert Counter(codes) == per_user
    assert len(forbidden) == len(users) * per_user["NotPermitted"]
    assert [each["receives"] for each in unreadable] == [1] * (len(letters) - len(forbidden))
    assert "later" not in outcomes


def test_a_message_that_is_retried_delays_its_group_only(fifo_system: System) -> None:
    """Later messages of its group wait until it ends; the other group continues."""
    system, ada, bob = fifo_system, str(uuid4()), str(uuid4())
    early, late = message(c.AssignRole("admin"), ada), message(c.UnlockUser(), ada)
    others = [message(register(bob), bob), *renamings(bob, 3)]
    system.send(early, late, group=ada)
    system.send(*others, group=bob)
    with system.worker(REGISTRATION_GRACE="4", CREATE_RESOURCES="false") as worker:
        worker.ready()
        assert_in_order(system, others)
        first, last = system.outcomes([early, late], seconds=40)
        eventually(lambda: log_lines(worker, "command")[1:], what="the log lines")
    assert (first.code, last.code) == ("UserNotFound", "UserNotFound")
    assert first.recorded_at <= last.recorded_at
    assert all(other.recorded_at < first.recorded_at for other in system.outcomes(others))


# --- two worker processes on one queue ---------------------------------------------------------


@pytest.fixture
def fifo_queues(fifo_resource_names: ResourceNames, aws_endpoint: str) -> Iterator[Queues]:
    """A FIFO command queue and its dead-letter queue, without table and topic."""
    queues = Queues.create(fifo_resource_names, aws_endpoint, 30)
    yield queues
    queues.delete()


def runs(workers: Sequence[WorkerProcess], group: str) -> list[tuple[float, float, list[str]]]:
    """Return begin, end and message ids of each batch with messages of a group."""
    found: list[tuple[float, float, list[str]]] = []
    for each in workers:
        started: dict[str, float] = {}
        for row in each.records():
            ids = [m["message_id"] for m in row["messages"] if m["group_id"] == group]
            if ids and row["event"] == "start":
                started[ids[0]] = row["at"]
            elif ids:
                found.append((started[ids[0]], row["at"], ids))
    return sorted(found)


def overlap(one: tuple[float, float, Any], other: tuple[float, float, Any]) -> bool:
    """Return True if two runs overlapped in time."""
    return one[0] < other[1] and other[0] < one[1]


def test_two_workers_share_a_fifo_queue_without_overtaking(
    fifo_queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """A group is handled by one worker at a time, in order; different groups run in parallel."""
    names = fifo_queues.names
    with (
        worker(names, aws_endpoint, tmp_path, PREFORK) as first,
        worker(names, aws_endpoint, tmp_path, THREADS) as second,
    ):
        workers = (first.ready(), second.ready())
        bodies: list[str | dict[str, Any]] = [{"seconds": 0.3} for _ in range(23)]

        def scene() -> None:
            groups = [f"{uuid4()}" for _ in range(6)]
            sent = {group: fifo_queues.send(*bodies, group=group) for group in groups}
            eventually(fifo_queues.empty, what="all settled")
            by_group = {group: runs(workers, group) for group in sent}
            for group, ids in sent.items():
                batches = by_group[group]
                assert [i for _, _, batch in batches for i in batch] == ids
                assert all(not overlap(*pair) for pair in pairwise(batches))
            others = [run for group in groups[1:] for run in by_group[group]]
            assert any(overlap(one, other) for one in by_group[groups[0]] for other in others)

        share([partial(_count, each) for each in workers], scene)


def _count(worker: WorkerProcess) -> int:
    return len(worker.handled())


def test_commands_of_many_groups_apply_in_order_through_two_workers(fifo_system: System) -> None:
    """Versions and events of every user are in sending order, whichever worker handled them."""
    system = fifo_system

    def scene() -> None:
        users = [str(uuid4()) for _ in range(5)]
        sent = {user: [message(register(user), user), *renamings(user, 22)] for user in users}
        for user, messages in sent.items():
            system.send(*messages, group=user)
        for user, messages in sent.items():
            assert_in_order(system, messages)
            assert system.user(user).first_name == "21"
        eventually(system.queues.empty)

    with FaultyProxy(system.endpoint) as proxy:
        proxy.inject(Slow(0.1), "TransactWriteItems")  # otherwise one worker may handle everything
        with (
            system.worker(PREFORK, endpoint=proxy.url) as first,
            system.worker(THREADS, endpoint=proxy.url) as second,
        ):
            workers = (first.ready(), second.ready())
            share([lambda each=each: len(decided(each)) for each in workers], scene)  # type: ignore[misc]


# --- a group that fails ------------------------------------------------------------------------


def test_a_failed_group_is_returned_as_a_whole_with_one_delay_and_others_continue(
    fifo_system: System,
) -> None:
    """The store fails for one user: all ten messages in progress get one delay, in one call."""
    system, ada, bob = fifo_system, str(uuid4()), str(uuid4())
    failing = [message(register(ada), ada), *renamings(ada, 9)]
    others = [message(register(bob), bob), *renamings(bob, 9)]
    delays = BatchObserver()
    with FaultyProxy(system.endpoint) as proxy:
        fault = proxy.inject(About(ada, Unavailable()), "BatchGetItem")
        proxy.inject(delays, "ChangeMessageVisibilityBatch")
        with system.worker(endpoint=proxy.url) as worker:
            worker.ready()
            system.send(*failing, group=ada)
            system.send(*others, group=bob)
            eventually(lambda: len(delays.calls) >= 2, what="two deliveries that failed")
            assert_in_order(system, others)
            assert system.load(outcomes={failing[0].key}).outcomes == {}
            proxy.withdraw(fault)
            assert_in_order(system, failing)
            eventually(system.queues.empty)
    for entries in delays.changes():
        assert len(entries) == 10
        assert len({delay for _, delay in entries}) == 1


def test_a_group_is_returned_as_a_whole_although_the_first_call_fails(
    fifo_queues: Queues, aws_endpoint: str, tmp_path: Path
) -> None:
    """The call is retried for the whole group: in parts, its messages would return in parts."""
    sent = fifo_queues.send(*[{"do": "later", "delay": 1} for _ in range(10)], group="a")
    calls = BatchObserver()
    with FaultyProxy(aws_endpoint) as proxy:
        fault = proxy.inject(Unavailable(), "ChangeMessageVisibilityBatch", times=2)
        proxy.inject(calls, "ChangeMessageVisibilityBatch")
        with worker(fifo_queues.names, proxy.url, tmp_path, PREFORK) as running:
            eventually(lambda: len(running.handled()) >= 20, what="all of them again")
            assert fault.hits == 2
            assert [len(entries) for entries in calls.changes()][:1] == [10]
            assert running.handled()[10:20] == sent


# --- standard queues ---------------------------------------------------------------------------


def test_commands_of_one_user_in_a_batch_apply_in_the_order_received(system: System) -> None:
    """A standard queue may deliver in any order; the order of delivery is the one applied."""
    user = str(uuid4())
    messages = [message(register(user), user), *renamings(user, 9)]
    backwards = Turned(lambda rows: sorted(rows, key=_number, reverse=True))
    system.send(*messages)  # before the worker starts, so that one receive returns all
    with FaultyProxy(system.endpoint) as proxy:
        proxy.inject(backwards, "ReceiveMessage")
        with system.worker(endpoint=proxy.url):
            outcomes = system.outcomes(messages)
    versions = {sent.body: o.version for sent, o in zip(messages, outcomes, strict=True)}
    assert backwards.given == [sent.body for sent in (messages[0], *messages[:0:-1])]
    assert [versions[body] for body in backwards.given] == list(range(1, 11))
    assert system.user(user).first_name == "0"


def _number(row: dict[str, Any]) -> int:
    """Return the number in a renaming received from SQS; for a registration the highest."""
    name: str = json.loads(row["Body"])["data"]["first_name"]
    return int(name) if name.isdecimal() else 1_000


def test_send_passes_a_group_to_a_standard_queue_too(system: System) -> None:
    """With a fair queue, SQS gets the given group, and the worker ignores it."""
    cli = CommandLine.on(system.names, system.endpoint)
    users = [str(uuid4()) for _ in range(2)]
    typed = ("UnlockUser", "--group", "support", "--user")
    assert cli.run("send", *typed, users[0]).code == 0
    [row] = system.queues.sqs.receive_message(
        QueueUrl=system.queues.url,
        WaitTimeSeconds=5,
        VisibilityTimeout=0,
        MessageSystemAttributeNames=["MessageGroupId"],
    )["Messages"]
    assert row["Attributes"]["MessageGroupId"] == "support"
    with system.worker():
        system.do(*[message(register(user), user) for user in users])
        done = cli.run("send", *typed, users[1], "--wait", "20", "--json")
        assert done.code == 0, done.err


def test_a_command_that_overtook_its_registration_while_no_worker_ran_is_accepted(
    system: System,
) -> None:
    """The age of the messages at the worker's start does not matter: in one batch or separately."""
    together, apart = str(uuid4()), str(uuid4())
    first = [message(c.AssignRole("customer"), user) for user in (together, apart)]
    registration = message(register(together), together)
    system.send(*first, registration)
    time.sleep(2)  # longer than the grace period, which starts at the first receive
    with system.worker(REGISTRATION_GRACE="1") as worker:
        worker.ready()
        system.outcomes([first[0], registration])
        eventually(lambda: any(line["outcome"] == "later" for line in decided(worker)))
        late = message(register(apart), apart)
        system.send(late)
        outcomes = system.outcomes([*first, registration, late], 60)
        assert [outcome.code for outcome in outcomes] == [None] * 4
        assert [outcome.version for outcome in outcomes] == [2, 2, 1, 1]

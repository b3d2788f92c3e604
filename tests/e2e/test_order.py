"""FIFO queue and FIFO topic: commands of one group apply in the order they were sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import uuid4

import pytest

from domain import commands as c
from tests.builders import register
from tests.e2e.proxy import FaultyProxy, Unavailable
from tests.e2e.system import Message, System, decided, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.aws]


def renamings(user: str, count: int) -> list[Message]:
    """Make changes of name, each to its number."""
    return [message(c.UpdateProfile(first_name=f"{n}"), user) for n in range(count)]


def assert_in_order(system: System, messages: Sequence[Message]) -> None:
    """Check that commands of one user applied in their order, and were published so."""
    outcomes = system.outcomes(messages, seconds=40)
    assert [outcome.version for outcome in outcomes] == list(range(1, len(messages) + 1))
    told = system.published(outcomes)
    assert [int(event["sequence"]) for event in told] == list(range(1, len(messages) + 1))


def test_commands_of_one_group_apply_in_order_though_the_store_fails_in_between(
    fifo_system: System,
) -> None:
    """A batch that could not be committed comes back whole, before the rest of its group."""
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
    """Make a command of a type that no worker knows yet."""
    body = json.loads(message(c.UnlockUser(), user).body)
    return json.dumps(body | {"type": "biome.user.FreezeUser.v1"})


def _ends_of(worker: WorkerProcess) -> list[str]:
    """Say in which order a worker came to an end with commands, and with what it cannot read."""
    return [
        str(line.get("command_id", line.get("code")))
        for line in log_lines(worker)
        if line.get("outcome") in {"accepted", "dead"}
    ]


def test_one_that_fails_holds_its_group_back_and_no_other(fifo_system: System) -> None:
    """What comes after it in its group waits for its end; the other group goes on."""
    system, ada, bob = fifo_system, str(uuid4()), str(uuid4())
    before, after = message(register(ada), ada), message(c.AssignRole("admin"), ada)
    others = [message(register(bob), bob), *renamings(bob, 3)]
    system.queues.send(before.body, _unknown(ada), after.body, group=ada)
    system.send(*others, group=bob)
    with system.worker(MAX_RECEIVES="3", CREATE_RESOURCES="false") as worker:
        worker.ready()
        assert_in_order(system, others)
        [last] = system.outcomes([after], seconds=40)
        eventually(lambda: after.command_id in _ends_of(worker), what="the last one's log line")
        ends = [end for end in _ends_of(worker) if end not in {sent.command_id for sent in others}]
        assert ends == [before.command_id, "UnknownType", after.command_id]
        assert len(log_lines(worker, "message_not_understood")) == 3
        assert all(other.recorded_at < last.recorded_at for other in system.outcomes(others))
        [letter] = system.queues.dead_letters(1)
    assert letter["MessageAttributes"]["error_code"]["StringValue"] == "UnknownType"
    assert letter["Attributes"]["MessageGroupId"] == ada

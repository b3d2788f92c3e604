"""SQS refuses deletes, changes of visibility or dead letters as a whole, and then accepts them.

In the meantime, finished messages must not be received repeatedly, and the refused call must not be
repeated for each message. The worker is not ready, receives nothing more, and recovers without a
restart.

In full (`USER_WORKER_TEST_FULL=1`), deletes are refused for 240 s, with a timeout of 10 s.
Otherwise they are refused for 13 timeouts of 2 s.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from operations.free_port import free_port
from tests.builders import register
from tests.e2e.proxy import Answer, Denied, Exchange, Fault, FaultyProxy, Junk, Refused
from tests.e2e.system import PREFORK, THREADS, Message, System, log_lines, message
from tests.e2e.worker_process import WorkerProcess, eventually
from tests.isolation.health import Watch, ask

pytestmark = [pytest.mark.timeout(400)]

FULL = os.environ.get("USER_WORKER_TEST_FULL") == "1"
TIMEOUT = 10 if FULL else 2
"""Seconds of the visibility timeout."""
DENIED = 240.0 if FULL else 13.0 * TIMEOUT
"""Seconds for which deletes are refused."""
SHORT = 60.0 if FULL else 4.0
"""Seconds of the other refusals."""
MOST_REFUSED_CALLS = 100
POOLS = [THREADS, PREFORK] if FULL else [THREADS]
RECOVERY = 60.0
"""Seconds; the longest delay between two probes is 15 s."""


@pytest.fixture
def quick_system(aws_endpoint: str, tmp_path: Path) -> Iterator[System]:
    """A system with a short visibility timeout."""
    system = System.create(aws_endpoint, tmp_path, visibility_timeout=TIMEOUT)
    yield system
    system.delete()


def _users(count: int) -> list[Message]:
    return [message(register(f"u-{uuid4().hex}"), str(uuid4())) for _ in range(count)]


def _episodes(running: WorkerProcess) -> list[str]:
    names = {"settling_failed", "settling_again"}
    return [line["event"] for line in log_lines(running) if line["event"] in names]


def _recovered(running: WorkerProcess, system: System, port: int) -> None:
    eventually(lambda: ask(port) == (200, []), RECOVERY, "readiness after the refusal")
    eventually(system.queues.empty, RECOVERY, "an empty queue")
    assert _episodes(running) == ["settling_failed", "settling_again"]


@pytest.mark.parametrize("options", POOLS)
def test_refused_deletes_burn_no_receives_and_end_without_a_restart(
    aws_endpoint: str, quick_system: System, options: Sequence[str]
) -> None:
    """Sixty commands are decided, and twenty more wait in the queue until deletes succeed."""
    system, port = quick_system, free_port()
    with (
        FaultyProxy(aws_endpoint) as proxy,
        system.worker(
            options,
            endpoint=proxy.url,
            HEALTH_PORT=str(port),
            VISIBILITY_TIMEOUT=str(TIMEOUT),
        ) as running,
    ):
        running.ready()
        eventually(lambda: ask(port) == (200, []), 40, "readiness")
        denied = proxy.inject(Denied(), "DeleteMessageBatch")
        began = time.monotonic()
        first = _users(60)
        system.send(*first)
        eventually(lambda: ask(port)[0] == 503, 20, "not ready")
        receives = eventually(lambda: _quiet(proxy), 30, "no more receives")
        system.send(*(later := _users(20)))
        with Watch(port) as watch:
            seen = watch.during(max(1.0, DENIED - (time.monotonic() - began)))
        assert proxy.calls["ReceiveMessage"] == receives
        assert {status for status, _ in seen} == {503}
        name = system.names.command_queue
        says = f"queue {name}: DeleteMessageBatch fails: AccessDenied"
        assert {tuple(reasons) for _, reasons in seen} == {(says,)}
        assert ask(port, "/live") == (200, [])
        assert _episodes(running) == ["settling_failed"]
        refused = denied.hits
        assert refused < MOST_REFUSED_CALLS
        proxy.clear()
        system.outcomes([*first, *later], RECOVERY)
        _recovered(running, system, port)
        assert system.queues.dead_letters(1, seconds=0) == []
        again = [line for line in log_lines(running, "command") if line["outcome"] == "duplicate"]
        assert again == []
        print(f"\n{refused} refused calls in {DENIED:.0f} s")


def _quiet(proxy: FaultyProxy) -> int:
    """Return the number of receives, once none was made for longer than a poll."""
    before = proxy.calls["ReceiveMessage"]
    time.sleep(1.5)
    return before if proxy.calls["ReceiveMessage"] == before else 0


class EntriesFail:
    """SQS answers, and every entry has failed."""

    def strike(self, exchange: Exchange) -> None:
        """Return an error code for each entry."""
        entries = json.loads(exchange.asked)["Entries"]
        row = {"SenderFault": False, "Code": "InternalError", "Message": "injected"}
        failed = [{"Id": entry["Id"], **row} for entry in entries]
        body = json.dumps({"Successful": [], "Failed": failed}).encode()
        exchange.answer(Answer(200, {"Content-Type": "application/x-amz-json-1.0"}, body))


REFUSALS: dict[str, Fault] = {
    "denied": Denied(),
    "kms": Refused(400, "KMS.AccessDeniedException"),
    "junk": Junk(),
    "entries": EntriesFail(),
}


def _complete() -> str:
    """Return a command without its user: its dead letter is the message, and has no original."""
    event = {"specversion": "1.0", "id": str(uuid4()), "source": "/test"}
    return json.dumps({**event, "type": "biome.user.EraseUser.v1"})


@pytest.mark.parametrize("queue", ["dead-letter", "quarantine"])
@pytest.mark.parametrize("fault", REFUSALS)
def test_a_queue_of_failed_messages_that_refuses_is_probed_and_gets_each_once(
    aws_endpoint: str, quick_system: System, fault: str, queue: str
) -> None:
    """Forty malformed messages: none is lost, duplicated, or uses up its receives.

    Those of the quarantine queue are redacted: their letters follow once the originals are sent.
    """
    redacted = queue == "quarantine"
    bodies = [f"not JSON {number}" if redacted else _complete() for number in range(40)]
    system, port = quick_system, free_port()
    with (
        FaultyProxy(aws_endpoint) as proxy,
        system.worker(
            endpoint=proxy.url, HEALTH_PORT=str(port), VISIBILITY_TIMEOUT=str(TIMEOUT)
        ) as running,
    ):
        running.ready()
        eventually(lambda: ask(port) == (200, []), 40, "readiness")
        refused = proxy.inject(REFUSALS[fault], "SendMessageBatch")
        system.queues.send(*bodies)
        eventually(lambda: ask(port)[0] == 503, 20, "not ready")
        with Watch(port) as watch:
            seen = watch.during(SHORT)
        assert {status for status, _ in seen} == {503}
        assert f"SendMessageBatch to the {queue} queue fails: " in seen[-1][1][0]
        assert refused.hits < MOST_REFUSED_CALLS
        assert log_lines(running, queue.replace("-", "_") + "_refused") == []
        proxy.clear()
        letters = system.queues.dead_letters(40, RECOVERY)
        kept = system.queues.originals(40, RECOVERY) if redacted else letters
        assert sorted(each["Body"] for each in kept) == sorted(bodies)
        assert len(letters) == len(bodies)
        assert all("error_code" in letter["MessageAttributes"] for letter in letters)
        _recovered(running, system, port)
        assert running.stop() == 0


def test_changes_of_visibility_that_are_denied_stop_the_receiving_and_no_delete(
    aws_endpoint: str, quick_system: System
) -> None:
    """Messages that cannot be retried become visible by timeout; finished ones are deleted."""
    system, port = quick_system, free_port()
    with (
        FaultyProxy(aws_endpoint) as proxy,
        system.worker(
            endpoint=proxy.url,
            HEALTH_PORT=str(port),
            VISIBILITY_TIMEOUT=str(TIMEOUT),
        ) as running,
    ):
        running.ready()
        denied = proxy.inject(Denied(), "ChangeMessageVisibilityBatch")
        eventually(lambda: ask(port) == (200, []), 40, "readiness")
        system.queues.send(*[_of_unknown_type() for _ in range(5)])
        eventually(lambda: ask(port)[0] == 503, 30, "not ready")
        with Watch(port) as watch:
            seen = watch.during(SHORT)
        assert {status for status, _ in seen} == {503}
        assert "ChangeMessageVisibilityBatch fails: AccessDenied" in seen[-1][1][0]
        assert denied.hits < MOST_REFUSED_CALLS
        proxy.clear()
        eventually(lambda: ask(port) == (200, []), RECOVERY, "readiness after the refusal")
        assert _episodes(running) == ["settling_failed", "settling_again"]
        [good] = system.do(*_users(1), seconds=RECOVERY)
        assert good.command_id


def _of_unknown_type() -> str:
    command = json.loads(_users(1)[0].body)
    return json.dumps({**command, "type": "biome.user.Unknown.v1"})


def test_a_worker_that_is_stopped_during_a_refusal_ends_soon(
    aws_endpoint: str, quick_system: System
) -> None:
    """It does what is possible; the rest becomes visible, and another worker deletes it."""
    system, port = quick_system, free_port()
    sent = _users(30)
    with FaultyProxy(aws_endpoint) as proxy:
        with system.worker(
            endpoint=proxy.url, HEALTH_PORT=str(port), VISIBILITY_TIMEOUT=str(TIMEOUT)
        ) as running:
            running.ready()
            proxy.inject(Denied(), "DeleteMessageBatch")
            system.send(*sent)
            eventually(lambda: ask(port)[0] == 503, 20, "not ready")
            system.outcomes(sent)
            assert running.stop() == 0
            assert running.stopped_after < 15
        proxy.clear()
        with system.worker(endpoint=proxy.url, VISIBILITY_TIMEOUT=str(TIMEOUT)) as running:
            running.ready()
            eventually(system.queues.empty, RECOVERY, "an empty queue")
    assert system.queues.dead_letters(1, seconds=0) == []


def test_a_dead_letter_queue_that_was_deleted_and_made_again_gets_the_letters(
    aws_endpoint: str, quick_system: System
) -> None:
    """The worker reports the code in the meantime."""
    system, port = quick_system, free_port()
    with system.worker(HEALTH_PORT=str(port), VISIBILITY_TIMEOUT=str(TIMEOUT)) as running:
        running.ready()
        eventually(lambda: ask(port) == (200, []), 40, "readiness")
        sqs = system.queues.sqs
        sqs.delete_queue(QueueUrl=system.queues.dead_letter_url)
        system.queues.send(body := _complete())
        eventually(lambda: "NonExistentQueue" in str(ask(port)), 30, "not ready")
        name = system.names.dead_letter_queue
        system.queues.dead_letter_url = sqs.create_queue(QueueName=name)["QueueUrl"]
        [letter] = system.queues.dead_letters(1, RECOVERY)
        assert letter["Body"] == body
        _recovered(running, system, port)

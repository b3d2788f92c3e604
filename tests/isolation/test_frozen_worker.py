"""A worker that is frozen between its read and its write stores no personal data afterwards.

A command that does not change its user is committed without a condition on the user. If the user
was erased and scrubbed in the meantime, its outcome would keep a fingerprint of personal data.
"""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest

from adapters.clock import SystemClock
from adapters.memory import MemoryEventPublisher
from application.batch import FACTS_LIFETIME, BatchHandler, Ports
from application.batch_policy import BatchPolicy
from application.disposition import Ack, ReceivedMessage
from application.messages import MessageParser
from application.ports import CommandKey
from domain import commands as c
from tests.builders import register
from tests.e2e.proxy import Exchange, FaultyProxy
from tests.e2e.system import THREADS, System, log_lines, message
from tests.e2e.worker_process import freeze
from worker.settings import load_settings

pytestmark = [pytest.mark.slow]


@dataclass
class FreezeAfter:
    """Stops the worker before it gets the answer to a call that names a command."""

    command_id: str
    pid: int = 0
    frozen: threading.Event = field(default_factory=threading.Event)

    def strike(self, exchange: Exchange) -> None:
        """Forward the call; stop the worker if this is the one; answer."""
        answer = exchange.forward()
        if self.command_id.encode() in exchange.asked and not self.frozen.is_set():
            freeze(self.pid)
            self.frozen.set()
        exchange.answer(answer)


def erase(system: System, user: str) -> None:
    """Erase a user and scrub the stored history, as another worker would."""
    settings = load_settings(table=system.names.table)
    ports = Ports(system.repository, system.outbox, MemoryEventPublisher(), SystemClock())
    policy = BatchPolicy(
        settings.max_receives,
        timedelta(90),
        timedelta(60),
        timedelta(seconds=60),
        hash_keys=settings.hash_key_ring,
    )
    handler = BatchHandler(ports, MessageParser(settings.roles), policy)
    erasure = message(c.EraseUser(), user)
    received = ReceivedMessage(
        message_id=erasure.command_id,
        body=erasure.body,
        receives=1,
        sent_at=time.time(),
        group_id=None,
        fifo=False,
    )
    assert handler.handle([received]).items == (Ack(),)
    assert system.outbox.scrub(user).last is None


@pytest.mark.timeout(150)
def test_an_outcome_written_after_the_scrub_holds_no_fingerprint(system: System) -> None:
    """The frozen worker finds that its facts are too old, and decides again."""
    user = str(uuid4())
    again = message(register(uuid4().hex), user)
    fault = FreezeAfter(again.command_id)
    with FaultyProxy(system.endpoint) as proxy:
        with system.worker(THREADS, endpoint=proxy.url) as frozen:
            frozen.ready()
            [registered] = system.do(message(register(uuid4().hex), user))
            fault.pid = frozen.process.pid
            proxy.inject(fault, "BatchGetItem")
            system.send(again)
            assert fault.frozen.wait(30)
            since = time.monotonic()
            erase(system, user)
            rest = FACTS_LIFETIME.total_seconds() + 1 - (time.monotonic() - since)
            threading.Event().wait(max(0.0, rest))
            frozen.send_signal(signal.SIGCONT, group=True)
            [outcome] = system.outcomes([again], 60)
        assert log_lines(frozen, "facts_outdated")
        assert outcome.code == "UserErased"
        assert outcome.fingerprint == ""
        scrubbed = system.repository.outcome(CommandKey(user, registered.command_id))
        assert scrubbed is not None
        assert scrubbed.fingerprint == ""

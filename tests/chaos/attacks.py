"""Run a schedule of attacks: one thread per worker for its processes, one for its connections."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.chaos.fleet import VERSIONS, Worker
from tests.chaos.history import FaultRecord
from tests.chaos.schedule import EVERYBODY, NetworkAttack, ProcessAttack, Schedule

ENDED_BY_ITSELF = "ended by itself"


@dataclass(slots=True)
class Attackers:
    """The threads that attack; `faults` records what they did."""

    schedule: Schedule
    workers: Sequence[Worker]
    set_visibility: Callable[[int], Any]
    stop: threading.Event
    faults: list[FaultRecord] = field(default_factory=list)
    slow_ends: int = 0
    failures: list[BaseException] = field(default_factory=list)
    """Errors in the threads themselves: bugs of the harness."""
    _threads: list[threading.Thread] = field(default_factory=list)
    _began: float = 0.0

    def begin(self) -> None:
        """Start the clock and the threads."""
        self._began = time.monotonic()
        tasks: list[Callable[[], None]] = [
            self._change_visibility,
            *(partial(self._attack_process, worker) for worker in self.workers),
            *(partial(self._attack_network, n) for n in (EVERYBODY, *range(len(self.workers)))),
        ]
        self._threads = [threading.Thread(target=self._run, args=(task,)) for task in tasks]
        for thread in self._threads:
            thread.start()

    def end(self, seconds: float) -> None:
        """Wait for the threads. Each ends with its schedule, or soon after `stop` is set."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "an attacker does not end"

    def version(self, worker: Worker) -> Any:
        """Return the version of the settings for the next start of a worker."""
        return VERSIONS[self.schedule.versions[worker.number][worker.starts]]

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - the run reports it
            self.failures.append(error)

    def supervise(self, worker: Worker) -> None:
        """Restart a worker that ended by itself, as any supervisor would.

        Celery ends a worker by itself when a child of its pool dies while the worker starts.
        """
        if not worker.alive:
            began = time.time()
            worker.sweep()
            worker.start(self.version(worker))
            self.faults.append(FaultRecord(ENDED_BY_ITSELF, worker.number, began, time.time()))

    def _due(
        self, attacks: Sequence[Any], meanwhile: Callable[[], None] = lambda: None
    ) -> Iterator[Any]:
        """Yield each attack when it is due, until all are done or the run ends."""
        for attack in attacks:
            while (left := self._began + attack.at - time.monotonic()) > 0:
                if self.stop.wait(min(left, 0.5)):
                    return
                meanwhile()
            yield attack

    def _change_visibility(self) -> None:
        for attack in self._due(self.schedule.queue):
            self.set_visibility(attack.timeout)
            now = time.time()
            self.faults.append(FaultRecord("visibility timeout changed", EVERYBODY, now, now))

    # --- connections ---------------------------------------------------------------------------

    def _attack_network(self, number: int) -> None:
        attack: NetworkAttack
        struck = self.workers if number == EVERYBODY else [self.workers[number]]
        for attack in self._due([a for a in self.schedule.network if a.worker == number]):
            began = time.time()
            made = [
                (worker.proxy, worker.proxy.inject(attack.fault(), attack.operation))
                for worker in struck
            ]
            self.stop.wait(attack.seconds)
            for proxy, injection in made:
                proxy.withdraw(injection)
            hits = sum(injection.hits for _, injection in made)
            self.faults.append(FaultRecord(attack.trouble, number, began, time.time(), hits))

    # --- processes -----------------------------------------------------------------------------

    def _attack_process(self, worker: Worker) -> None:
        attack: ProcessAttack
        mine = [a for a in self.schedule.processes if a.worker == worker.number]
        for attack in self._due(mine, partial(self.supervise, worker)):
            began = time.time()
            kind = self._strike(worker, attack)
            self.faults.append(FaultRecord(kind, worker.number, began, time.time()))

    def _strike(self, worker: Worker, attack: ProcessAttack) -> str:
        """Apply the attack; return its kind. A pool without processes has no child to kill."""
        children = worker.children()
        if attack.blow == "SIGKILL to a child" and children:
            victim = random.Random(attack.at).choice(children)
            worker.signal_child(victim, signal.SIGKILL)
            return attack.blow
        if attack.blow == "SIGSTOP":
            worker.signal(signal.SIGSTOP, group=True)
            self.stop.wait(attack.pause)
            worker.signal(signal.SIGCONT, group=True)
            return attack.blow
        if attack.blow == "SIGTERM":
            self.slow_ends += worker.terminate() is None
        else:
            everybody = attack.blow == "SIGKILL to all"
            worker.signal(signal.SIGKILL, group=everybody)
            self.stop.wait(attack.pause)
            worker.sweep()
        worker.start(self.version(worker))
        return attack.blow if attack.blow in {"SIGTERM", "SIGKILL to all"} else "SIGKILL"

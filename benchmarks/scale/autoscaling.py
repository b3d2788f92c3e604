"""The response of `deploy/service.yaml`'s scaling to a burst, simulated second by second.

Two policies, as in that file: target tracking on waiting messages per task, and steps by the age of
the oldest message. CloudWatch has SQS's figures at the end of each minute. Target tracking uses
three of them to scale out and fifteen to scale in; a step uses two. A task needs a minute to start.
The delay of CloudWatch's figures and alarms is left out.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from benchmarks.scale.cost import BUSY, cpu_ms

BURST_SECONDS: Final = 60
MINUTE: Final = 60
LONGEST: Final = 6 * 3600


def task_rate() -> float:
    """Return the commands per second for which a task of one vCPU is planned.

    TLS, which the benchmark does not use, and the collector beside the worker need the rest.
    """
    return 1000 / cpu_ms() * BUSY


@dataclass(frozen=True, slots=True)
class Policy:
    """The defaults of deploy/service.yaml."""

    least: int = 2
    most: int = 10
    backlog: int = 5000
    oldest: int = 60
    out_cooldown: int = 60
    in_cooldown: int = 300
    age_cooldown: int = 120
    start_seconds: int = 60
    out_minutes: int = 3
    in_minutes: int = 15
    age_minutes: int = 2


@dataclass(slots=True)
class Response:
    """The result of a burst."""

    most_tasks: int = 0
    first_task: int | None = None
    """Seconds from the burst's start until one more task than before runs."""
    oldest: float = 0.0
    """Longest wait of a message, in seconds."""
    drained: int | None = None
    """Seconds from the burst's start until no message waits longer than a second."""
    task_hours: float = 0.0


@dataclass(slots=True)
class _Fleet:
    policy: Policy
    running: int
    starting: deque[int] = field(default_factory=deque)
    """When each requested task runs."""
    backlogs: list[float] = field(default_factory=list)
    """Waiting messages per task, once a minute; `ages` are the seconds of the oldest message."""
    ages: list[float] = field(default_factory=list)
    changed: int = -LONGEST

    @property
    def wanted(self) -> int:
        return self.running + len(self.starting)

    def minute(self, now: int, waiting: float, age: float) -> None:
        """Apply the policies to the figures of a minute."""
        self.backlogs.append(waiting / self.running)
        self.ages.append(age)
        wanted = max(self._by_backlog(now), self._by_age(now))
        wanted = max(self.policy.least, min(self.policy.most, wanted))
        if wanted > self.wanted:
            self.starting += [now + self.policy.start_seconds] * (wanted - self.wanted)
            self.changed = now
        elif wanted < self.running and not self.starting:
            self.running = wanted
            self.changed = now

    def _by_backlog(self, now: int) -> int:
        policy, since = self.policy, now - self.changed
        recent = self.backlogs[-policy.out_minutes :]
        if len(recent) == policy.out_minutes and min(recent) > policy.backlog:
            factor = self.backlogs[-1] / policy.backlog
            return math.ceil(self.running * factor) if since >= policy.out_cooldown else self.wanted
        quiet = self.backlogs[-policy.in_minutes :]
        calm = len(quiet) == policy.in_minutes and max(quiet) < policy.backlog * 0.9
        if calm and since >= policy.in_cooldown:
            return math.ceil(self.running * self.backlogs[-1] / policy.backlog)
        return self.wanted

    def _by_age(self, now: int) -> int:
        policy = self.policy
        recent = self.ages[-policy.age_minutes :]
        if len(recent) < policy.age_minutes or min(recent) < policy.oldest:
            return self.wanted
        if now - self.changed < policy.age_cooldown:
            return self.wanted
        share = 1.0 if recent[-1] >= policy.oldest + 240 else 0.25
        return self.wanted + max(1, int(self.wanted * share))


def respond(burst: int, steady: float = 200.0, policy: Policy | None = None) -> Response:
    """Send `burst` commands within a minute on top of a steady rate; return the response."""
    policy = policy or Policy()
    fleet = _Fleet(policy, policy.least)
    waiting: deque[tuple[int, float]] = deque()  # time of arrival and number
    told = Response(most_tasks=policy.least)
    for now in range(LONGEST):
        came = steady + (burst / BURST_SECONDS if now < BURST_SECONDS else 0)
        waiting.append((now, came))
        _work(waiting, fleet.running * task_rate())
        age = now - waiting[0][0] if waiting else 0
        told.oldest = max(told.oldest, age)
        told.task_hours += fleet.running / 3600
        if now and now % MINUTE == 0:
            fleet.minute(now, sum(number for _, number in waiting), age)
        while fleet.starting and fleet.starting[0] <= now:
            fleet.starting.popleft()
            fleet.running += 1
            told.first_task = told.first_task or now
        told.most_tasks = max(told.most_tasks, fleet.running)
        if now > BURST_SECONDS and age <= 1:
            told.drained = now
            return told
    return told


def _work(waiting: deque[tuple[int, float]], able: float) -> None:
    """Handle the oldest messages, as many as can be handled in a second."""
    while waiting and able > 0:
        came, number = waiting[0]
        done = min(number, able)
        able -= done
        if done == number:
            waiting.popleft()
        else:
            waiting[0] = (came, number - done)

"""Read the health and the metrics of the workers over HTTP."""

from __future__ import annotations

import json
import socket
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from string import ascii_letters
from typing import Final, NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from prometheus_client.parser import text_string_to_metric_families

from worker.health.server import READY
from worker.telemetry.instruments import COMMANDS, CRITICAL_TIME

TIMEOUT: Final = 1.0
"""Seconds for one answer of a worker; the pages wait for it."""
MOST: Final = 100
"""Maximum number of workers that are read."""
LARGEST: Final = 4_000_000
"""Maximum bytes of an answer. Metrics of a worker have about 60,000."""
_NAMES: Final = (COMMANDS.prometheus_name, CRITICAL_TIME.prometheus_name)
_WANTED: Final = (*_NAMES, *(f"# TYPE {name}" for name in _NAMES))
"""Beginnings of the lines of a worker's metrics that are parsed."""
_FIRST: Final = frozenset(f"#_:{ascii_letters}")
"""First characters of a line."""
READERS: Final = 16
"""Concurrent requests."""

Key = TypeVar("Key", bound=Hashable)

# without the proxies of the environment: workers are in the same network
_opener = build_opener(ProxyHandler({}))


class Ended(NamedTuple):
    """How deliveries of commands ended."""

    outcome: str
    code: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters of one worker since its start, or their increase over some time."""

    ended: Mapping[Ended, float] = field(default_factory=dict)
    """Deliveries of commands, by outcome and code."""
    within: Mapping[float, float] = field(default_factory=dict)
    """Commands by upper bound of their critical time, in seconds; cumulative, as in Prometheus."""

    def since(self, before: Totals) -> Totals:
        """Return the increase; a counter that is lower than before was reset by a restart."""
        return Totals(_increase(before.ended, self.ended), _increase(before.within, self.within))

    @classmethod
    def sum(cls, parts: Iterable[Totals]) -> Totals:
        """Return the sum of several workers."""
        ended: defaultdict[Ended, float] = defaultdict(float)
        within: defaultdict[float, float] = defaultdict(float)
        for part in parts:
            for key, number in part.ended.items():
                ended[key] += number
            for bound, number in part.within.items():
                within[bound] += number
        return cls(dict(ended), dict(within))

    def count(self, outcome: str) -> float:
        """Return the number of deliveries with an outcome."""
        return sum(number for key, number in self.ended.items() if key.outcome == outcome)

    def percentile(self, part: float) -> float | None:
        """Return the critical time that this part of the commands did not exceed, in seconds.

        The time is interpolated between the bounds, as by Prometheus. Returns `None` without
        commands.
        """
        bounds = sorted(self.within)
        total = self.within[bounds[-1]] if bounds else 0
        if not total:
            return None
        lower = below = 0.0
        for bound in bounds:
            here = self.within[bound]
            if here >= part * total:
                if bound == float("inf"):
                    return lower
                share = (part * total - below) / (here - below) if here > below else 1.0
                return lower + (bound - lower) * share
            lower, below = bound, here
        return lower


def _increase(before: Mapping[Key, float], after: Mapping[Key, float]) -> dict[Key, float]:
    restarted = any(after.get(key, 0) < number for key, number in before.items())
    return {key: after[key] - (0 if restarted else before.get(key, 0)) for key in after}


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker at one time."""

    address: str
    ready: bool | None
    """`None`: the worker did not answer."""
    reasons: Sequence[str]
    """Why the worker is not ready, or why it cannot be read."""
    totals: Totals | None
    """`None`: the worker exports no metrics."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers to read, by host name: a name may have the addresses of several workers."""

    hosts: Sequence[str] = ()
    health_port: int | None = None
    metrics_port: int | None = None

    def read(self) -> list[WorkerState]:
        """Return the state of each worker; raises nothing, a failure is part of the state."""
        addresses: list[str] = []
        states: list[WorkerState] = []
        for host in self.hosts:
            try:
                addresses += _addresses(host)
            except (OSError, UnicodeError) as error:
                states.append(WorkerState(host, None, [_reason(error)], None))
        addresses = list(dict.fromkeys(addresses))
        if len(addresses) > MOST:
            note = f"{len(addresses) - MOST} more workers are not read"
            states.append(WorkerState("-", None, [note], None))
        if addresses:
            with ThreadPoolExecutor(READERS, "console workers") as pool:
                states += pool.map(self._state, addresses[:MOST])
        return states

    def _state(self, address: str) -> WorkerState:
        ready, reasons = self._readiness(address)
        try:
            totals = None if self.metrics_port is None else self._totals(address)
        except Exception as error:  # noqa: BLE001 - anything may listen on the port
            totals, reasons = None, [*reasons, f"no metrics: {_reason(error)}"]
        return WorkerState(address, ready, reasons, totals)

    def _readiness(self, address: str) -> tuple[bool | None, list[str]]:
        if self.health_port is None:
            return None, ["health is not served: set USER_WORKER_HEALTH_PORT"]
        try:
            found = json.loads(_fetch(address, self.health_port, READY))
            ready, reasons = found["ready"], found["reasons"]
            if not isinstance(ready, bool) or not isinstance(reasons, list):
                raise TypeError("not a worker")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - anything may listen on the port
            return None, [f"no health: {_reason(error)}"]
        return ready, [str(each) for each in reasons]

    def _totals(self, address: str) -> Totals:
        assert self.metrics_port is not None
        return parse_totals(_fetch(address, self.metrics_port, "/metrics").decode())


def parse_totals(text: str) -> Totals:
    """Return the totals in the text of a worker's metrics.

    Raises:
        ValueError: it is not in Prometheus's format.
    """
    lines = text.splitlines()
    if any(line and line[0] not in _FIRST for line in lines):
        raise ValueError("not in Prometheus's format")
    # parsing all metrics of a worker takes ten times as long
    wanted = "\n".join(line for line in lines if line.startswith(_WANTED)) + "\n"
    ended: defaultdict[Ended, float] = defaultdict(float)
    within: defaultdict[float, float] = defaultdict(float)
    for family in text_string_to_metric_families(wanted):
        for sample in family.samples:
            if sample.name == f"{COMMANDS.prometheus_name}_total":
                key = Ended(sample.labels.get("outcome", ""), sample.labels.get("code", ""))
                ended[key] += sample.value
            elif sample.name == f"{CRITICAL_TIME.prometheus_name}_bucket":
                within[float(sample.labels["le"])] += sample.value
    return Totals(dict(ended), dict(within))


def _addresses(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(each[4][0]) for each in found})


def _fetch(address: str, port: int, path: str) -> bytes:
    """Return the body of an answer, whatever its status."""
    name = f"[{address}]" if ":" in address else address
    try:
        with _opener.open(f"http://{name}:{port}{path}", timeout=TIMEOUT) as answer:
            body: bytes = answer.read(LARGEST + 1)
    except HTTPError as error:
        with error:
            body = error.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise ValueError(f"the answer has more than {LARGEST} bytes")
    return body


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    if isinstance(cause, HTTPException | ValueError | KeyError | TypeError):
        return "not a worker's answer"
    return type(cause).__name__

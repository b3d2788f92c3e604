"""The figures of a history."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from tests.chaos.checker import Finding
from tests.chaos.history import History
from tests.chaos.schedule import EVERYBODY


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds from a fault until an affected worker decided a command again."""

    count: int
    mean: float
    median: float
    worst: float
    unknown: int
    """Faults after which the worker decided no more commands: the next fault or the end came first,
    or other workers handled everything."""


def recoveries(history: History) -> list[tuple[str, float | None]]:
    """Return, for each fault and each affected worker, its kind and the seconds to recover.

    Measured from the end of the fault (a working connection, SIGCONT, or the start of the
    replacement) to the next command that this worker decided. A fault that hit no request is left
    out. The seconds are None if the worker decided no more commands.
    """
    settled = defaultdict[int, list[float]](list)
    for line in history.settled():
        settled[line.worker].append(line.at)
    for times in settled.values():
        times.sort()
    found: list[tuple[str, float | None]] = []
    for fault in history.faults:
        if not fault.hits or fault.kind == "visibility timeout changed":
            continue
        for worker in settled if fault.worker == EVERYBODY else [fault.worker]:
            times = settled[worker]
            after = bisect_right(times, fault.ended)
            found.append((fault.kind, times[after] - fault.ended if after < len(times) else None))
    return found


def summarise(times: Sequence[float | None]) -> Recovery:
    """Return the figures of recoveries."""
    known = sorted(time for time in times if time is not None)
    if not known:
        return Recovery(0, 0.0, 0.0, 0.0, len(times))
    median = known[len(known) // 2]
    return Recovery(len(known), fmean(known), median, known[-1], len(times) - len(known))


def longest_pause(history: History) -> float:
    """Return the longest time under attack, in seconds, in which no worker decided a command."""
    times = sorted(line.at for line in history.settled() if line.at <= history.attacked_until)
    return max((b - a for a, b in pairwise(times)), default=0.0)


def lines(history: History, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the report, line by line."""
    yield from _work(history)
    yield from _deliveries(history)
    yield from _faults(history)
    kinds = Counter(finding.kind for finding in findings)
    yield f"lost {kinds['lost']}, doubled {kinds['doubled']}, wrong otherwise {kinds['wrong']}"


def _work(history: History) -> Iterator[str]:
    commands = {s.planned.command_id for s in history.sent if s.planned.command is not None}
    messages = sum(len(sent.message_ids) for sent in history.sent)
    malformed = sum(sent.planned.command is None for sent in history.sent)
    attacked = history.attacked_until - history.began
    yield (
        f"{len(commands)} commands in {messages} messages, {malformed} of them malformed, "
        f"in {attacked:.0f} s; quiet {history.quiet_at - history.attacked_until:.0f} s after"
    )
    outcomes = Counter(
        line.row["outcome"] if "code" not in line.row else line.row["code"]
        for line in history.commands()
        if line.row["outcome"] in {"accepted", "rejected"}
    )
    yield "decided: " + ", ".join(f"{name} {n}" for name, n in outcomes.most_common())
    ids = len({event["id"] for event in history.published})
    yield f"events: {ids}, published {len(history.published)} times"


def _deliveries(history: History) -> Iterator[str]:
    rows = [line.row for line in history.commands()]
    duplicates = sum(row["outcome"] == "duplicate" for row in rows)
    again = sum(row["receives"] > 1 for row in rows)
    later = Counter(str(row.get("code")) for row in rows if row["outcome"] == "later")
    most = max((row["receives"] for row in rows), default=0)
    relayed = sum(
        line.row.get("pointers", 1) for line in history.log if line.row.get("event") == "relayed"
    )
    yield (
        f"deliveries: {len(rows)}, of them duplicates {duplicates}, "
        f"received before {again} (up to {most} times)"
    )
    yield "came back later: " + (", ".join(f"{k} {n}" for k, n in later.most_common()) or "none")
    yield f"outbox pointers finished by a relay: {relayed}; slow ends: {history.slow_ends}"


def _faults(history: History) -> Iterator[str]:
    times = defaultdict[str, list[float | None]](list)
    for kind, seconds in recoveries(history):
        times[kind].append(seconds)
    yield f"{'fault':28}{'times':>6}{'struck':>8}{'mean':>8}{'median':>8}{'worst s':>9}"
    for kind in sorted({fault.kind for fault in history.faults}):
        faults = [fault for fault in history.faults if fault.kind == kind]
        row = f"{kind:28}{len(faults):6}{sum(fault.hits for fault in faults):8}"
        if times[kind]:
            r = summarise(times[kind])
            row += f"{r.mean:8.1f}{r.median:8.1f}{r.worst:9.1f}"
        yield row
    every = summarise([seconds for row in times.values() for seconds in row])
    yield (
        f"recovered: mean {every.mean:.1f} s, median {every.median:.1f} s, worst "
        f"{every.worst:.1f} s ({every.count} times; {every.unknown} times nothing more to settle); "
        f"the longest pause of all workers at once {longest_pause(history):.1f} s"
    )

"""What happened, as seen from outside. It is the checker's only input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.workload import Planned

COMMITTED = frozenset({"accepted", "rejected"})
SETTLED = COMMITTED | {"duplicate", "dead"}


@dataclass(frozen=True, slots=True)
class Sent:
    """A planned message as it was sent."""

    planned: Planned
    message_ids: tuple[str, ...]
    """One for each time that it was sent."""


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One injected fault. Times are epoch seconds."""

    kind: str
    worker: int
    """The worker that was attacked; -1 for all of them."""
    began: float
    ended: float
    """When the connection worked again, or the process continued or was restarted."""
    hits: int = 1
    """Number of failed requests; 1 for a process."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One JSON line of a worker's log."""

    worker: int
    at: float
    row: dict[str, Any]


@dataclass(slots=True)
class History:
    """The complete record of a run, after it."""

    seed: int
    fifo: bool = False
    """Whether the queues keep the order of a user's commands."""
    began: float = 0.0
    attacked_until: float = 0.0
    quiet_at: float = 0.0
    sent: list[Sent] = field(default_factory=list)
    faults: list[FaultRecord] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    """Every event that the subscriber received, including duplicates."""
    published_complete: list[dict[str, Any]] = field(default_factory=list)
    """The same of the subscriber of the personal topic."""
    items: list[dict[str, Any]] = field(default_factory=list)
    """The table."""
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    """The messages of the dead-letter queue as SQS returns them."""
    waiting: dict[str, int] = field(default_factory=dict)
    """Number of messages left, by queue."""
    log: list[LogLine] = field(default_factory=list)
    slow_ends: int = 0
    """Workers that did not end in time after SIGTERM."""

    def commands(self) -> Iterator[LogLine]:
        """Return the workers' log lines about commands."""
        return (line for line in self.log if line.row.get("event") == "command")

    def settled(self) -> Iterator[LogLine]:
        """Return the log lines of commands that were decided now or before."""
        return (line for line in self.commands() if line.row["outcome"] in SETTLED)

    def save(self, folder: Path) -> None:
        """Write the history to a folder, in one file per part."""
        _write(folder / "sent.jsonl", map(_plain_sent, self.sent))
        _write(folder / "faults.jsonl", map(dataclasses.asdict, self.faults))
        _write(folder / "published.jsonl", self.published)
        _write(folder / "published-complete.jsonl", self.published_complete)
        _write(folder / "stored.jsonl", self.items)
        _write(folder / "dead-letters.jsonl", self.dead_letters)
        times = {"began": self.began, "attacked until": self.attacked_until, "quiet": self.quiet_at}
        _write(folder / "run.jsonl", [{"seed": self.seed, "left": self.waiting, **times}])


def read_log(worker: int, files: Iterable[Path]) -> Iterator[LogLine]:
    """Parse the logs of one worker; skip incomplete lines."""
    for file in files:
        for line in file.read_text(errors="replace").splitlines():
            try:
                row = json.loads(line)
                at = datetime.fromisoformat(row["timestamp"]).timestamp()
            except (ValueError, KeyError, TypeError):
                continue
            yield LogLine(worker, at, row)


def _plain_sent(sent: Sent) -> dict[str, Any]:
    planned = sent.planned
    return {
        "at": planned.at,
        "message_ids": sent.message_ids,
        "command_id": planned.command_id,
        "user_id": planned.user_id,
        "dead": planned.command is None,
        "rival": planned.rival,
        "body": planned.body,
    }


def _write(file: Path, rows: Iterable[Any]) -> None:
    with file.open("w") as out:
        out.writelines(f"{json.dumps(row, default=str)}\n" for row in rows)

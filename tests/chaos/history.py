"""What happened, as far as it can be seen from outside: the checker reads nothing else."""

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
    """A planned message as it went out."""

    planned: Planned
    message_ids: tuple[str, ...]
    """One each time that it was sent."""


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """One injected fault. Times are epoch seconds."""

    kind: str
    worker: int
    """The one that it struck, -1: all of them."""
    began: float
    ended: float
    """When the connection was good again, the process went on or was started again."""
    hits: int = 1
    """Requests that it struck; of a process, 1."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One JSON line of a worker's log."""

    worker: int
    at: float
    row: dict[str, Any]


@dataclass(slots=True)
class History:
    """All that is known of a run, after it."""

    seed: int
    fifo: bool = False
    """Whether the queues keep the order of a user's commands."""
    began: float = 0.0
    attacked_until: float = 0.0
    quiet_at: float = 0.0
    sent: list[Sent] = field(default_factory=list)
    faults: list[FaultRecord] = field(default_factory=list)
    published: list[dict[str, Any]] = field(default_factory=list)
    """Every event that the subscriber got, doubles too."""
    items: list[dict[str, Any]] = field(default_factory=list)
    """The table."""
    dead_letters: list[dict[str, Any]] = field(default_factory=list)
    """The messages of the dead-letter queue as SQS gives them."""
    waiting: dict[str, int] = field(default_factory=dict)
    """Messages left by queue."""
    log: list[LogLine] = field(default_factory=list)
    slow_ends: int = 0
    """Workers that did not end in time after SIGTERM."""

    def commands(self) -> Iterator[LogLine]:
        """Give the workers' lines about commands."""
        return (line for line in self.log if line.row.get("event") == "command")

    def settled(self) -> Iterator[LogLine]:
        """Give the lines of commands that were decided, or known to be."""
        return (line for line in self.commands() if line.row["outcome"] in SETTLED)

    def save(self, folder: Path) -> None:
        """Write it down, a file each."""
        _write(folder / "sent.jsonl", map(_plain_sent, self.sent))
        _write(folder / "faults.jsonl", map(dataclasses.asdict, self.faults))
        _write(folder / "published.jsonl", self.published)
        _write(folder / "stored.jsonl", self.items)
        _write(folder / "dead-letters.jsonl", self.dead_letters)
        times = {"began": self.began, "attacked until": self.attacked_until, "quiet": self.quiet_at}
        _write(folder / "run.jsonl", [{"seed": self.seed, "left": self.waiting, **times}])


def read_log(worker: int, files: Iterable[Path]) -> Iterator[LogLine]:
    """Read the logs of one worker; a line half written is left out."""
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

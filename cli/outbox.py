"""`user-worker outbox`: what was committed and not published yet, and publishing it now."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog

from adapters.clock import SystemClock
from application.outbox import OutboxPosition
from application.ports import OutboxEntry, StoreUnavailableError
from application.relay import Ending, Relay, RelayPolicy
from cli import composition, output
from cli.ages import age_text
from cli.progress import TerminalProgress
from domain.values import render_time
from operations.signals import stop_on_signals
from worker.errors import CliError, ExitCode

logger = structlog.get_logger(__name__)

SHOWN_USERS = 2
"""Users whose ids a line has room for."""
_WORDS = {
    Ending.DONE: "done",
    Ending.PARKED: "parked",
    Ending.ADVANCED: "left",
    Ending.LEFT: "left",
    Ending.UNREADABLE: "unreadable",
}


def pointer_id(sort_key: str) -> str:
    """Give what a pointer goes by on the command line: the part of its key that is its own."""
    return sort_key.rpartition("#")[2]


def _place(partition: str) -> str:
    return partition.rpartition("#")[2].lower()


def _entries(aws: composition.Aws) -> Iterator[OutboxEntry | OutboxPosition]:
    for page in aws.outbox.pages():
        yield from page.entries
        yield from page.unreadable


# --- list ---


def list_outbox(*, user_id: str | None, parked: bool, limit: int, as_json: bool) -> int:
    """Print what lies in the outbox; give the exit code.

    Args:
        user_id: only what concerns this user.
        parked: only what is parked.
        limit: entries at most.
        as_json: for programs.
    """
    aws = composition.aws()
    now = datetime.now(UTC)
    meant = (each for each in _entries(aws) if _is_meant(each, user_id, parked=parked))
    entries = list(islice(meant, limit + 1))
    rows = [_facts(entry, now) for entry in entries[:limit]]
    if as_json:
        sys.stdout.writelines(output.json_line(row) + "\n" for row in rows)
    elif rows:
        console = output.stdout()
        for row in rows:
            console.print(output.printable(_line(row)), markup=False)
    else:
        output.stdout().print("nothing is in the outbox" if not user_id else "nothing of that user")
    if len(entries) > limit:
        output.stderr().print("there are more: --limit sets how many", style="yellow")
    return ExitCode.OK


def _is_meant(entry: OutboxEntry | OutboxPosition, user_id: str | None, *, parked: bool) -> bool:
    if parked and _place(entry.partition) != "parked":
        return False
    if user_id is None:
        return True
    return isinstance(entry, OutboxEntry) and any(key.user_id == user_id for key in entry.commands)


def _facts(entry: OutboxEntry | OutboxPosition, now: datetime) -> dict[str, object]:
    facts: dict[str, object] = {"id": pointer_id(entry.sort_key), "shard": _place(entry.partition)}
    if not isinstance(entry, OutboxEntry):
        return facts | {"kind": "unreadable", "recorded_at": None, "commands": 0, "user_ids": []}
    return facts | {
        "kind": entry.kind.value,
        "recorded_at": render_time(entry.recorded_at),
        "age_seconds": round((now - entry.recorded_at).total_seconds(), 1),
        "commands": len(entry.commands),
        "user_ids": sorted({key.user_id for key in entry.commands if key.user_id}),
        "attempts": entry.attempts,
        "final": entry.final,
        "parked_because": entry.parked_because,
    }


def _line(row: dict[str, object]) -> str:
    users = row["user_ids"]
    names = [str(each) for each in users] if isinstance(users, list) else []
    more = f" and {len(names) - SHOWN_USERS} more" if len(names) > SHOWN_USERS else ""
    reason = row.get("parked_because")
    words = (
        str(row["id"]),
        f"{_when(row):>4}",
        f"{'final ' if row.get('final') else ''}{row['kind']} of {row['commands']}",
        f"users {', '.join(names[:SHOWN_USERS])}{more}" if names else "",
        f"failed {row['attempts']} times" if row.get("attempts") else "",
        f"parked: {reason}" if reason else f"shard {row['shard']}",
    )
    return "  ".join(word for word in words if word)


def _when(row: dict[str, object]) -> str:
    age = row.get("age_seconds")
    if not isinstance(age, float):
        return "-"
    return age_text(age) if age >= 0 else f"in {age_text(-age)}"


# --- publish ---


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What was typed."""

    ids: Collection[str]
    """Of pointers; all that are old enough if there is none."""
    parked: bool
    """Whether what is parked is tried again."""
    now: bool
    """Whether also what a worker may be publishing at this moment."""
    as_json: bool


def publish_outbox(options: PublishOptions) -> int:
    """Do now what the relay does from time to time; return the exit code.

    Nothing leaves the outbox but what was published: what cannot be is left, or parked.

    Raises:
        CliError: something is left, since topic or store are away, or parked; or there is no such.
    """
    aws = composition.aws()
    age = timedelta(seconds=0 if options.now else aws.settings.relay_age)
    before = datetime.now(UTC) - age
    meant = [entry for entry in _entries(aws) if _is_due(entry, options, before)]
    entries = [entry for entry in meant if isinstance(entry, OutboxEntry)]
    # what fails now is retried, and parked, at the pace of the workers
    policy = RelayPolicy(1, timedelta(seconds=aws.settings.relay_age))
    relay = Relay(aws.outbox, aws.publisher, SystemClock(), policy)
    with _warnings_on_standard_error(), stop_on_signals():
        endings = _work_off(aws, relay, entries)
    endings[_WORDS[Ending.UNREADABLE]] += len(meant) - len(entries)
    strangers = set(options.ids).difference(*map(_names, meant))
    if meant or not strangers:
        _report(endings, len(meant), as_json=options.as_json)
    if strangers:
        advice = "`user-worker outbox list` has those that are there"
        text = f"{len(strangers)} of those named are not in the outbox, or no more"
        raise CliError(text, advice, ExitCode.NEGATIVE)
    return ExitCode.OK


def _names(entry: OutboxEntry | OutboxPosition) -> set[str]:
    return {pointer_id(entry.sort_key), entry.sort_key}


def _is_due(entry: OutboxEntry | OutboxPosition, options: PublishOptions, before: datetime) -> bool:
    if options.ids:
        return not _names(entry).isdisjoint(options.ids)
    if not isinstance(entry, OutboxEntry):
        return False  # nobody asked for it, and `list` and `status` tell of it
    if entry.parked_because is not None:
        return options.parked
    return entry.recorded_at < before


def _work_off(aws: composition.Aws, relay: Relay, meant: list[OutboxEntry]) -> Counter[str]:
    """Work off entries; those that had no turn, since the topic is unavailable, are left."""
    endings: Counter[str] = Counter()
    if meant:
        with TerminalProgress().track("publishing", len(meant), "entries") as tell:
            for ending, count in relay.work_off(_in_their_shards(aws, meant), tell).items():
                endings[_WORDS[ending]] += count
    endings["left"] += len(meant) - endings.total()
    return endings


def _in_their_shards(aws: composition.Aws, meant: list[OutboxEntry]) -> Iterator[OutboxEntry]:
    """Yield entries, each parked one after it is back in its shard, where no crash can lose it.

    One that is no longer parked is somebody else's work, and left out.
    """
    for entry in meant:
        if entry.parked_because is None:
            yield entry
            continue
        try:
            back = aws.outbox.unpark(entry)
        except StoreUnavailableError as error:  # it stays parked
            logger.warning("outbox_pointer_left", pointer=entry.sort_key, reason=str(error))
            continue
        if back is not None:
            yield back


def _report(endings: Counter[str], meant: int, *, as_json: bool) -> None:
    counts = {word: endings[word] for word in ("done", "parked", "left", "unreadable")}
    if as_json:
        sys.stdout.write(output.json_line(counts) + "\n")
    else:
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        output.stdout().print(f"of {meant} entries: {told}" if told else "nothing to publish")
    if counts["left"]:
        raise CliError(
            f"{counts['left']} entries could not be published now", "`user-worker doctor` looks why"
        )
    if counts["parked"] or counts["unreadable"]:
        advice = "`user-worker outbox list` has the reasons"
        raise CliError("not all could be published", advice, ExitCode.NEGATIVE)


@contextmanager
def _warnings_on_standard_error() -> Iterator[None]:
    """Keep the relay's lines out of what is for programs, and the good news away."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)
